//! Promise 10: a response that is not a stream passes untouched.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_LENGTH};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, StaticToken, StreamReauth, StreamReauthLayer,
    reauth::{EndReason, Ending},
    verify::VerifyError,
};

use crate::support::{Feed, Reader, Script, Seen, alice, event_stream, handler, reauth, request, script};

/// The response of a handler that rotates the secret before it answers.
async fn after_rotation<B>(method: Method, response: Response<B>) -> Response<StreamReauth<B>>
where
    B: Body<Data = Bytes> + Default,
{
    let secret = StaticToken::new("t0ken");
    let inner = handler(response);
    let service = ServiceBuilder::new().layer(BearerAuthLayer::new(secret.clone())).layer(reauth()).service_fn(
        move |request: Request<()>| {
            secret.rotate("another");
            inner.clone().oneshot(request)
        },
    );
    let mut request = request();
    *request.method_mut() = method;
    let Ok(response) = service.oneshot(request).await;
    response
}

/// Whether a response is watched, so that a rotated secret cuts it.
async fn is_cut(method: Method, change: impl FnOnce(&mut Response<Script>, &Feed)) -> bool {
    let (feed, body) = script();
    let mut response = event_stream(body);
    change(&mut response, &feed);
    let response = after_rotation(method, response).await;
    feed.data("data: 1\n\n");
    feed.end();
    let seen = Reader::of(response).rest().await;
    if seen == [Seen::Cut(EndReason::Revoked), Seen::End] {
        return true;
    }
    assert_eq!(seen, [Seen::data("data: 1\n\n"), Seen::End]);
    false
}

#[tokio::test(start_paused = true)]
async fn a_response_of_unknown_length_is_a_stream_whatever_its_method_and_status() {
    for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        for status in [200, 206, 404, 500] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert!(is_cut(method.clone(), |response, _| *response.status_mut() = status).await, "{method} {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_to_head_or_connect_passes_untouched() {
    for method in [Method::HEAD, Method::CONNECT] {
        assert!(!is_cut(method, |_, _| {}).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_whose_status_forbids_a_body_passes_untouched() {
    for status in [100, 101, 103, 204, 304] {
        let status = StatusCode::from_u16(status).expect("a status");
        assert!(!is_cut(Method::GET, |response, _| *response.status_mut() = status).await, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_with_a_content_length_is_never_cut_short_under_it() {
    let announced = |response: &mut Response<Script>, _: &Feed| {
        response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("9"));
    };
    assert!(!is_cut(Method::GET, announced).await);
}

#[tokio::test]
async fn a_body_of_known_size_keeps_its_size() {
    let response = after_rotation(Method::GET, Response::new(Full::<Bytes>::from("hello"))).await;
    assert_eq!(response.body().size_hint().exact(), Some(5));
    assert!(!response.body().is_end_stream());
    assert_eq!(response.into_body().collect().await.expect("a whole body").to_bytes(), "hello");

    let response = after_rotation(Method::GET, Response::new(Empty::<Bytes>::new())).await;
    assert_eq!(response.body().size_hint().exact(), Some(0));
    assert!(response.body().is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_at_its_end_passes_untouched() {
    let (feed, body) = script();
    feed.knows_its_end();
    let response = after_rotation(Method::GET, event_stream(body)).await;
    assert!(response.body().is_end_stream());
    feed.end();
    assert_eq!(Reader::of(response).rest().await, [Seen::End]);
}

#[tokio::test(start_paused = true)]
async fn status_and_headers_are_left_alone() {
    let (_feed, body) = script();
    let mut response = event_stream(body);
    *response.status_mut() = StatusCode::ACCEPTED;
    response.headers_mut().insert("x-own", HeaderValue::from_static("1"));
    response.extensions_mut().insert(7_u8);
    let before = response.headers().clone();
    let response = after_rotation(Method::GET, response).await;
    assert_eq!((response.status(), response.headers()), (StatusCode::ACCEPTED, &before));
    assert_eq!(response.extensions().get::<u8>(), Some(&7));
}

#[tokio::test(start_paused = true)]
async fn a_filter_says_which_of_them_are_watched() {
    let secret = StaticToken::new("t0ken");
    for (status, is_watched) in [(200, true), (202, false)] {
        let (feed, body) = script();
        let mut response = event_stream(body);
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(secret.clone()))
            .layer(reauth().with_filter(|parts| parts.status == StatusCode::OK))
            .service(handler(response));
        let Ok(response) = service.oneshot(request()).await;
        secret.rotate("another");
        feed.data("data: 1\n\n");
        feed.end();
        let first = Reader::of(response).next().await;
        assert_eq!(first == Seen::Cut(EndReason::Revoked), is_watched);
        secret.rotate("t0ken");
    }
}

#[tokio::test(start_paused = true)]
async fn of_several_filters_each_must_take_a_response_for_a_stream() {
    let access = Access::new(alice());
    for (first, second) in [(true, true), (true, false), (false, true)] {
        let layer = reauth().with_filter(move |_| first).with_filter(move |_| second);
        let (_feed, body) = script();
        let response = layer.watch(&access, &Method::GET, event_stream(body));
        let debug = format!("{:?}", response.body());
        assert!(debug.contains(&format!("watched: {}", first && second)), "{first} {second}: {debug}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_response_is_watched_by_hand() {
    let answer = Arc::new(Mutex::new(Ok(alice())));
    let current = Arc::clone(&answer);
    let access = Access::with_recheck(alice(), move || current.lock().expect("nobody panics").clone().into());
    let (feed, body) = script();
    let layer = StreamReauthLayer::new().with_ending(Ending::Abort);
    let mut stream = Reader::of(layer.watch(&access, &Method::GET, event_stream(body)));
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    *answer.lock().expect("nobody panics") = Err(VerifyError::Rejected);
    feed.data("data: 2\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}
