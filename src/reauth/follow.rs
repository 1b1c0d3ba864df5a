//! What one stream follows: the credential that it goes by now, and whatever is said of it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use tokio::{sync::futures::OwnedNotified, time::Instant};

use super::{
    crowd::{Asked, Asking, Crowd, Need, Reply},
    gate::Standing,
    registry::Member,
};
use crate::{
    Access,
    access::{Answer, Confirmed, Held},
};

pub(super) struct Followed {
    // In this order: without a key the crowd goes by where the access lies, so it is left first.
    crowd: Member<Crowd>,
    held: Held,
    expires_at: Option<SystemTime>,
    /// The news that was heard; `None` before the first look.
    heard: Option<u64>,
}

impl Followed {
    /// Follows the credential of `access` from here on. Also says how it stood at the door: what has
    /// happened since shows at the first look.
    pub(super) fn start(access: &Access) -> (Self, Standing) {
        let (held, crowd) = access.join();
        let (at, revision) = match held.confirmed() {
            Confirmed::AtRevision(since) => (Instant::now(), crowd.stood(since)),
            Confirmed::AtTime(time) => (time, None),
        };
        let followed = Self { crowd, held, expires_at: access.identity().expires_at(), heard: None };
        let standing = Standing { at, revision, time_left: followed.time_left(), put: followed.put() };
        (followed, standing)
    }

    /// Whether `access` goes by another credential by now.
    pub(super) fn is_outdated(&self, access: &Access) -> bool {
        !self.held.is_current(access)
    }

    /// Whether there is news that was not looked at yet.
    pub(super) fn hears(&self) -> bool {
        self.heard != Some(self.crowd.news())
    }

    /// The same; it counts as looked at from now on.
    pub(super) fn has_news(&mut self) -> bool {
        let news = Some(self.crowd.news());
        std::mem::replace(&mut self.heard, news) != news
    }

    pub(super) fn is_revoked(&self, access: &Access) -> bool {
        self.crowd.is_revoked() || self.held.is_revoked(&access.identity())
    }

    /// The last question about this credential that was answered with a denial.
    pub(super) fn denied(&self) -> u64 {
        self.crowd.denied()
    }

    /// How many questions were put about this credential.
    pub(super) fn put(&self) -> u64 {
        self.crowd.put()
    }

    pub(super) fn revision(&self) -> Option<u64> {
        self.crowd.revision()
    }

    /// Completes when the revision moves, when there is news, or another credential to follow.
    pub(super) fn told(&self) -> OwnedNotified {
        self.crowd.told()
    }

    pub(super) fn ask(&self, need: Need) -> (Asked, Asking) {
        self.crowd.ask(need, || self.held.verify())
    }

    pub(super) fn poll(&self, asking: &mut Asking, cx: &mut Context<'_>) -> Poll<Reply> {
        self.crowd.poll(asking, cx)
    }

    /// What the answer to the question with this number means for `access`.
    pub(super) fn settle(&mut self, access: &Access, number: u64, reply: Reply) -> Answer {
        let answer = match reply {
            Reply::Panicked => Answer::Panicked,
            // A resolver can panic too.
            Reply::Said(answer) => {
                catch_unwind(AssertUnwindSafe(|| access.settle(&self.held, number, answer))).unwrap_or(Answer::Panicked)
            }
        };
        if let Answer::Confirmed { expires_at } = answer {
            self.expires_at = expires_at;
        }
        answer
    }

    /// Another stream may have heard of another expiry.
    pub(super) fn look_up_expiry(&mut self, access: &Access) {
        self.expires_at = access.identity().expires_at();
    }

    /// How long the credential is good for, by the wall clock.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.expires_at.map(|expires_at| self.held.policy().time_left(expires_at))
    }
}
