//! Failures and locks that several nodes have in common: who is locked out on one is locked out on all.
//!
//! ```
//! use tower_reauth::limiter::{FailureLimiter, FailureLimits, shared::FailureStore};
//!
//! # fn limiter(store: impl FailureStore) -> FailureLimiter {
//! let node = FailureLimiter::shared(FailureLimits::new(), store);
//! let limiter = node.limiter();
//! tokio::spawn(node.run());
//! # limiter
//! # }
//! ```
//!
//! The store is what implements [`FailureStore`]: with the feature `redis` `RedisFailures` does.
//!
//! # What holds
//!
//! 1. **No request waits for the store.** A failure counts here at once, as it does without others, and is told to the
//!    store meanwhile, which counts those of all nodes and answers whether the client is locked out now. So
//!    `max_attempts` failures within the window lock a client out wherever they came from, and as many more may be answered as
//!    come within one round trip.
//! 2. **A lock that begins on one node begins on all**, without being asked for: each follows the store's news. It ends by
//!    itself, at the same time on all of them.
//! 3. **A success clears on all nodes** what any of them has counted. The store is told only if some node has counted
//!    something, which the news says. A lock holds until it ends.
//! 4. **While the store is away each node goes on by itself**: what it knew of locks still holds, and its own limits are
//!    those of a limiter that is not shared. What it counts and locks meanwhile it tells when the store is there again, for
//!    as long as that matters. What a store has lost is lost: the locks that a node knows hold on that node.
//! 5. **A store that lies** locks nobody out for longer than the node's own
//!    [`lockout`](super::FailureLimits::with_lockout), and ends no lock. It can say that a client succeeded, as the other nodes
//!    do: whoever can write to it can have failures forgotten, and everybody locked out, but let nobody in.
//!
//! Nodes should have the same limits. Those of whoever tells the store of a failure are the ones that it goes by.
//!
//! # What it costs
//!
//! A failure is part of one round trip, with those that came meanwhile; a request of a client that is locked out, or
//! that succeeds and has not failed, costs nothing. The first failure of a client, a lock, and a success that clears are one
//! piece of news each, which every node reads: the failures between the first and the last are none. Ten guesses of one client are ten
//! reports and two pieces of news.
//!
//! A node keeps at most 10,000 reports for a store that is away, the oldest being given up first.

mod backoff;
mod node;
#[cfg(feature = "redis")]
mod redis;
mod reports;
mod store;

#[cfg(feature = "redis")]
pub use self::redis::RedisFailures;
pub(super) use self::reports::{Batch, Reports};
pub use self::{
    node::SharedLimiter,
    store::{FailureStore, News, Report, StoreError, What},
};
