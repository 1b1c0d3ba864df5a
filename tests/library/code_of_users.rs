//! Nothing that a user wrote runs under a lock of ours, nor before the state that it could unwind out of
//! is final: it may block, come back to what it was called by, and panic.

use std::{
    cell::Cell,
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use bytes::{Buf, Bytes};
use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use http::Method;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tokio_util::codec::{Framed, LinesCodec};
use tower_reauth::{
    Access, BearerAuthLayer, Denied,
    access::RenewError,
    reauth::EndReason,
    revoke::{Revision, Revocations},
    scope::Requirement,
    verify::{BearerToken, verify_fn},
};
use tracing::span;

use crate::support::{KEEPALIVE, Oracle, Seen, alice, behind, event_stream, open, reauth};

#[test]
fn a_verifier_that_blocks_in_place_does_not_stop_the_runtime() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let asked = AtomicUsize::new(0);
            let auth = BearerAuthLayer::new(verify_fn(move |_: &BearerToken| {
                if asked.fetch_add(1, Ordering::SeqCst) >= 8 {
                    let slow = tokio::time::sleep(Duration::from_millis(50));
                    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(slow));
                }
                Ok(alice())
            }));
            let mut tasks = Vec::new();
            for _ in 0..8 {
                let (feed, mut stream) = open(auth.clone(), reauth().with_heartbeat(Duration::from_millis(300))).await;
                tasks.push(tokio::spawn(async move {
                    let seen = stream.next().await;
                    drop(feed);
                    seen
                }));
            }
            for task in tasks {
                assert_eq!(task.await.expect("no panic"), Seen::Data(KEEPALIVE));
            }
        });
        done.send(()).expect("the test listens");
    });
    is_done.recv_timeout(Duration::from_secs(10)).expect("a check of 50 ms, and no heartbeat within 10 s");
}

/// Claims that look at the access that they belong to when they are dropped.
struct Claims(Mutex<Option<Access>>);

impl Drop for Claims {
    fn drop(&mut self) {
        if let Some(access) = self.0.get_mut().expect("no panic").take() {
            let _ = access.granted();
        }
    }
}

#[test]
fn claims_may_look_at_their_access_when_they_are_dropped() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let verifier = |_: &BearerToken| Ok(alice().with_claims(Claims(Mutex::default())));
            let access = behind(BearerAuthLayer::new(verify_fn(verifier))).await;
            let identity = access.identity();
            let claims: &Claims = identity.claims().expect("the verifier's own");
            *claims.0.lock().expect("no panic") = Some(access.clone());
            drop(identity);
            let mut watched = Box::pin(reauth().watch_stream(&access, stream::repeat(1)));
            assert_eq!(watched.next().await, Some(1));
        });
        done.send(()).expect("the test listens");
    });
    is_done.recv_timeout(Duration::from_secs(3)).expect("it is stuck");
}

/// A log that panics, once.
struct Panics(AtomicBool);

impl tracing::Subscriber for Panics {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("tower_reauth")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        assert!(self.0.swap(true, Ordering::SeqCst), "the disk of the log is full");
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_half_whose_log_panics_does_not_leave_the_other_one_open() {
    let _guard = tracing::subscriber::set_default(Panics(AtomicBool::new(false)));
    let revocations = Revocations::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_credential_id("a")));
    let access = behind(BearerAuthLayer::new(oracle).with_revocations(&revocations)).await;
    let (server, client) = tokio::io::duplex(1024);
    let mut client = Framed::new(client, LinesCodec::new());
    let (mut writer, mut reader) =
        reauth().watch_sink::<_, String>(&access, Framed::new(server, LinesCodec::new())).split();
    writer.send("hello".into()).await.expect("access holds");
    revocations.revoke("a");
    let _ = tokio::spawn(async move { writer.send("x".into()).await }).await;
    // What a client wrote before it learned of the end arrives in time or not at all.
    let _ = client.send("delete everything").await;
    assert!(reader.next().await.is_none(), "revoked before, and obeyed");
}

#[tokio::test(start_paused = true)]
async fn a_hook_may_renew_and_revoke_and_panic() {
    let revocations = Revocations::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_credential_id("a")));
    let auth = BearerAuthLayer::new(oracle).with_revocations(&revocations);
    let (fresh, renewals) = (behind(auth.clone()).await, Arc::new(Mutex::new(Vec::new())));
    let (hooked, kept) = (revocations.clone(), Arc::clone(&renewals));
    let layer = reauth().with_on_end(move |_| {
        hooked.revoke("b");
        let renewed = fresh.renew(&fresh);
        kept.lock().expect("no panic").push(renewed);
        panic!("a bug in it");
    });
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(open(auth.clone(), layer.clone()).await);
    }
    revocations.revoke("a");
    for (feed, stream) in &mut streams {
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
        assert!(feed.is_dropped());
    }
    let revoked = || Err(RenewError::Denied(Denied::Revoked));
    assert_eq!(*renewals.lock().expect("no panic"), [revoked(), revoked(), revoked()]);
    assert!(revocations.forget("b"));
}

/// A waker that moves a revision again.
struct Moves(Revision, AtomicUsize);

impl Wake for Moves {
    fn wake(self: Arc<Self>) {
        if self.1.fetch_add(1, Ordering::SeqCst) == 0 {
            self.0.bump();
        }
    }
}

#[test]
fn a_waker_may_move_the_revision_that_it_was_woken_by() {
    for is_merged in [false, true] {
        let (done, is_done) = mpsc::channel();
        std::thread::spawn(move || {
            let base = Revision::new();
            let shown = if is_merged { Revision::merged([&base]) } else { base.clone() };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let (_feed, stream) = open(BearerAuthLayer::new(Oracle::with(shown)), reauth()).await;
                let moves = Arc::new(Moves(base.clone(), AtomicUsize::new(0)));
                let waker = Waker::from(Arc::clone(&moves));
                let mut body = stream.into_body();
                assert!(body.as_mut().poll_frame(&mut Context::from_waker(&waker)).is_pending());
                base.bump();
                assert_eq!(moves.1.load(Ordering::SeqCst), 1);
            });
            done.send(()).expect("the test listens");
        });
        is_done.recv_timeout(Duration::from_secs(3)).unwrap_or_else(|_| panic!("merged: {is_merged}: it is stuck"));
    }
}

/// Data whose code panics at one of its calls.
struct Brittle {
    data: Bytes,
    calls_left: Cell<usize>,
}

impl Brittle {
    fn called(&self) {
        self.calls_left.set(self.calls_left.get().checked_sub(1).expect("the data panic, as they were told"));
    }
}

impl Buf for Brittle {
    fn remaining(&self) -> usize {
        self.called();
        self.data.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.called();
        self.data.chunk()
    }

    fn advance(&mut self, by: usize) {
        self.called();
        self.data.advance(by);
    }
}

impl From<Bytes> for Brittle {
    fn from(data: Bytes) -> Self {
        assert_ne!(data, KEEPALIVE, "the comment is not taken");
        Self { data, calls_left: Cell::new(usize::MAX) }
    }
}

/// A body of one frame, if it has that.
struct OfBrittle {
    frame: Option<Brittle>,
    _life: Arc<()>,
}

impl Body for OfBrittle {
    type Data = Brittle;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Brittle>, Infallible>>> {
        self.frame.take().map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data)))))
    }
}

#[tokio::test(start_paused = true)]
async fn data_that_panic_wherever_they_are_looked_at_are_a_body_that_failed() {
    let mut panics = 0;
    // Without a frame it is the comment that cannot be made of the data's type.
    for calls_left in [None, Some(0), Some(1), Some(2), Some(3), Some(4)] {
        let (ends, life) = (Arc::new(Mutex::new(Vec::new())), Arc::new(()));
        let told = Arc::clone(&ends);
        let layer = reauth().with_on_end(move |ended| told.lock().expect("no panic").push(ended.reason));
        let data = |calls| Brittle { data: Bytes::from_static(b"data: 1\n\n"), calls_left: Cell::new(calls) };
        let body = OfBrittle { frame: calls_left.map(data), _life: Arc::clone(&life) };
        let access = behind(BearerAuthLayer::new(Oracle::with_revision())).await;
        let mut body = Box::pin(layer.watch(&access, &Method::GET, event_stream(body)).into_body());
        if AssertUnwindSafe(body.frame()).catch_unwind().await.is_ok() {
            continue;
        }
        panics += 1;
        assert_eq!(*ends.lock().expect("no panic"), [EndReason::Failed], "{calls_left:?}");
        assert_eq!(Arc::strong_count(&life), 1, "{calls_left:?}");
        assert!(body.frame().await.is_none(), "{calls_left:?}");
    }
    assert!(panics >= 4, "{panics}");
}

#[test]
fn what_is_made_into_a_requirement_may_look_at_the_access_that_it_is_required_of() {
    struct NoLessThanNow(Access);

    impl From<NoLessThanNow> for Requirement {
        fn from(NoLessThanNow(access): NoLessThanNow) -> Self {
            access.required()
        }
    }

    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let access = Access::new(alice());
        done.send(access.require(NoLessThanNow(access.clone())))
    });
    let required = is_done.recv_timeout(Duration::from_secs(10)).expect("it does not wait for itself");
    assert!(required.is_ok());
}
