//! Promise 11: streams of one credential check it once, and the answer is no older than what they need.

use std::{
    future,
    sync::{
        Arc,
        atomic::{AtomicU64 as Count, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use loom::{sync::atomic::AtomicBool, thread};
use tokio::time::Instant;
use tower_reauth::AuthMethod;

use crate::{
    Identity,
    counts::Revoking,
    registry::{Entry, Subscription},
    revision::Revision,
    running::Answer,
    shared_check::{CheckRequest, CheckStart, SharedCheck},
    verify::{TokenDigest, Verification, VerifyError},
};

const CREDENTIAL: TokenDigest = TokenDigest::from_bytes([1; 32]);

fn alice() -> Identity {
    Identity::new("alice", AuthMethod::Token)
}

/// Two streams of a credential. No clock stands between them: it is the same instant for both.
struct Streams {
    shared_check: Arc<Entry<SharedCheck>>,
    now: Instant,
}

impl Streams {
    fn new(revision: Option<&Revision>) -> Self {
        let watch = revision.map(|revision| revision.watch(Some(CREDENTIAL), CREDENTIAL));
        Self {
            shared_check: Entry::new(CREDENTIAL, SharedCheck::new(Some(CREDENTIAL), watch, &[])),
            now: Instant::now(),
        }
    }

    fn open(&self) -> Stream {
        Stream { shared_check: Subscription::unlisted(Arc::clone(&self.shared_check)), now: self.now }
    }
}

struct Stream {
    shared_check: Subscription<SharedCheck>,
    now: Instant,
}

impl Stream {
    /// Checks, and waits for the answer.
    fn check(
        &self,
        after: u64,
        revision: Option<u64>,
        mut verify: impl FnMut() -> Verification,
    ) -> (CheckStart, Answer) {
        let request = CheckRequest { now: self.now, revision, after, timeout: Duration::from_secs(5) };
        loop {
            let (start, mut pending) = self.shared_check.begin(request, &mut verify);
            loop {
                match self.shared_check.poll(&mut pending, &mut Context::from_waker(Waker::noop())) {
                    Poll::Ready(Some(answer)) => return (start, answer),
                    Poll::Ready(None) => break,
                    Poll::Pending => thread::yield_now(),
                }
            }
        }
    }
}

fn is_denial(answer: &Answer) -> bool {
    matches!(answer, Answer::Said(Err(VerifyError::Rejected)))
}

fn judge(is_revoked: &AtomicBool) -> Result<Identity, VerifyError> {
    if is_revoked.load(Relaxed) { Err(VerifyError::Rejected) } else { Ok(alice()) }
}

/// A verifier that knows, and one that must ask.
const VERIFIERS: [fn(Result<Identity, VerifyError>) -> Verification; 2] =
    [Verification::ready, |answer| Verification::pending(future::ready(answer))];

#[test]
fn a_check_that_two_need_begins_once_and_its_denial_alerts_once() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let calls = Arc::new(Count::new(0));
            let checks = |stream: Stream| {
                let calls = Arc::clone(&calls);
                move || {
                    let verify = || {
                        calls.fetch_add(1, Relaxed);
                        answer(Err(VerifyError::Rejected))
                    };
                    stream.check(0, None, verify)
                }
            };
            let other = thread::spawn(checks(streams.open()));
            let (start, one) = checks(streams.open())();
            let (same_start, two) = other.join().expect("no panic");
            assert!(start == same_start && is_denial(&one) && is_denial(&two));
            let shared_check = &streams.shared_check;
            let counts = (calls.load(Relaxed), shared_check.begun(), shared_check.denied(), shared_check.alerts());
            assert_eq!(counts, (1, 1, 1, 1));
        });
    }
}

/// Two streams of one credential begin while it is revoked: each is found, or sees it.
#[test]
fn a_revocation_finds_each_stream_or_the_stream_finds_it() {
    loom::model(|| {
        let streams = Streams::new(None);
        let is_revoked = Arc::new(AtomicBool::new(false));
        let begins = |stream: Stream| {
            let is_revoked = Arc::clone(&is_revoked);
            move || {
                let holder = stream.shared_check.hold(alice());
                let is_refused = is_revoked.load(Relaxed);
                (holder, is_refused)
            }
        };
        let other = thread::spawn(begins(streams.open()));
        let revokes = thread::spawn({
            let (is_revoked, shared_check) = (Arc::clone(&is_revoked), Arc::clone(&streams.shared_check));
            move || {
                is_revoked.store(true, Relaxed);
                shared_check.revoke(|identity| identity.subject() == "alice", &Revoking::begin("subject"));
            }
        });
        let begun = [begins(streams.open())(), other.join().expect("no panic")];
        revokes.join().expect("no panic");
        for (holder, is_refused) in begun {
            assert!(is_refused || holder.is_revoked());
        }
    });
}

#[test]
fn a_stream_that_needs_a_later_check_than_was_begun_gets_a_later_one() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let is_revoked = Arc::new(AtomicBool::new(false));
            let checks = |stream: Stream| {
                let is_revoked = Arc::clone(&is_revoked);
                move |after| stream.check(after, None, || answer(judge(&is_revoked)))
            };
            let other = checks(streams.open());
            let other = thread::spawn(move || other(0));
            // A frame becomes ready after the revocation, which nothing makes known: it waits for a
            // check that begins after that.
            is_revoked.store(true, Relaxed);
            let begun = streams.shared_check.begun();
            let (start, answer) = checks(streams.open())(begun);
            other.join().expect("no panic");
            assert!(start.number > begun && is_denial(&answer));
        });
    }
}

#[test]
fn a_denial_is_seen_or_wakes() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let checks = streams.open();
            let checks = thread::spawn(move || checks.check(0, None, || answer(Err(VerifyError::Rejected))));
            let idle = streams.open();
            let notified = idle.shared_check.notified();
            let has_alerts = idle.shared_check.alerts() != 0;
            // A stream that sees an alert finds what it is about.
            assert!(!has_alerts || idle.shared_check.denied() == 1);
            checks.join().expect("no panic");
            assert!(has_alerts || notified.has_fired());
        });
    }
}

#[test]
fn a_revocation_is_seen_or_wakes() {
    loom::model(|| {
        let streams = Streams::new(None);
        let idle = streams.open();
        let holder = idle.shared_check.hold(alice());
        let shared_check = Arc::clone(&streams.shared_check);
        let revokes = thread::spawn(move || shared_check.revoke(|_| true, &Revoking::begin("all")));
        let notified = idle.shared_check.notified();
        let has_alerts = idle.shared_check.alerts() != 0;
        assert!(!has_alerts || holder.is_revoked());
        revokes.join().expect("no panic");
        assert!(has_alerts || notified.has_fired());
    });
}

#[test]
fn no_answer_vouches_for_a_revision_that_its_verifier_did_not_see() {
    loom::model(|| {
        let revision = Revision::new();
        let streams = Streams::new(Some(&revision));
        let is_revoked = Arc::new(AtomicBool::new(false));
        let checks = |stream: Stream| {
            let is_revoked = Arc::clone(&is_revoked);
            move || {
                let at = stream.shared_check.revision();
                let (start, answer) = stream.check(0, at, || Verification::ready(judge(&is_revoked)));
                assert_eq!(start.revision, at);
                (at, answer)
            }
        };
        let other = thread::spawn(checks(streams.open()));
        let revokes = thread::spawn({
            let is_revoked = Arc::clone(&is_revoked);
            let revision = revision.clone();
            move || {
                is_revoked.store(true, Relaxed);
                revision.bump_quietly();
            }
        });
        let answers = [checks(streams.open())(), other.join().expect("no panic")];
        revokes.join().expect("no panic");
        let now = streams.shared_check.revision();
        for (at, answer) in answers {
            assert!(at != now || is_denial(&answer));
        }
    });
}

#[test]
fn a_stream_that_shares_a_check_loses_no_revocation_at_the_door() {
    loom::model(|| {
        let revision = Revision::new();
        let streams = Streams::new(Some(&revision));
        let is_revoked = Arc::new(AtomicBool::new(false));
        let revokes = thread::spawn({
            let (is_revoked, revision) = (Arc::clone(&is_revoked), revision.clone());
            move || {
                is_revoked.store(true, Relaxed);
                revision.bump_for([CREDENTIAL]);
            }
        });
        let since = revision.current();
        let is_refused = is_revoked.load(Relaxed);
        let before = streams.open().shared_check.revision_at(Some(since));
        revokes.join().expect("no panic");
        assert!(is_refused || streams.shared_check.revision() != before);
    });
}
