//! Promise 14: the watch on the revision begins before the first check, so that a revocation between
//! check and stream start is not lost.

use std::time::Duration;

use http::Request;
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{BearerAuthLayer, StaticToken, reauth::EndReason, verify::VerifyError};

use crate::support::{Oracle, Reader, Seen, alice, event_stream, handler, reauth, request, script};

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_rotated_while_the_handler_works_opens_nothing() {
    let secret = StaticToken::new("t0ken");
    let (feed, body) = script();
    feed.data("data: 1\n\n");
    let inner = handler(event_stream(body));
    let service = ServiceBuilder::new().layer(BearerAuthLayer::new(secret.clone())).layer(reauth()).service_fn(
        move |request: Request<()>| {
            secret.rotate("another");
            inner.clone().oneshot(request)
        },
    );
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_during_the_first_check_is_not_lost() {
    let oracle = Oracle::with_revision();
    oracle.waits();
    let (feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(reauth())
        .service(handler(event_stream(body)));
    let at_the_door = tokio::spawn(service.oneshot(request()));
    tokio::task::yield_now().await;

    // The verifier looked, then the token was revoked, then its answer arrived.
    oracle.moves();
    oracle.answers(Ok(alice()));
    oracle.says(Err(VerifyError::Rejected));
    let Ok(response) = at_the_door.await.expect("no panic");
    feed.data("data: 1\n\n");
    assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_revocation_between_the_response_and_its_first_poll_is_not_lost() {
    let secret = StaticToken::new("t0ken");
    let (_feed, mut stream) = crate::support::open(BearerAuthLayer::new(secret.clone()), reauth()).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    secret.rotate("another");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}
