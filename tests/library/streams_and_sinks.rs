//! Promises 1, 5, 7 and 8 where the server sends no body: the items of a stream, and what goes into
//! a sink. Trap 11: what the server *sends* is gated.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, Sink, SinkExt, Stream, StreamExt, stream};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};
use tokio_util::codec::{Framed, LinesCodec};
use tower_reauth::{
    Access, BearerAuthLayer, Identity, StaticToken, StreamReauthLayer,
    reauth::{AccessEnded, EndReason, GuardedSink, SendError},
    revoke::Revocations,
    verify::VerifyError,
};

use crate::support::{Oracle, Wall, alice, assert_took, behind, logging, reauth};

async fn access(oracle: &Oracle) -> Access {
    behind(BearerAuthLayer::new(oracle.clone())).await
}

/// A socket: what goes into it is to be seen, and it has no room while it is told so.
#[derive(Clone, Default)]
struct Socket(Rc<RefCell<Wire>>);

#[derive(Default)]
struct Wire {
    sent: Vec<u32>,
    received: VecDeque<u32>,
    is_at_end: bool,
    /// How often it was read after its end.
    read_behind_its_end: u32,
    is_full: bool,
    when_asked_for_room: Option<Box<dyn FnOnce()>>,
    fails: bool,
    wakers: Vec<Waker>,
}

impl Socket {
    fn sent(&self) -> Vec<u32> {
        self.0.borrow().sent.clone()
    }

    fn receives(&self, item: u32) {
        let mut wire = self.0.borrow_mut();
        wire.received.push_back(item);
        wire.wakers.drain(..).for_each(Waker::wake);
    }

    fn is_full(&self, is_full: bool) {
        let mut wire = self.0.borrow_mut();
        wire.is_full = is_full;
        wire.wakers.drain(..).for_each(Waker::wake);
    }

    fn is_dropped(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// What the other side sent comes to its end.
    fn ends(&self) {
        self.0.borrow_mut().is_at_end = true;
    }

    /// Does something the next time that it is asked for room.
    fn when_asked_for_room(&self, act: impl FnOnce() + 'static) {
        self.0.borrow_mut().when_asked_for_room = Some(Box::new(act));
    }

    fn poll_room(&self, cx: &Context<'_>) -> Poll<Result<(), &'static str>> {
        let act = self.0.borrow_mut().when_asked_for_room.take();
        if let Some(act) = act {
            act();
        }
        let mut wire = self.0.borrow_mut();
        if wire.fails {
            return Poll::Ready(Err("broken"));
        }
        if wire.is_full {
            wire.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl Sink<u32> for Socket {
    type Error = &'static str;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.poll_room(cx)
    }

    fn start_send(self: Pin<&mut Self>, item: u32) -> Result<(), &'static str> {
        assert!(!self.0.borrow().is_full, "it was asked for room");
        self.0.borrow_mut().sent.push(item);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.poll_room(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
        self.poll_room(cx)
    }
}

impl Stream for Socket {
    type Item = u32;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<u32>> {
        let mut wire = self.0.borrow_mut();
        let item = wire.received.pop_front();
        if item.is_none() && wire.is_at_end {
            wire.read_behind_its_end += 1;
            return Poll::Ready(None);
        }
        if item.is_none() {
            wire.wakers.push(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(item)
    }
}

type Guarded = GuardedSink<Socket, u32>;

/// A socket behind the door, and its verifier.
async fn socket(oracle: &Oracle) -> (Socket, Guarded) {
    let socket = Socket::default();
    (socket.clone(), reauth().watch_sink(&access(oracle).await, socket))
}

/// Why sending was refused.
fn refused<T, E>(sent: Result<T, SendError<E>>) -> Option<EndReason> {
    match sent {
        Err(SendError::Ended(AccessEnded { reason, .. })) => Some(reason),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_items_of_a_stream_pass_in_order_and_once_and_it_finishes() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let mut items = reauth().watch_stream(&access(&oracle).await, stream::iter(0..100));
        assert_eq!(items.size_hint(), (0, Some(100)));
        assert_eq!(items.by_ref().collect::<Vec<_>>().await, (0..100).collect::<Vec<_>>());
        assert_eq!(items.end_reason(), Some(EndReason::Finished));
        assert_eq!(items.next().await, None, "for ever");
        assert_eq!(items.size_hint(), (0, Some(0)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_item_that_is_ready_after_a_revocation_never_passes() {
    let secret = StaticToken::new("t0ken");
    let access = behind(BearerAuthLayer::new(secret.clone())).await;
    let mut items = reauth().watch_stream(&access, stream::repeat(1));
    assert_eq!(items.next().await, Some(1));
    secret.rotate("another");
    assert_eq!(items.next().await, None);
    assert_eq!(items.end_reason(), Some(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn an_item_is_held_until_the_answer_comes() {
    let oracle = Oracle::without_revision();
    let mut items = reauth().watch_stream(&access(&oracle).await, stream::iter([1, 2]).chain(stream::pending()));
    oracle.waits();
    assert_eq!(items.next().now_or_never(), None);
    assert_eq!((oracle.open_questions(), items.size_hint()), (1, (0, Some(2))));
    oracle.answers(Ok(alice()));
    assert_eq!(items.next().now_or_never(), Some(Some(1)));

    assert_eq!(items.next().now_or_never(), None, "what was true of the first says nothing about the second");
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(items.next().now_or_never(), Some(None));
    assert_eq!(items.end_reason(), Some(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_at_its_expiry_and_drops_what_it_watched() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(60))));
    let access = behind(BearerAuthLayer::new(oracle).with_clock(wall.clock())).await;
    let inner = Socket::default();
    let mut items = reauth().watch_stream(&access, inner.clone());
    let started = Instant::now();
    assert_eq!(items.next().await, None);
    assert_took(started, Duration::from_secs(60));
    assert_eq!(items.end_reason(), Some(EndReason::Expired));
    assert!(inner.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_ends_for_every_reason_at_once() {
    let ends: [(EndReason, fn(&Oracle)); 4] = [
        (EndReason::Revoked, |oracle| oracle.says(Err(VerifyError::Rejected))),
        (EndReason::Unavailable, |oracle| oracle.says(Err(VerifyError::unavailable()))),
        (EndReason::CheckPanicked, Oracle::panics),
        (EndReason::CheckPanicked, Oracle::panics_later),
    ];
    for (reason, brings_about) in ends {
        let oracle = Oracle::with_revision();
        let mut items = reauth().watch_stream(&access(&oracle).await, stream::pending::<()>());
        let mut next = task::spawn(items.next());
        assert_pending!(next.poll());
        brings_about(&oracle);
        oracle.moves();
        assert!(next.is_woken());
        assert_eq!(next.await, None);
        assert_eq!(items.end_reason(), Some(reason));
    }
}

#[tokio::test(start_paused = true)]
async fn access_of_ones_own_is_watched_too() {
    let identity = Identity::new("alice", tower_reauth::AuthMethod::TrustedProxy);
    let mut items = StreamReauthLayer::new().watch_stream(&Access::new(identity), stream::iter([1]));
    assert_eq!(items.next().await, Some(1));
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_into_a_sink_passes_in_order_and_once() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        let (socket, mut guarded) = socket(&oracle).await;
        guarded.send_all(&mut stream::iter((0..100).map(Ok))).await.expect("access holds");
        assert_eq!(socket.sent(), (0..100).collect::<Vec<_>>());
        assert_eq!(guarded.close().await, Ok(()));
        assert_eq!(guarded.end_reason(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_sent_after_access_is_gone_is_refused_and_says_why() {
    let oracle = Oracle::with_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    assert_eq!(guarded.send(1).await, Ok(()));
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(refused(guarded.send(2).await), Some(EndReason::Revoked));
    assert_eq!(refused(guarded.start_send_unpin(3)), Some(EndReason::Revoked), "whether it was asked for room or not");
    assert_eq!(refused(guarded.flush().await), Some(EndReason::Revoked));
    assert_eq!(
        guarded.send(4).await.expect_err("for ever").to_string(),
        "access ended: the credential is no longer good"
    );
    assert_eq!(guarded.end_reason(), Some(EndReason::Revoked));
    assert!(socket.is_dropped());
    assert_eq!(socket.sent(), [1]);
}

#[tokio::test(start_paused = true)]
async fn access_that_goes_between_the_room_and_the_item_stops_the_item() {
    let oracle = Oracle::with_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    assert_eq!(guarded.feed(1).await, Ok(()));
    assert_eq!(std::future::poll_fn(|cx| guarded.poll_ready_unpin(cx)).await, Ok(()));
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    // Nobody may be asked in between, so the item is taken, and held.
    assert_eq!(guarded.start_send_unpin(2), Ok(()));
    assert_eq!(refused(guarded.flush().await), Some(EndReason::Revoked));
    assert_eq!(socket.sent(), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_sent_waits_for_its_answer() {
    let oracle = Oracle::without_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    oracle.waits();
    let mut sending = task::spawn(guarded.send(1));
    assert_pending!(sending.poll());
    assert_eq!((oracle.open_questions(), socket.sent()), (1, vec![]));
    oracle.answers(Ok(alice()));
    assert!(sending.is_woken());
    assert_eq!(assert_ready!(sending.poll()), Ok(()));
    drop(sending);
    assert_eq!(socket.sent(), [1]);

    let mut sending = task::spawn(guarded.send(2));
    assert_pending!(sending.poll());
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(refused(assert_ready!(sending.poll())), Some(EndReason::Revoked));
    assert_eq!(socket.sent(), [1]);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_was_confirmed_while_there_was_no_room_is_asked_about_again() {
    let oracle = Oracle::with_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    oracle.moves();
    assert_eq!(guarded.start_send_unpin(1), Ok(()), "held: the revision has moved");
    socket.is_full(true);
    assert_eq!(guarded.flush().now_or_never(), None);
    assert_eq!(oracle.asked(), 2);
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    socket.is_full(false);
    assert_eq!(refused(guarded.flush().await), Some(EndReason::Revoked));
    assert_eq!(socket.sent(), [0; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_does_not_keep_a_sink_open() {
    let oracle = Oracle::with_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    socket.is_full(true);
    let mut sending = task::spawn(guarded.send(1));
    assert_pending!(sending.poll());
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert!(sending.is_woken());
    assert_eq!(refused(assert_ready!(sending.poll())), Some(EndReason::Revoked));
    assert!(socket.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn the_failure_of_the_inner_sink_is_handed_on() {
    let (socket, mut guarded) = socket(&Oracle::with_revision()).await;
    socket.0.borrow_mut().fails = true;
    assert_eq!(guarded.send(1).await, Err(SendError::Inner("broken")));
    assert_eq!(guarded.end_reason(), None);
}

#[tokio::test(start_paused = true)]
async fn what_the_client_sends_passes_unasked_until_access_ends() {
    let oracle = Oracle::without_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    for item in 0..10 {
        socket.receives(item);
        assert_eq!(guarded.next().now_or_never(), Some(Some(item)));
    }
    assert_eq!(oracle.asked(), 1, "at the door");

    oracle.says(Err(VerifyError::unavailable()));
    assert_eq!(refused(guarded.send(1).await), Some(EndReason::Unavailable));
    socket.receives(11);
    assert_eq!(guarded.next().now_or_never(), Some(None));
}

#[tokio::test(start_paused = true)]
async fn an_idle_socket_ends_at_a_heartbeat() {
    let oracle = Oracle::without_revision();
    let (_socket, mut guarded) = socket(&oracle).await;
    oracle.says(Err(VerifyError::Rejected));
    let started = Instant::now();
    assert_eq!(guarded.next().await, None);
    assert_took(started, Duration::from_secs(15));
}

#[tokio::test(start_paused = true)]
async fn a_socket_that_is_lent_says_goodbye_when_its_access_has_ended() {
    let oracle = Oracle::with_revision();
    let mut socket = Socket::default();
    let mut guarded = reauth().watch_sink(&access(&oracle).await, &mut socket);
    assert_eq!(guarded.send(1).await, Ok(()));
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(guarded.next().await, None);
    let reason = guarded.end_reason().expect("access ended");
    assert_eq!(socket.send(reason.close_code().into()).await, Ok(()));
    assert_eq!(socket.sent(), [1, 1008]);
}

#[tokio::test(start_paused = true)]
async fn both_halves_learn_of_an_end_whichever_of_them_waited_last() {
    for writer_waits_last in [false, true] {
        let oracle = Oracle::with_revision();
        let (socket, guarded) = socket(&oracle).await;
        let (mut writer, mut reader) = guarded.split();
        socket.is_full(true);
        let mut writing = task::spawn(writer.send(1));
        let mut reading = task::spawn(reader.next());
        assert_pending!(writing.poll());
        assert_pending!(reading.poll());
        if writer_waits_last {
            assert_pending!(writing.poll());
        }
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert!(writing.is_woken() && reading.is_woken());
        assert_eq!(assert_ready!(reading.poll()), None);
        assert_eq!(refused(assert_ready!(writing.poll())), Some(EndReason::Revoked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_that_waits_learns_of_an_end_that_the_other_half_finds() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(60))));
    let access = behind(BearerAuthLayer::new(oracle).with_clock(wall.clock())).await;
    let (mut writer, mut reader) = reauth().watch_sink(&access, Socket::default()).split::<u32>();
    let mut reading = task::spawn(reader.next());
    assert_pending!(reading.poll());
    // The writer comes and goes, after the reader.
    assert_eq!(writer.send(1).await, Ok(()));
    advance(Duration::from_secs(60)).await;
    assert!(reading.is_woken(), "by the timer");
    assert_eq!(refused(writer.send(2).await), Some(EndReason::Expired));
    assert_eq!(assert_ready!(reading.poll()), None);
}

#[tokio::test(start_paused = true)]
async fn a_half_that_waits_is_woken_by_an_end_that_only_the_other_half_asked_about() {
    let oracle = Oracle::without_revision();
    let (_socket, guarded) = socket(&oracle).await;
    let (mut writer, mut reader) = guarded.split();
    let mut reading = task::spawn(reader.next());
    assert_pending!(reading.poll());
    oracle.says(Err(VerifyError::Rejected));
    assert_eq!(refused(writer.send(1).await), Some(EndReason::Revoked));
    assert!(reading.is_woken());
    assert_eq!(assert_ready!(reading.poll()), None);
}

#[tokio::test(start_paused = true)]
async fn an_item_that_found_no_room_after_its_answer_is_asked_for_again_when_there_is_some() {
    type Move = fn(&Oracle);
    // Without a revision, each item is asked for.
    let kinds: [(Oracle, Move); 2] = [(Oracle::with_revision(), Oracle::moves), (Oracle::without_revision(), |_| ())];
    for (oracle, moves) in kinds {
        let (socket, mut guarded) = socket(&oracle).await;
        oracle.waits();
        moves(&oracle);
        assert!(guarded.feed(1).now_or_never().is_some());
        socket.is_full(true);
        assert!(guarded.flush().now_or_never().is_none());
        oracle.answers(Ok(alice()));
        assert!(guarded.flush().now_or_never().is_none(), "it may pass, but there is no room");

        advance(Duration::from_secs(6)).await;
        moves(&oracle);
        socket.is_full(false);
        assert!(guarded.flush().now_or_never().is_none());
        assert_eq!((socket.sent(), oracle.open_questions()), (Vec::new(), 1), "the answer is old by now");
        oracle.answers(Err(VerifyError::Rejected));
        assert_eq!(refused(guarded.flush().await), Some(EndReason::Revoked));
        assert!(socket.sent().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_sink_that_was_closed_has_finished() {
    let log = logging();
    let (socket, mut guarded) = socket(&Oracle::with_revision()).await;
    guarded.send(1).await.expect("room");
    guarded.close().await.expect("room");
    assert_eq!(socket.sent(), [1]);
    drop(guarded);
    assert_eq!((log.count("the response is complete"), log.count("stream ended")), (1, 1), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_sink_has_finished_when_both_directions_came_to_their_end_whichever_was_first() {
    for reads_first in [true, false] {
        let log = logging();
        let (socket, mut guarded) = socket(&Oracle::with_revision()).await;
        socket.ends();
        if reads_first {
            assert_eq!(guarded.next().await, None);
            assert_eq!(guarded.end_reason(), None, "it can still be written to");
        }
        guarded.close().await.expect("room");
        if !reads_first {
            assert_eq!(guarded.next().await, None);
        }
        assert_eq!(guarded.end_reason(), Some(EndReason::Finished));
        assert!(socket.is_dropped());
        assert_eq!(guarded.next().await, None);
        assert_eq!((log.count("the response is complete"), log.count("stream ended")), (1, 1), "{}", log.text());
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_read_to_its_end_is_not_read_again_not_even_for_a_farewell() {
    let secret = StaticToken::new("t0ken");
    let access = behind(BearerAuthLayer::new(secret.clone())).await;
    let socket = Socket::default();
    let mut guarded = reauth().watch_sink(&access, socket.clone()).with_farewell(|_| 9);
    socket.ends();
    assert_eq!(guarded.next().await, None);
    assert_eq!(guarded.next().await, None);
    secret.rotate("another");
    assert_eq!(guarded.next().await, None);
    assert_eq!((socket.sent(), socket.0.borrow().read_behind_its_end), (vec![9], 1));
}

#[tokio::test(start_paused = true)]
async fn access_that_goes_while_a_sink_is_asked_for_room_stops_the_item_that_waits() {
    for has_revision in [true, false] {
        for (how, reason) in [("revoke", EndReason::Revoked), ("expire", EndReason::Expired)] {
            let (wall, oracle) = (Wall::new(), Oracle::without_revision());
            let oracle = if has_revision { Oracle::with_revision() } else { oracle };
            oracle.says(Ok(alice().with_credential_id("a").with_expires_at(wall.after(60))));
            let revocations = Revocations::with_clock(wall.clock());
            let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock()).with_revocations(&revocations);
            let socket = Socket::default();
            let mut guarded = Box::pin(reauth().watch_sink(&behind(auth).await, socket.clone()));
            guarded.feed(1).await.expect("room");
            if has_revision {
                guarded.flush().await.expect("room");
                poll_fn(|cx| guarded.as_mut().poll_ready(cx)).await.expect("room");
                oracle.moves();
                guarded.as_mut().start_send(2).expect("access holds");
            }
            assert_eq!(socket.sent(), vec![1; has_revision.into()], "the other one waits for an answer");
            let wall = wall.clone();
            socket.when_asked_for_room(move || match how {
                "revoke" => revocations.revoke("a"),
                _ => wall.set_by(3_600),
            });
            assert_eq!(refused(guarded.flush().await), Some(reason), "{has_revision}");
            assert_eq!(socket.sent(), vec![1; has_revision.into()], "{how} {has_revision}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_the_reader_gets_lets_the_writers_item_pass() {
    let oracle = Oracle::without_revision();
    let (socket, mut guarded) = socket(&oracle).await;
    oracle.waits();
    assert!(guarded.feed(1).now_or_never().is_some());
    assert!(guarded.flush().now_or_never().is_none());
    oracle.answers(Ok(alice()));
    assert!(guarded.next().now_or_never().is_none());
    assert!(guarded.flush().now_or_never().is_some());
    assert_eq!((socket.sent(), oracle.open_questions()), (vec![1], 0));
}

#[tokio::test]
async fn a_half_close_leaves_the_reading_half() {
    let (server, client) = tokio::io::duplex(1024);
    let mut client = Framed::new(client, LinesCodec::new());
    let access = Access::new(alice());
    let watched = reauth().watch_sink::<_, String>(&access, Framed::new(server, LinesCodec::new()));
    let (mut writer, mut reader) = watched.split();
    writer.send("question".to_owned()).await.expect("access holds");
    writer.close().await.expect("access holds");
    assert_eq!(client.next().await.expect("a line").expect("no error"), "question");
    assert!(client.next().await.is_none(), "the server has said all");
    client.send("answer").await.expect("the server reads");
    assert_eq!(reader.next().await.map(Result::unwrap), Some("answer".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_farewell_is_said_once_where_there_is_room_and_given_up_after_five_seconds() {
    for is_full in [false, true] {
        let oracle = Oracle::with_revision();
        let (socket, guarded) = socket(&oracle).await;
        let mut guarded = guarded.with_farewell(|reason| reason.close_code().into());
        assert_eq!(guarded.send(1).await, Ok(()));
        socket.is_full(is_full);
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        let started = Instant::now();
        assert_eq!(refused(guarded.send(2).await), Some(EndReason::Revoked));
        let took = started.elapsed();
        assert_eq!(socket.sent(), if is_full { &[1][..] } else { &[1, 1008] });
        assert!(took <= Duration::from_millis(5_001), "{took:?}");
        assert_eq!(refused(guarded.send(3).await), Some(EndReason::Revoked));
        assert!(socket.is_dropped());
    }
}
