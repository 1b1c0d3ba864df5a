//! A token's dates are judged at the door and for as long as a response streams, by one clock and one leeway.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Channel, channel::Sender};
use serde_json::json;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, Clock, Denied, StreamReauthLayer, VerifyToken,
    reauth::{EndReason, Ending},
};

use crate::{key_set, signer::Signer, verifier};

pub type Stream = tower_reauth::StreamReauth<Channel<Bytes>>;

/// A clock that shows a moment and goes on as tokio's does.
pub fn clock(unix: u64) -> Clock {
    let (wall, started) = (std::time::UNIX_EPOCH + Duration::from_secs(unix), Instant::now());
    Clock::from_fn(move || wall + started.elapsed())
}

/// Opens an event stream with `token`. What would write to it is held on to.
pub async fn open(auth: BearerAuthLayer, token: &str) -> Result<(Sender<Bytes>, Stream), (StatusCode, Denied)> {
    let (sender, body) = Channel::<Bytes>::new(1);
    let body = std::sync::Arc::new(std::sync::Mutex::new(Some(body)));
    let handler = service_fn(move |_: Request<()>| {
        let body = body.lock().expect("no panic").take().unwrap_or_else(|| Channel::new(1).1);
        let response = Response::builder().header("content-type", "text/event-stream").body(body);
        std::future::ready(Ok::<_, Infallible>(response.expect("a response")))
    });
    let reauth = StreamReauthLayer::new().with_ending(Ending::Abort).with_heartbeat(Duration::from_secs(86_400));
    let request = Request::builder().header("authorization", format!("Bearer {token}")).body(()).expect("a request");
    let Ok(response) = auth.layer(reauth.layer(handler)).oneshot(request).await;
    match response.extensions().get::<Denied>() {
        Some(denied) => Err((response.status(), denied.clone())),
        None => Ok((sender, response.into_body())),
    }
}

/// Why an idle stream ends, and after how long.
pub async fn end(mut stream: Stream) -> (EndReason, Duration) {
    let started = Instant::now();
    let error = stream.frame().await.expect("it ends in an abort").expect_err("nobody writes");
    let ended: &tower_reauth::reauth::AccessEnded = error.downcast_ref().expect("access ended");
    (ended.reason, started.elapsed())
}

pub fn door(verifier: impl VerifyToken) -> BearerAuthLayer {
    BearerAuthLayer::new(verifier).with_clock(clock(1_000_000)).with_leeway(Duration::from_secs(30))
}

#[tokio::test(start_paused = true)]
async fn the_leeway_at_the_door_is_the_leeway_in_the_stream() {
    let signer = Signer::new("key", "EdDSA");
    let verifier = verifier(key_set(&[signer.jwk()]));
    let token = |exp: f64, nbf: f64| {
        let mut claims = Signer::claims();
        (claims["exp"], claims["nbf"]) = (json!(exp), json!(nbf));
        signer.token(&claims)
    };
    let opened = async |exp, nbf| open(door(verifier.clone()), &token(exp, nbf)).await;

    let (_held, stream) = opened(1_000_060.0, 1_000_000.0).await.expect("it is good");
    assert_eq!(end(stream).await, (EndReason::Expired, Duration::from_secs(90)));
    let (_held, stream) = opened(999_970.5, 0.0).await.expect("it is good by the leeway");
    let (reason, after) = end(stream).await;
    assert_eq!(reason, EndReason::Expired);
    assert!(after >= Duration::from_millis(500) && after < Duration::from_millis(510), "{after:?}");
    assert_eq!(opened(999_970.0, 0.0).await.expect_err("it is over").1, Denied::Expired);

    let (_held, _stream) = opened(4e9, 1_000_030.0).await.expect("it begins by the leeway");
    let (status, denied) = opened(4e9, 1_000_030.5).await.expect_err("it is early");
    assert_eq!((status, denied), (StatusCode::UNAUTHORIZED, Denied::Rejected));
}
