//! Promise 11: streams of one credential put a question once, and what it is answered with is no older
//! than what they need.

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
    bearer::{TokenDigest, Verification, VerifyError},
    crowd::{Asked, Crowd, Need, Reply},
    registry::{Entry, Member},
    revision::Revision,
};

const CREDENTIAL: TokenDigest = TokenDigest::from_bytes([1; 32]);

fn alice() -> Identity {
    Identity::new("alice", AuthMethod::Token)
}

/// Two streams of a credential. No clock stands between them: it is the same instant for both.
struct Streams {
    crowd: Arc<Entry<Crowd>>,
    now: Instant,
}

impl Streams {
    fn new(revision: Option<&Revision>) -> Self {
        let watch = revision.map(|revision| revision.watch(Some(CREDENTIAL), CREDENTIAL));
        Self { crowd: Entry::new(CREDENTIAL, Crowd::new(alice(), watch)), now: Instant::now() }
    }

    fn open(&self) -> Stream {
        Stream { crowd: Member::alone(Arc::clone(&self.crowd)), now: self.now }
    }
}

struct Stream {
    crowd: Member<Crowd>,
    now: Instant,
}

impl Stream {
    /// Asks, and hears the answer.
    fn ask(&self, after: u64, revision: Option<u64>, verify: impl FnOnce() -> Verification) -> (Asked, Reply) {
        let need = Need { now: self.now, revision, after, timeout: Duration::from_secs(5) };
        let (asked, mut asking) = self.crowd.ask(need, verify);
        match self.crowd.poll(&mut asking, &mut Context::from_waker(Waker::noop())) {
            Poll::Ready(reply) => (asked, reply),
            Poll::Pending => unreachable!("an answer is there when it is asked for"),
        }
    }
}

fn is_denial(reply: &Reply) -> bool {
    matches!(reply, Reply::Said(Err(VerifyError::Rejected)))
}

fn judge(is_revoked: &AtomicBool) -> Result<Identity, VerifyError> {
    if is_revoked.load(Relaxed) { Err(VerifyError::Rejected) } else { Ok(alice()) }
}

/// A verifier that knows, and one that must ask.
const VERIFIERS: [fn(Result<Identity, VerifyError>) -> Verification; 2] =
    [Verification::ready, |answer| Verification::pending(future::ready(answer))];

#[test]
fn a_question_that_two_need_is_put_once_and_its_denial_told_once() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let put = Arc::new(Count::new(0));
            let asks = |stream: Stream| {
                let put = Arc::clone(&put);
                move || {
                    let verify = || {
                        put.fetch_add(1, Relaxed);
                        answer(Err(VerifyError::Rejected))
                    };
                    stream.ask(0, None, verify)
                }
            };
            let other = thread::spawn(asks(streams.open()));
            let (asked, reply) = asks(streams.open())();
            let (asked_too, reply_too) = other.join().expect("no panic");
            assert!(asked == asked_too && is_denial(&reply) && is_denial(&reply_too));
            let crowd = &streams.crowd;
            assert_eq!((put.load(Relaxed), crowd.put(), crowd.denied(), crowd.news()), (1, 1, 1, 1));
        });
    }
}

#[test]
fn who_hears_an_answer_knows_whose_credential_it_is() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let asks = |stream: Stream| {
                move || {
                    stream.ask(0, None, || answer(Ok(Identity::new("bob", AuthMethod::Token))));
                    // By this, revocations find the streams that they end.
                    assert_eq!(stream.crowd.identity().subject(), "bob");
                }
            };
            let other = thread::spawn(asks(streams.open()));
            asks(streams.open())();
            other.join().expect("no panic");
        });
    }
}

#[test]
fn who_needs_a_later_question_than_was_put_gets_a_later_one() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let is_revoked = Arc::new(AtomicBool::new(false));
            let asks = |stream: Stream| {
                let is_revoked = Arc::clone(&is_revoked);
                move |after| stream.ask(after, None, || answer(judge(&is_revoked)))
            };
            let other = asks(streams.open());
            let other = thread::spawn(move || other(0));
            // A frame becomes ready after the revocation, which nothing makes known: it waits for a
            // question that was put after that.
            is_revoked.store(true, Relaxed);
            let put = streams.crowd.put();
            let (asked, reply) = asks(streams.open())(put);
            other.join().expect("no panic");
            assert!(asked.number > put && is_denial(&reply));
        });
    }
}

#[test]
fn a_denial_is_seen_or_wakes() {
    for answer in VERIFIERS {
        loom::model(move || {
            let streams = Streams::new(None);
            let asks = streams.open();
            let asks = thread::spawn(move || asks.ask(0, None, || answer(Err(VerifyError::Rejected))));
            let idle = streams.open();
            let told = idle.crowd.told();
            let has_news = idle.crowd.news() != 0;
            // Who has heard that there is news must find it.
            assert!(!has_news || idle.crowd.denied() == 1);
            asks.join().expect("no panic");
            assert!(has_news || told.has_come());
        });
    }
}

#[test]
fn a_revocation_is_seen_or_wakes() {
    loom::model(|| {
        let streams = Streams::new(None);
        let crowd = Arc::clone(&streams.crowd);
        let revokes = thread::spawn(move || crowd.revoke());
        let idle = streams.open();
        let told = idle.crowd.told();
        let has_news = idle.crowd.news() != 0;
        assert!(!has_news || idle.crowd.is_revoked());
        revokes.join().expect("no panic");
        assert!(has_news || told.has_come());
    });
}

#[test]
fn no_answer_vouches_for_a_revision_that_its_verifier_did_not_see() {
    loom::model(|| {
        let revision = Revision::new();
        let streams = Streams::new(Some(&revision));
        let is_revoked = Arc::new(AtomicBool::new(false));
        let asks = |stream: Stream| {
            let is_revoked = Arc::clone(&is_revoked);
            move || {
                let at = stream.crowd.revision();
                let (asked, reply) = stream.ask(0, at, || Verification::ready(judge(&is_revoked)));
                assert_eq!(asked.revision, at);
                (at, reply)
            }
        };
        let other = thread::spawn(asks(streams.open()));
        let revokes = thread::spawn({
            let is_revoked = Arc::clone(&is_revoked);
            let revision = revision.clone();
            move || {
                is_revoked.store(true, Relaxed);
                revision.bump_quietly();
            }
        });
        let answers = [asks(streams.open())(), other.join().expect("no panic")];
        revokes.join().expect("no panic");
        let now = streams.crowd.revision();
        for (at, reply) in answers {
            assert!(at != now || is_denial(&reply));
        }
    });
}

#[test]
fn who_joins_others_loses_no_revocation_at_the_door() {
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
        let stood = streams.open().crowd.stood(since);
        revokes.join().expect("no panic");
        assert!(is_refused || streams.crowd.revision() != stood);
    });
}
