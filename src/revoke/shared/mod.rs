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
//! # What holds
//!
//! 1. **What is revoked here holds here at once**, whatever becomes of the log, and is written to it as soon as that can be.
//!    [`Revocations::written`](super::Revocations::written) completes when the log has acknowledged all that was revoked before it was called.
//! 2. **A node vouches for what it knows for a limited time** ([`with_max_staleness`](SharedRevocations::with_max_staleness), 5 s): from
//!    when it began to ask the log where it ends and then had read as far. After that, and before the first time,
//!    doors answer 503 with `Retry-After`, and streams end as those of a verifier that cannot be reached: `unavailable`,
//!    after the grace that was chosen. So no frame of a stream passes later than that after the log took its
//!    revocation. Time is monotonic, and looked at for each frame.
//! 3. **What the log has lost is written again.** When it is another one, or an earlier state of the same
//!    ([`Standing`]), a node reads what there is, writes what it knows and the log does not, and does not vouch anew until that is
//!    done, and others had time for it, too: half of the staleness. What no node knows any more is lost: keep [`Revocations::list`](super::Revocations::list) in a file, and [`restore`](super::Revocations::restore) it before
//!    [`run`](SharedRevocations::run).
//! 4. **Clocks of nodes may disagree**, and be set: `revoke_subject` and `revoke_all` go by the log's clock, and a revocation is over by it.
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
//! So let tokens be random. What the digest of one that is still good is worth to whoever may *write*: to have it
//! refused.

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
