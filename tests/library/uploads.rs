//! Both directions: on request what a client sends is watched too, and its reading ends when access ends.

use std::{
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, channel::Channel};
use hyper::{
    body::Incoming,
    client::conn::{http1, http2},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio_test::task;
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, StaticToken, StreamReauthLayer,
    reauth::{AccessEnded, EndReason, UploadReauth},
    verify::VerifyError,
};

use crate::{
    sockets::Version,
    support::{BodyReader, Feed, Oracle, Script, Seen, event_stream, reauth, script},
};

struct Opened {
    /// What the client sends.
    upload: Feed,
    reading: BodyReader<UploadReauth<Script>>,
    /// What the server sends.
    feed: Feed,
    stream: crate::support::Reader<Script>,
}

/// Opens a stream in both directions.
async fn open(auth: &BearerAuthLayer) -> Opened {
    let (upload, request_body) = script();
    let (feed, body) = script();
    let (sender, receiver) = mpsc::channel();
    let body = Arc::new(Mutex::new(Some(body)));
    let layer = reauth().with_uploads();
    let service = auth.layer(layer.layer(service_fn(move |request: Request<UploadReauth<Script>>| {
        sender.send(request.into_body()).expect("the test listens");
        let body = body.lock().expect("no panic").take().expect("it is asked once");
        ready(Ok::<_, Infallible>(event_stream(body)))
    })));
    let request = Request::builder().header("authorization", "Bearer t0ken").body(request_body).expect("a request");
    let Ok(response) = service.oneshot(request).await;
    let reading = BodyReader::of(Response::new(receiver.recv().expect("the handler was asked")));
    Opened { upload, reading, feed, stream: crate::support::Reader::of(response) }
}

#[tokio::test(start_paused = true)]
async fn what_a_client_sends_arrives_unchanged_while_access_holds() {
    let Opened { upload, mut reading, .. } = open(&BearerAuthLayer::new(Oracle::without_revision())).await;
    upload.data("one");
    upload.data("two");
    upload.trailers("checksum", "1234");
    assert_eq!(reading.next().await, Seen::data("one"));
    assert_eq!(reading.next().await, Seen::data("two"));
    assert!(matches!(reading.next().await, Seen::Trailers(trailers) if trailers["checksum"] == "1234"));
    assert_eq!(reading.now(), None);
    upload.end();
    assert_eq!(reading.next().await, Seen::End);
}

#[tokio::test(start_paused = true)]
async fn the_reading_ends_with_an_error_when_access_ends_idle_or_not() {
    for is_idle in [false, true] {
        let oracle = Oracle::with_revision();
        let Opened { upload, mut reading, feed: _feed, stream: _stream } =
            open(&BearerAuthLayer::new(oracle.clone())).await;
        let mut waits = task::spawn(reading.next());
        assert!(waits.poll().is_pending());
        oracle.says(Err(VerifyError::Rejected));
        oracle.moves();
        assert!(waits.is_woken());
        if !is_idle {
            upload.data("delete everything");
        }
        drop(waits);
        assert_eq!(reading.next().await, Seen::Cut(EndReason::Revoked));
        assert!(upload.is_dropped());
        assert_eq!(reading.next().await, Seen::End);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_came_to_its_end_or_failed_is_let_go_and_not_read_again() {
    for fails in [false, true] {
        let Opened { upload, mut reading, feed: _feed, stream: _stream } =
            open(&BearerAuthLayer::new(Oracle::with_revision())).await;
        let end = if fails { Seen::Failure } else { Seen::End };
        if fails {
            upload.failure()
        } else {
            upload.end()
        }
        upload.data("behind the end");
        assert_eq!(reading.next().await, end);
        assert!(upload.is_dropped());
        assert!(reading.is_end_stream());
        assert_eq!(reading.next().await, Seen::End);
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_upload_is_asked_about_at_a_heartbeat() {
    let oracle = Oracle::without_revision();
    let Opened { upload: _upload, mut reading, feed: _feed, stream: _stream } =
        open(&BearerAuthLayer::new(oracle.clone())).await;
    oracle.says(Err(VerifyError::unavailable()));
    assert_eq!(reading.next().await, Seen::Cut(EndReason::Unavailable));
}

#[tokio::test(start_paused = true)]
async fn one_direction_that_comes_to_its_end_leaves_the_other_open() {
    let oracle = Oracle::with_revision();
    let auth = BearerAuthLayer::new(oracle.clone());

    let Opened { upload, mut reading, feed, mut stream } = open(&auth).await;
    upload.end();
    assert_eq!(reading.next().await, Seen::End);
    drop(reading);
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));

    let Opened { upload, mut reading, feed, mut stream } = open(&auth).await;
    feed.end();
    assert_eq!(stream.next().await, Seen::End);
    drop(stream);
    upload.data("more");
    assert_eq!(reading.next().await, Seen::data("more"));
    oracle.says(Err(VerifyError::Rejected));
    oracle.moves();
    assert_eq!(reading.next().await, Seen::Cut(EndReason::Revoked), "and it is still watched");
}

#[tokio::test(start_paused = true)]
async fn without_access_an_upload_passes_unwatched_where_that_was_chosen() {
    let (upload, body) = script();
    let layer = StreamReauthLayer::new().with_uploads().with_missing_access_allowed();
    let service = layer.layer(service_fn(async |request: Request<UploadReauth<Script>>| {
        let read = request.into_body().collect().await.expect("no error").to_bytes();
        Ok::<_, Infallible>(Response::new(String::from_utf8(read.to_vec()).expect("text")))
    }));
    upload.data("all of it");
    upload.end();
    let Ok(response) = service.oneshot(Request::new(body)).await;
    assert_eq!(response.into_body().collect().await.expect("no error").to_bytes(), "all of it");
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_not_enabled_watches_no_upload_either() {
    let secret = StaticToken::new("t0ken");
    let (upload, body) = script();
    let layer = StreamReauthLayer::new().with_uploads().with_enabled(false);
    let service = BearerAuthLayer::new(secret.clone()).layer(layer.layer(service_fn(
        async |request: Request<UploadReauth<Script>>| {
            let read = request.into_body().collect().await.map(|read| read.to_bytes());
            Ok::<_, Infallible>(Response::new(read.map_or_else(|error| error.to_string(), |_| "read".to_owned())))
        },
    )));
    let request = Request::builder().header("authorization", "Bearer t0ken").body(body).expect("a request");
    let mut answer = task::spawn(service.oneshot(request));
    assert!(answer.poll().is_pending());
    secret.rotate("another");
    upload.data("all of it");
    upload.end();
    let Ok(response) = answer.await;
    assert_eq!(response.into_body().collect().await.expect("no error").to_bytes(), "read");
}

/// A server that says of one upload how its reading ended, and a client that goes on sending.
async fn cut_over_a_socket(version: Version) -> EndReason {
    let secret = StaticToken::new("t0ken");
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let layer = StreamReauthLayer::new().with_uploads();
    let service = BearerAuthLayer::new(secret.clone()).layer(layer.layer(service_fn(
        move |request: Request<UploadReauth<Incoming>>| {
            let sender = sender.clone();
            async move {
                let mut body = request.into_body();
                loop {
                    let frame = body.frame().await.expect("the client never ends");
                    let said = frame.map(|_| ()).map_err(|error| error.downcast_ref::<AccessEnded>().copied());
                    let is_over = said.is_err();
                    let _ = sender.send(said);
                    if is_over {
                        return Ok::<_, Infallible>(Response::new(String::new()));
                    }
                }
            }
        },
    )));
    let (client, server) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move {
        let builder = auto::Builder::new(TokioExecutor::new());
        let _ = builder.serve_connection(TokioIo::new(server), TowerToHyperService::new(service)).await;
    });
    let (mut sends, body) = Channel::<Bytes>::new(1);
    let request = Request::builder()
        .method("POST")
        .uri("http://localhost/")
        .header("host", "localhost")
        .header("authorization", "Bearer t0ken")
        .body(body)
        .expect("a request");
    let answer = async move {
        match version {
            Version::Http1 => {
                let (mut client, connection) = http1::handshake(TokioIo::new(client)).await.expect("a connection");
                tokio::spawn(connection);
                client.send_request(request).await
            }
            Version::Http2 => {
                let (mut client, connection) =
                    http2::handshake(TokioExecutor::new(), TokioIo::new(client)).await.expect("a connection");
                tokio::spawn(connection);
                client.send_request(request).await
            }
        }
    };
    tokio::spawn(answer);
    sends.send_data("part".into()).await.expect("the client reads its own body");
    assert_eq!(receiver.recv().await, Some(Ok(())));
    secret.rotate("another");
    loop {
        match receiver.recv().await.expect("the handler says how it ended") {
            Ok(()) => {}
            Err(ended) => return ended.expect("access, and not the connection").reason,
        }
    }
}

#[tokio::test]
async fn an_upload_over_http_1_and_2_ends_when_its_secret_is_rotated() {
    for version in [Version::Http1, Version::Http2] {
        let cut = tokio::time::timeout(Duration::from_secs(5), cut_over_a_socket(version));
        assert_eq!(cut.await.expect("a prompt end"), EndReason::Revoked, "{version:?}");
    }
}
