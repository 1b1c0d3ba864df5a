//! Promise 21: every open stream can be seen, counted, and ended by hand.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    time::Duration,
};

use futures_util::{FutureExt, SinkExt, StreamExt, stream};
use http::{Request, Response};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Identity, RequireScopeLayer, StreamReauthLayer, Tokens,
    access::RenewError,
    reauth::{EndReason, Ending, OpenStreams, StreamId, StreamInfo, StreamLabel},
    verify::{Token, VerifyError},
};

use crate::support::{
    BodyReader, Feed, Oracle, READ, Reader, Script, Seen, WRITE, access, alice, behind, event_stream, handler, open,
    open_with, others, reauth, request, script,
};

const SECOND: Duration = Duration::from_secs(1);

fn listing(streams: &OpenStreams) -> StreamReauthLayer {
    reauth().with_ending(Ending::LastEvent).with_registry(streams)
}

async fn opened(streams: &OpenStreams, oracle: &Oracle) -> (Feed, Reader<Script>) {
    open(BearerAuthLayer::new(oracle.clone()), listing(streams)).await
}

fn last_event(reason: &str, reconnect: bool) -> Seen {
    let retry = if reconnect { "retry: 1000\n" } else { "" };
    Seen::data(format!("event: reauth\n{retry}data: {{\"reason\":\"{reason}\",\"reconnect\":{reconnect}}}\n\n"))
}

fn ids(streams: &[StreamInfo]) -> Vec<u64> {
    streams.iter().map(|stream| stream.id.get()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_listed_from_its_first_byte_to_its_last() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    assert_eq!((streams.len(), streams.list().len()), (0, 0));
    let (feed, mut stream) = opened(&streams, &oracle).await;
    assert_eq!(streams.len(), 1);
    sleep(7 * SECOND).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    feed.data("data: 22\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 22\n\n"));

    let [info] = &streams.list()[..] else { panic!("one stream") };
    assert_eq!((info.id.get(), info.frames, info.bytes), (1, 2, 19));
    assert_eq!((info.age, info.confirmed), (7 * SECOND, 7 * SECOND));
    assert_eq!((info.identity.subject(), info.label.as_deref()), (alice().subject(), None));
    assert_eq!(streams.get(info.id).map(|again| again.frames), Some(2));
    assert!(streams.get(StreamId::from(2)).is_none());

    feed.end();
    assert_eq!(stream.rest().await, [Seen::End]);
    assert_eq!(streams.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_gone_from_the_list_however_it_ended() {
    let ends: [(&str, fn(&Oracle, &Feed, Reader<Script>)); 4] = [
        ("the client left", |_, _, stream| drop(stream)),
        ("the handler failed", |_, feed, mut stream| {
            feed.failure();
            stream.rest().now_or_never().expect("at once");
        }),
        ("revoked", |oracle, _, mut stream| {
            oracle.says(Err(VerifyError::Rejected));
            oracle.moves();
            stream.rest().now_or_never().expect("at once");
        }),
        ("its verifier panicked", |oracle, _, mut stream| {
            oracle.panics();
            oracle.moves();
            stream.rest().now_or_never().expect("at once");
        }),
    ];
    for (name, ends) in ends {
        let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
        let (feed, stream) = opened(&streams, &oracle).await;
        let known = streams.changes();
        ends(&oracle, &feed, stream);
        assert_eq!(streams.len(), 0, "{name}");
        assert_ne!(streams.changes(), known, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_the_verifier_is_a_confirmation() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let (_feed, mut stream) = opened(&streams, &oracle).await;
    sleep(20 * SECOND).await;
    assert_eq!(stream.next().await, Seen::data(": keepalive\n\n"));
    let info = &streams.list()[0];
    assert_eq!((info.age, info.confirmed), (20 * SECOND, Duration::ZERO));
    assert_eq!(info.frames, 0, "a comment is none of the stream's frames");
}

#[tokio::test(start_paused = true)]
async fn one_is_ended_by_hand_and_no_other() {
    for (reason, expected) in [
        (EndReason::Closed, last_event("closed", false)),
        (EndReason::ShuttingDown, last_event("shutting_down", true)),
        (EndReason::Revoked, last_event("revoked", false)),
        // What is no matter of access cannot be chosen.
        (EndReason::Finished, last_event("closed", false)),
    ] {
        let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
        let auth = BearerAuthLayer::new(oracle.clone());
        let (_first_feed, mut first) = open(auth.clone(), listing(&streams)).await;
        let (feed, mut second) = open(auth, listing(&streams)).await;
        // Both idle, and waiting.
        assert!(first.now().is_none() && second.now().is_none());
        let listed = streams.list();
        assert_eq!(ids(&listed), [1, 2]);

        assert!(streams.end(listed[0].id, reason));
        assert_eq!(first.rest().await, [expected, Seen::End], "{reason:?}");
        assert!(!streams.end(listed[0].id, reason), "there is none of this number any more");
        feed.data("data: 1\n\n");
        assert_eq!(second.next().await, Seen::data("data: 1\n\n"));
        assert_eq!(ids(&streams.list()), [2]);
        assert_eq!(oracle.asked(), 2, "at the door, and nobody was asked about it");
    }
}

#[tokio::test(start_paused = true)]
async fn no_frame_passes_from_there_on() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let (feed, mut stream) = opened(&streams, &oracle).await;
    feed.data("data: before\n\n");
    assert_eq!(stream.next().await, Seen::data("data: before\n\n"));
    feed.data("data: after\n\n");
    assert!(streams.end(StreamId::from(1), EndReason::Closed));
    assert_eq!(stream.rest().await, [last_event("closed", false), Seen::End]);
    assert!(feed.is_dropped());
}

#[tokio::test(start_paused = true)]
async fn one_that_was_never_polled_is_ended_too() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::without_revision());
    let (feed, mut stream) = opened(&streams, &oracle).await;
    feed.data("data: 1\n\n");
    assert_eq!(streams.end_where(EndReason::Closed, |_| true), 1);
    assert_eq!(stream.rest().await, [last_event("closed", false), Seen::End]);
}

#[tokio::test(start_paused = true)]
async fn a_filter_picks_by_whatever_the_list_shows() {
    let streams = OpenStreams::new();
    let tokens = Tokens::new([
        Token::new("a1", "one").with_subject("alice").with_scopes(READ),
        Token::new("a2", "two").with_subject("alice").with_scopes(WRITE),
        Token::new("b1", "three").with_subject("bob").with_scopes(READ),
    ])
    .expect("no duplicates");
    let auth = BearerAuthLayer::new(tokens);
    let mut open = Vec::new();
    for token in ["one", "two", "three"] {
        open.push(open_with(auth.clone(), listing(&streams), token).await);
    }
    let scopes: Vec<String> = streams.list().iter().map(|stream| stream.scopes.to_string()).collect();
    assert_eq!(scopes, ["history:read", "history:write", "history:read"]);
    let of_alice = |stream: &StreamInfo| stream.identity.subject() == "alice" && stream.scopes.contains(&READ);
    assert_eq!(streams.end_where(EndReason::Closed, of_alice), 1);
    others().await;
    for (index, (_, stream)) in open.iter_mut().enumerate() {
        assert_eq!(stream.now().is_some(), index == 0, "{index}");
    }
    assert_eq!(streams.end_where(EndReason::Closed, |stream| stream.identity.credential_id() == Some("b1")), 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_names_its_stream() {
    let streams = OpenStreams::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_scopes(READ)));
    let (_feed, body) = script();
    let mut response = event_stream(body);
    response.extensions_mut().insert(StreamLabel::new("agent:main:main"));
    let service = BearerAuthLayer::new(oracle)
        .layer(RequireScopeLayer::new(READ).layer(listing(&streams).layer(handler(response))));
    let Ok(response) = service.oneshot(request()).await;
    let _stream = Reader::of(response);
    assert_eq!(streams.list()[0].label.as_deref(), Some("agent:main:main"));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_no_stream_is_not_listed() {
    let streams = OpenStreams::new();
    let service = BearerAuthLayer::new(Oracle::with_revision()).layer(
        listing(&streams)
            .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::from("whole"))))),
    );
    let Ok(response) = service.oneshot(request()).await;
    let _body = BodyReader::of(response);
    assert_eq!(streams.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn streams_and_sinks_of_ones_own_are_listed_by_their_items() {
    let streams = OpenStreams::new();
    let access = behind(BearerAuthLayer::new(Oracle::with_revision())).await;
    let mut ticks = Box::pin(listing(&streams).watch_stream(&access, stream::iter(1..=3).chain(stream::pending())));
    for expected in 1..=3 {
        assert_eq!(ticks.next().await, Some(expected));
    }
    let sender = futures_util::sink::unfold((), async |(), _: u8| Ok::<_, Infallible>(()));
    let mut sink = Box::pin(listing(&streams).watch_sink(&access, sender));
    sink.send(1).await.expect("it is open");
    let listed = streams.list();
    assert_eq!(listed.iter().map(|stream| (stream.frames, stream.bytes)).collect::<Vec<_>>(), [(3, 0), (1, 0)]);

    assert!(streams.end(listed[0].id, EndReason::Closed));
    assert_eq!(ticks.next().await, None);
    assert_eq!(ticks.end_reason(), Some(EndReason::Closed));
    assert!(sink.send(2).await.is_err(), "it belongs to the same request");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_change_hears_of_it() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let known = streams.changes();
    let waiting = tokio::spawn({
        let streams = streams.clone();
        async move { streams.changed_since(known).await }
    });
    others().await;
    assert!(!waiting.is_finished());
    let (_feed, stream) = opened(&streams, &oracle).await;
    let known = waiting.await.expect("no panic");
    assert_eq!(streams.changed_since(known).now_or_never(), None);
    drop(stream);
    assert!(streams.changed_since(known).now_or_never().is_some(), "at once, for what was missed");
}

#[tokio::test(start_paused = true)]
async fn the_reason_by_hand_is_the_one_that_is_told() {
    let told = Arc::new(Mutex::new(Vec::new()));
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let hook = Arc::clone(&told);
    let layer = listing(&streams).with_on_end(move |ended| hook.lock().expect("no panic").push(ended.reason));
    let (_feed, mut stream) = open(BearerAuthLayer::new(oracle.clone()), layer).await;
    streams.end(StreamId::from(1), EndReason::Closed);
    // The first reason wins, whatever comes after it.
    streams.end(StreamId::from(1), EndReason::ShuttingDown);
    oracle.says(Err(VerifyError::Expired));
    oracle.moves();
    assert_eq!(stream.rest().await, [last_event("closed", false), Seen::End]);
    assert_eq!(*told.lock().expect("no panic"), [EndReason::Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_users_code_may_call_back_from_anywhere() {
    // A filter, and claims that are dropped with the last trace of a stream.
    struct Claims(OpenStreams);
    impl Drop for Claims {
        fn drop(&mut self) {
            assert_eq!(self.0.end_where(EndReason::Closed, |_| true), 0);
        }
    }
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    oracle.says(Ok(alice().with_claims(Claims(streams.clone()))));
    let (_feed, mut stream) = opened(&streams, &oracle).await;
    oracle.says(Ok(alice()));
    let inner = streams.clone();
    let ended = streams.end_where(EndReason::Closed, |stream| {
        inner.get(stream.id).is_some() && inner.len() == 1 && !inner.list().is_empty()
    });
    assert_eq!(ended, 1);
    assert_eq!(stream.rest().await, [last_event("closed", false), Seen::End]);
    drop(stream);
    assert_eq!(streams.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_does_not_save_a_stream_that_was_ended() {
    let streams = OpenStreams::new();
    let oracle = Oracle::with_revision();
    let held = Arc::new(Mutex::new(None::<Access>));
    let hold = Arc::clone(&held);
    let (_feed, body) = script();
    let body = Arc::new(Mutex::new(Some(body)));
    let service =
        BearerAuthLayer::new(oracle.clone()).layer(listing(&streams).layer(service_fn(move |request: Request<()>| {
            *hold.lock().expect("no panic") = Some(access(&request).clone());
            let body = body.lock().expect("no panic").take().expect("once");
            std::future::ready(Ok::<_, Infallible>(event_stream(body)))
        })));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    assert!(stream.now().is_none());
    let fresh = behind(BearerAuthLayer::new(oracle)).await;
    let old = held.lock().expect("no panic").take().expect("the handler ran");
    old.renew(&fresh).expect("it is open");
    streams.end(StreamId::from(1), EndReason::Closed);
    assert_eq!(old.renew(&fresh), Err(RenewError::Ended));
    assert!(old.require(READ).is_err(), "the handler may do nothing more either");
    assert_eq!(stream.rest().await, [last_event("closed", false), Seen::End]);
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_choose_the_number_and_one_that_is_taken_is_not_taken_again() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let told = Arc::new(Mutex::new(Vec::new()));
    let hook = Arc::clone(&told);
    let layer = listing(&streams).with_on_end(move |ended| {
        hook.lock().expect("no panic").push((ended.stream.map(StreamId::get), ended.label.clone()));
    });
    let service = BearerAuthLayer::new(oracle).layer(layer.layer(service_fn(async |_: Request<()>| {
        let (feed, body) = script();
        let mut response = event_stream(body);
        response.extensions_mut().insert(StreamId::from(77));
        response.extensions_mut().insert(StreamLabel::new("clock"));
        // For as long as the process runs.
        std::mem::forget(feed);
        Ok::<_, Infallible>(response)
    })));
    let Ok(first) = service.clone().oneshot(request()).await;
    sleep(SECOND).await;
    let Ok(second) = service.oneshot(request()).await;
    assert_eq!(ids(&streams.list()), [77, 1], "in the order in which they began");
    assert_eq!(streams.get(StreamId::from(77)).map(|stream| stream.age), Some(SECOND));
    drop(first);
    assert_eq!(ids(&streams.list()), [1]);
    drop(second);
    let clock = || Some(Arc::from("clock"));
    assert_eq!(*told.lock().expect("no panic"), [(Some(77), clock()), (Some(1), clock())]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_renewed_by_its_number_for_as_long_as_it_is_open() {
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let (_feed, mut stream) = opened(&streams, &oracle).await;
    let (id, fresh) = (StreamId::from(1), behind(BearerAuthLayer::new(oracle.clone())).await);
    assert_eq!(streams.renew(StreamId::from(2), &fresh), None);
    assert_eq!(streams.renew(id, &fresh), Some(Ok(())));
    oracle.says(Ok(Identity::new("bob", AuthMethod::Token)));
    let other = behind(BearerAuthLayer::new(oracle)).await;
    assert_eq!(streams.renew(id, &other), Some(Err(RenewError::OtherSubject)));
    streams.end(id, EndReason::Closed);
    assert_eq!(stream.rest().await, [last_event("closed", false), Seen::End]);
    assert_eq!(streams.renew(id, &fresh), None);
}

#[tokio::test(start_paused = true)]
async fn all_that_a_request_has_open_ends_with_it() {
    let streams = OpenStreams::new();
    let access = behind(BearerAuthLayer::new(Oracle::with_revision())).await;
    let mut ticks = Box::pin(listing(&streams).watch_stream(&access, stream::pending::<u8>()));
    let mut other = Box::pin(listing(&streams).watch_stream(&access, stream::pending::<u8>()));
    let mut fork = Box::pin(listing(&streams).watch_stream(&access.fork(), stream::pending::<u8>()));
    assert!(ticks.next().now_or_never().is_none());
    assert!(streams.end(StreamId::from(1), EndReason::Closed));
    assert_eq!((ticks.next().await, other.next().await), (None, None));
    assert_eq!(other.end_reason(), Some(EndReason::Closed));
    // What begins later in the same request is too late.
    let mut late = Box::pin(listing(&streams).watch_stream(&access, stream::iter([1])));
    assert_eq!(late.next().await, None);
    assert!(fork.next().now_or_never().is_none(), "a request within the request has a life of its own");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_change_cannot_keep_a_stream_in_the_list() {
    struct Broken;
    impl Wake for Broken {
        fn wake(self: Arc<Self>) {
            panic!("a waker of a broken executor");
        }
    }
    let (streams, oracle) = (OpenStreams::new(), Oracle::with_revision());
    let waker = Waker::from(Arc::new(Broken));
    let wait = || {
        let mut change = Box::pin(streams.changed_since(streams.changes()));
        assert!(change.poll_unpin(&mut Context::from_waker(&waker)).is_pending());
        change
    };
    let _opening = wait();
    let (feed, stream) = opened(&streams, &oracle).await;
    assert_eq!(streams.len(), 1);
    let _closing = wait();
    drop(stream);
    assert_eq!(streams.len(), 0);
    assert!(feed.is_dropped());
}
