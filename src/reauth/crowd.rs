//! What the streams of one credential share: the question, its answer, and bad news.
//!
//! 1. A stream that has to ask takes over a question that was put after its own reason to ask arose,
//!    answered or not; only where there is none it puts one. Questions are numbered, for two instants
//!    of a coarse clock can be equal.
//! 2. A question belongs to nobody: whichever stream waits for it drives it on, and it is dropped
//!    with the last one that does.
//! 3. A denial, and a revocation, is news: it wakes all of them.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::future::{FutureExt, Shared, WeakShared};
use tokio::time::Instant;

use super::revision::Watch;
use crate::{
    Identity,
    bearer::{Verification, VerifyError},
    sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Notify, Ordering, OwnedNotified},
};

pub(crate) struct Crowd {
    /// How many questions were put: the number of the last one.
    put: AtomicU64,
    /// The number of the last question that was answered with a denial.
    denied: AtomicU64,
    revoked: AtomicBool,
    /// Moves with each denial and revocation.
    news: AtomicU64,
    /// Wakes all of them: the revision's own, so that a stream waits for one thing only.
    told: Arc<Notify>,
    watch: Option<Watch>,
    last: Mutex<Option<Question>>,
    /// Whose credential it is, as far as was heard. Not behind the other lock, which a verifier holds
    /// for as long as it takes.
    identity: Mutex<Identity>,
}

/// The question that was put last.
struct Question {
    asked: Asked,
    stage: Stage,
}

enum Stage {
    /// Not answered yet, as long as somebody waits.
    Open(WeakShared<Answering>),
    Answered(Reply),
}

/// What is known of a question from the moment at which it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) number: u64,
    /// Read before the question was put, like the revision.
    pub(super) at: Instant,
    pub(super) revision: Option<u64>,
}

/// What a stream needs of an answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need {
    pub(super) now: Instant,
    pub(super) revision: Option<u64>,
    /// A question with a higher number than this one.
    pub(super) after: u64,
    /// One that can still be waited for.
    pub(super) timeout: Duration,
}

/// What a verifier said.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Said(Result<Identity, VerifyError>),
    Panicked,
}

/// A question that one stream waits for.
pub(super) enum Asking {
    Answered(Reply),
    Open { number: u64, answer: Shared<Answering> },
}

/// An answer on its way. A verifier that panics must end its streams, not the connections that carry
/// them.
pub(super) struct Answering(Verification);

impl Crowd {
    /// The streams of `identity`'s credential, which follow `watch` if the verifier has a revision.
    pub(crate) fn new(identity: Identity, watch: Option<Watch>) -> Self {
        Self {
            put: AtomicU64::new(0),
            denied: AtomicU64::new(0),
            revoked: AtomicBool::new(false),
            news: AtomicU64::new(0),
            told: watch.as_ref().map_or_else(Arc::default, |watch| Arc::clone(watch.moved())),
            watch,
            last: Mutex::default(),
            identity: Mutex::new(identity),
        }
    }

    /// How many questions were put so far: one with a higher number is put after this call.
    pub(super) fn put(&self) -> u64 {
        // Written, not loaded: a question with a higher number reads this, and so sees what came before.
        self.put.fetch_add(0, Ordering::AcqRel)
    }

    /// The number of the last question that was answered with a denial, zero for none.
    pub(super) fn denied(&self) -> u64 {
        self.denied.load(Ordering::Acquire)
    }

    pub(super) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Another number after each denial and revocation.
    pub(super) fn news(&self) -> u64 {
        self.news.load(Ordering::Acquire)
    }

    /// Where the revision stands for this credential.
    pub(super) fn revision(&self) -> Option<u64> {
        self.watch.as_ref().map(Watch::current)
    }

    /// Where it stood when the revision stood at `since`: at another number than now if it has moved.
    pub(super) fn stood(&self, since: u64) -> Option<u64> {
        self.watch.as_ref().map(|watch| watch.stood(since))
    }

    /// Completes when the streams are woken after this call, whether or not it was polled by then.
    pub(super) fn told(&self) -> OwnedNotified {
        Arc::clone(&self.told).notified_owned()
    }

    /// Wakes all streams.
    pub(crate) fn wake(&self) {
        self.told.notify_waiters();
    }

    /// Ends all streams.
    pub(super) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
        self.tell();
    }

    /// Whose credential it is, as far as was heard.
    pub(super) fn identity(&self) -> Identity {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A question that serves `need`; `verify` puts it if there is none.
    ///
    /// It is put with the lock held: who needs the same must not put it a second time.
    pub(super) fn ask(&self, need: Need, verify: impl FnOnce() -> Verification) -> (Asked, Asking) {
        let mut last = self.last();
        if let Some(found) = last.as_ref().and_then(|last| last.serve(need)) {
            return found;
        }
        let number = self.put.fetch_add(1, Ordering::AcqRel) + 1;
        let asked = Asked { number, at: need.now, revision: need.revision };
        let reply = match catch_unwind(AssertUnwindSafe(verify)).map(Verification::into_ready) {
            Err(_) => Reply::Panicked,
            Ok(Ok(answer)) => Reply::Said(answer),
            Ok(Err(unknown)) => {
                let answer = Answering(unknown).shared();
                if let Some(open) = answer.downgrade() {
                    *last = Some(Question { asked, stage: Stage::Open(open) });
                }
                return (asked, Asking::Open { number, answer });
            }
        };
        *last = Some(Question { asked, stage: Stage::Answered(reply.clone()) });
        self.learned(last, number, &reply);
        (asked, Asking::Answered(reply))
    }

    /// Drives the question on.
    pub(super) fn poll(&self, asking: &mut Asking, cx: &mut Context<'_>) -> Poll<Reply> {
        match asking {
            Asking::Answered(reply) => Poll::Ready(reply.clone()),
            Asking::Open { number, answer } => {
                // Until the answer is kept: who asks in between would find no question, and put it again.
                let _still_open = answer.clone();
                let reply = ready!(answer.poll_unpin(cx));
                self.answered(*number, &reply);
                Poll::Ready(reply)
            }
        }
    }

    /// Keeps the answer to a question, if it is the first time that it is heard.
    fn answered(&self, number: u64, reply: &Reply) {
        let mut last = self.last();
        match &mut *last {
            Some(Question { asked, stage: stage @ Stage::Open(_) }) if asked.number == number => {
                *stage = Stage::Answered(reply.clone());
                self.learned(last, number, reply);
            }
            _ => {}
        }
    }

    /// Takes in a new answer: a denial is told to all.
    fn learned(&self, last: MutexGuard<'_, Option<Question>>, number: u64, reply: &Reply) {
        if let Reply::Said(Ok(identity)) = reply {
            *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity.clone();
        }
        drop(last);
        if reply.is_denial() {
            self.denied.store(number, Ordering::Release);
            self.tell();
        }
    }

    fn tell(&self) {
        self.news.fetch_add(1, Ordering::Release);
        self.wake();
    }

    // A panic elsewhere leaves it whole: each change to it is one assignment.
    fn last(&self) -> MutexGuard<'_, Option<Question>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Question {
    fn serve(&self, need: Need) -> Option<(Asked, Asking)> {
        let asked = self.asked;
        if asked.number <= need.after || asked.revision != need.revision {
            return None;
        }
        let age = need.now.saturating_duration_since(asked.at);
        let asking = match &self.stage {
            Stage::Open(open) => {
                // One that is overdue is put again, rather than be the end of one stream after another.
                let answer = open.upgrade().filter(|_| age < need.timeout)?;
                Asking::Open { number: asked.number, answer }
            }
            // A verifier that could not tell said when to ask again.
            Stage::Answered(Reply::Said(Err(VerifyError::Unavailable { retry_after }))) if age >= *retry_after => {
                return None;
            }
            // A defect that one question met: the next may not.
            Stage::Answered(Reply::Panicked) => return None,
            Stage::Answered(reply) => Asking::Answered(reply.clone()),
        };
        Some((asked, asking))
    }
}

impl Reply {
    /// Whether the credential is good for nobody any more.
    fn is_denial(&self) -> bool {
        match self {
            Self::Said(Err(VerifyError::Rejected | VerifyError::Expired | VerifyError::LockedOut { .. })) => true,
            Self::Said(Ok(_) | Err(VerifyError::Unavailable { .. })) | Self::Panicked => false,
        }
    }
}

impl Future for Answering {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Reply> {
        match catch_unwind(AssertUnwindSafe(|| Pin::new(&mut self.0).poll(cx))) {
            Err(_) => Poll::Ready(Reply::Panicked),
            Ok(answer) => answer.map(Reply::Said),
        }
    }
}
