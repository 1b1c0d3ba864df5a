//! Revocations that several nodes have in common: what is revoked on one is revoked on all.
//!
//! ```
//! use std::time::Duration;
//!
//! use tower_reauth::{BearerAuthLayer, StaticToken, revoke::{Revocations, shared::RevocationLog}};
//!
//! # fn layers(log: impl RevocationLog) {
//! let node = Revocations::shared(log).with_max_staleness(Duration::from_secs(5));
//! let revocations = node.revocations();
//! tokio::spawn(node.run());
//!
//! let auth = BearerAuthLayer::new(StaticToken::new("s3cret")).with_revocations(&revocations);
//! # let _ = auth;
//! # }
//! # async fn revoke(revocations: Revocations) {
//! // On this node at once, and on all when the log has it.
//! revocations.revoke("laptop");
//! revocations.written().await;
//! # }
//! ```
//!
//! A log is what implements [`RevocationLog`]: with the feature `redis` `RedisLog` does. Until [`run`](SharedRevocations::run)
//! has heard from it, doors answer 503.
//!
//! # What holds
//!
//! 1. **What is revoked here holds here at once**, whatever becomes of the log, and is written to it as soon as that can be.
//!    [`Revocations::written`](super::Revocations::written) completes when the log has acknowledged all that was revoked before it was called.
//! 2. **A node vouches for what it knows for a limited time** ([`with_max_staleness`](SharedRevocations::with_max_staleness), 5 s): from
//!    when it began to ask the log where it ends and then had read as far. After that, and before the first time,
//!    doors answer 503 with `Retry-After`, and streams end as those of a verifier that cannot be reached: `unavailable`,
//!    after the grace that was chosen. So no frame of a stream passes later than that after the log took its
//!    revocation: a grace adds to it. Time is monotonic, and looked at for each frame.
//! 3. **What the log has lost is written again.** When it is another one, or an earlier state of the same
//!    ([`Standing`]), a node reads what there is, writes what it knows and the log does not, and does not vouch anew until that is
//!    done, and others had time for it, too: half of the staleness. What no node knows any more is lost: keep [`Revocations::list`](super::Revocations::list) in a file, and [`restore`](super::Revocations::restore) it before
//!    [`run`](SharedRevocations::run).
//!    What was forgotten meanwhile, by others than this node, is revoked again then.
//! 4. **What the log has last holds**, and clocks of nodes may disagree, and be set: `revoke_subject` and `revoke_all` go by the
//!    log's clock, and a revocation is over when it is by both that and the node's own, by which a layer judges what has
//!    expired. What could not be forgotten for half a day, as the log was away, stays
//!    revoked on other nodes.
//! 5. An entry that cannot be read, of a later release or of a stranger, is not passed over: the node stops to vouch, and
//!    says so.
//!
//! A node that [prefers availability](SharedRevocations::preferring_availability) goes by what it knows in place of rule 2.
//!
//! # Tokens
//!
//! The log only takes away. What [`Tokens::with_revocations`](crate::Tokens::with_revocations) drops and
//! [`revoke_token`](super::Revocations::revoke_token) revokes is written as the SHA-256 of the token, and so is what
//! `Cached::forget` has forgotten. Who reads the log learns nothing of a token that is random, of 128 bits or more, and can
//! try guesses on one that somebody chose; one that was revoked opens nothing by then, but perhaps the next one is like it.
//! So let tokens be random. Whoever may *write* can have a token refused whose digest they know, and undo what was revoked;
//! nobody is let in by the log whom a node's own verifier does not know.
//!
//! # A thousand nodes
//!
//! Nobody has run as many: this is arithmetic, with the time that Redis 7.0 gave for each command while its machine was
//! busy with other work, on a million revocations a day of tokens that live for an hour.
//!
//! - **At rest** a node asks two things each second: where the log stands (37 microseconds) and for the next entry (4). Of a
//!   thousand nodes that is 4 % of the one core of Redis. An open stream asks nothing, so that 10^7 of them, ten thousand on
//!   each node, cost the log as much as none.
//! - **An entry** wakes each node, which asks both again: twelve entries a second are 24,000 answers a second, and half of that
//!   core. A node has one question of a kind under way, and one that is behind reads a thousand entries at once: where Redis
//!   has no more to give it is the delay that grows, to the 41 milliseconds in which it answers all nodes once. A revocation
//!   looks at each distinct credential that has a stream open on a node.
//! - **What breaks first** is that all begin anew at once. After a failover each node reads all that is revoked: a million
//!   topics, as what is revoked is kept a day longer than its token lives, of 112 bytes each. A thousand of them take 4.3
//!   milliseconds, so that Redis is busy for 4.5 seconds for each node, and what a node vouched for is over in five. So this
//!   comes with a handful of nodes, long before a thousand: streams end `unavailable`, and their clients come back at the same
//!   time. A longer staleness or a grace helps, and availability preferred. With 10,000 revocations a day a hundred
//!   nodes read all of it in that time.
//! - **Beyond one log**: a log for each region, and a relay that is a node of two. Entries may come twice, late, and in any
//!   order, so that copying them both ways needs no agreement; but each level adds its staleness, and a relay that cannot hear
//!   one side must keep the other's nodes from vouching: its [`RevocationLog`] is then unavailable. No relay is part of this library.

mod batch;
#[cfg(feature = "redis")]
mod connections;
mod entry;
mod lease;
mod log;
mod node;
mod outbox;
mod part;
#[cfg(feature = "redis")]
mod redis;
mod voids;

#[cfg(feature = "redis")]
pub use self::redis::{Connect, RedisLog};
use self::{entry::Said, lease::Lease, outbox::Outbox};
pub(super) use self::{entry::Topic, part::Part};
pub use self::{
    entry::{Entry, InvalidEntry},
    log::{LogError, Origin, RevocationLog, Standing},
    node::SharedRevocations,
};
