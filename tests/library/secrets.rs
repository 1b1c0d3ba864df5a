//! No secret in a log, a `Debug` or an error.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{Request, Response};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, RequireScopeLayer, ScopeResolverLayer, StaticToken, StreamReauthLayer, Strict, Tokens,
    VerifyToken,
    bearer::Bearer,
    http_client::BoxError,
    reauth::EndReason,
    respond::{Refusal, Respond},
    revoke::{Revocations, events::EventPoller},
    verify::{
        BearerToken, ClientAuth, Introspection, Token, TokenDigest, Verification, VerifyError, jwks::Jwks,
        verify_async, verify_fn,
    },
};

use crate::security_events::receiver;
use crate::support::{READ, Reader, Seen, alice, event_stream, handler, logging, open, reauth, request_with, script};

const SECRET: &str = "hunter2-hunter2";

/// Every way in which a secret or its digest could be written.
fn shows_secret(text: &str) -> bool {
    let digest = TokenDigest::of(SECRET);
    let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let bytes = format!("{:?}", digest.as_bytes());
    let text = text.replace(['\n', ' '], "");
    text.contains("hunter2") || text.to_lowercase().contains(&hex[..8]) || text.contains(&bytes[1..12].replace(' ', ""))
}

fn assert_hidden(value: &dyn Debug) {
    for text in [format!("{value:?}"), format!("{value:#?}")] {
        assert!(!shows_secret(&text), "{text}");
        assert!(!text.is_empty());
    }
}

#[test]
fn the_search_for_secrets_finds_them() {
    let digest = TokenDigest::of(SECRET);
    for shown in [format!("{SECRET:?}"), format!("{:?}", digest.as_bytes()), format!("{:#?}", digest.as_bytes())] {
        assert!(shows_secret(&shown), "{shown}");
    }
}

#[tokio::test]
async fn no_debug_output_shows_a_secret_or_its_digest() {
    let secret = StaticToken::new(SECRET);
    let token = Token::new("ci", SECRET);
    let tokens = Tokens::new([token.clone()]).expect("no duplicates");
    let auth = BearerAuthLayer::new(secret.clone());
    assert_hidden(&secret);
    assert_hidden(&token);
    assert_hidden(&tokens);
    assert_hidden(&TokenDigest::of(SECRET));
    assert_hidden(&Bearer::new(secret.clone()));
    assert_hidden(&auth);
    assert_hidden(&Verification::ready(Ok(alice().with_claims(SECRET))));
    assert_hidden(&alice().with_claims(SECRET));

    let debugged = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&debugged);
    let looking = BearerAuthLayer::new(verify_fn(move |token| {
        seen.lock().expect("nobody panics").push(format!("{token:?} {:?}", token.digest()));
        Ok(alice().with_claims(SECRET))
    }));
    let stack = ServiceBuilder::new()
        .layer(looking)
        .layer(ScopeResolverLayer::new(Strict::new(READ)))
        .layer(StreamReauthLayer::new())
        .service_fn(async |request: Request<()>| {
            assert_hidden(request.extensions().get::<Access>().expect("the layer put it there"));
            Ok::<_, std::convert::Infallible>(event_stream(script().1))
        });
    let Ok(response) = stack.oneshot(request_with(format!("Bearer {SECRET}"))).await;
    assert_hidden(response.body());
    assert_hidden(&*debugged.lock().expect("nobody panics"));
    assert_eq!(debugged.lock().expect("nobody panics").len(), 1, "the token was looked at");
}

#[tokio::test]
async fn a_refusal_shows_no_secret_of_the_request_that_it_refuses() {
    #[derive(Clone)]
    struct Shows(Arc<Mutex<Vec<String>>>);

    impl Respond<String> for Shows {
        fn respond(&self, refusal: &Refusal<'_>) -> Response<String> {
            self.0.lock().expect("nobody panics").push(format!("{refusal:?} {:?}", refusal.headers()));
            Response::new(String::new())
        }
    }

    let shown = Arc::new(Mutex::new(Vec::new()));
    let later = verify_async(async |_| Err(VerifyError::Rejected));
    for auth in [BearerAuthLayer::new(StaticToken::new("another")), BearerAuthLayer::new(later)] {
        for presented in [vec![SECRET], vec![SECRET, SECRET], vec!["no one", SECRET]] {
            let mut request = Request::builder().uri(format!("/?access_token={SECRET}")).body(()).expect("a request");
            for token in presented {
                let value = format!("Bearer {token}").parse().expect("a header can hold it");
                request.headers_mut().append("authorization", value);
            }
            let auth = auth.clone().with_response(Shows(Arc::clone(&shown)));
            let service = ServiceBuilder::new()
                .layer(auth)
                .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
            let Ok(_) = service.oneshot(request).await;
        }
    }
    let shown = shown.lock().expect("nobody panics");
    assert_eq!(shown.len(), 6);
    assert_hidden(&*shown);
}

#[tokio::test]
async fn no_service_shows_a_secret() {
    #[derive(Clone, Debug)]
    struct Inner;
    assert_hidden(&BearerAuthLayer::new(StaticToken::new(SECRET)).layer(Inner));
    assert_hidden(&RequireScopeLayer::new(READ).layer(Inner));
    assert_hidden(&ScopeResolverLayer::new(Strict::new(READ)).layer(Inner));
    assert_hidden(&StreamReauthLayer::new().layer(Inner));
}

#[tokio::test]
async fn refusals_and_ends_are_logged_by_their_reason_and_without_the_secret() {
    let log = logging();
    let secret = StaticToken::new(SECRET);
    let (_feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(secret.clone()))
        .layer(reauth())
        .service(handler(event_stream(body)));

    for header in [format!("Bearer {SECRET}x"), format!("Bearer {SECRET} x"), format!("Basic {SECRET}")] {
        let Ok(refused) = service.clone().oneshot(request_with(header)).await;
        assert!(refused.status().is_client_error());
    }
    let Ok(response) = service.oneshot(request_with(format!("Bearer {SECRET}"))).await;
    secret.rotate("another");
    assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Revoked));

    let text = log.text();
    for reason in ["rejected", "malformed", "missing", "revoked"] {
        assert_eq!(log.count(&format!("reason=\"{reason}\"")), 1, "{reason} in {text}");
    }
    assert!(!shows_secret(&text), "{text}");
}

#[tokio::test]
async fn the_first_reason_is_the_one_that_is_logged() {
    let log = logging();
    let secret = StaticToken::new("t0ken");
    let (feed, mut stream) = open(BearerAuthLayer::new(secret.clone()), reauth()).await;
    feed.failure();
    secret.rotate("another");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    drop(stream);

    // Another stream, which the client leaves.
    let secret = StaticToken::new("t0ken");
    drop(open(BearerAuthLayer::new(secret), reauth()).await);

    for (part, count) in [("stream ended", 2), ("reason=\"revoked\"", 1), ("reason=\"disconnected\"", 1)] {
        assert_eq!(log.count(part), count, "{part} in {}", log.text());
    }
}

#[test]
fn no_error_shows_a_secret() {
    let duplicate = Tokens::new([Token::new("a", SECRET), Token::new("b", SECRET)]).expect_err("a duplicate");
    assert_hidden(&duplicate);
    assert!(!shows_secret(&duplicate.to_string()));
}

#[tokio::test]
async fn no_url_of_a_provider_shows_its_password_or_its_query() {
    let log = logging();
    let client = async |_: Request<Bytes>| Err::<Response<Bytes>, BoxError>("no answer".into());
    let url = |scheme: &str| format!("{scheme}://user:{SECRET}@issuer.example/path?code={SECRET}");
    let (good, bad) = (url("https"), url("http"));
    let auth = || ClientAuth::basic("service", SECRET);
    let receiver = || receiver(&Revocations::new());

    let introspection = Introspection::new(&good, auth(), client).expect("a URL");
    let poller = EventPoller::new(good.parse().expect("a URI"), SECRET, client, receiver()).expect("a token");
    let jwks = Jwks::at(&good, client).expect("a URL");
    for shown in [&introspection as &dyn Debug, &poller, &jwks, &auth()] {
        assert_hidden(shown);
    }
    let token = BearerToken::from_header(&"abc".parse().expect("a header"), 0..3).expect("a token");
    assert!(introspection.verify(&token).await.is_err());
    tokio::select! {
        biased;
        _ = poller.run() => {}
        () = tokio::time::sleep(std::time::Duration::from_millis(50)) => {}
    }

    for text in [bad.as_str(), &format!("user:{SECRET}@nowhere?{SECRET}")] {
        assert_hidden(&Introspection::new(text, auth(), client).expect_err("it is refused"));
        assert_hidden(&Jwks::at(text, client).expect_err("it is refused"));
        assert!(!shows_secret(&Introspection::new(text, auth(), client).expect_err("it is refused").to_string()));
        assert!(!shows_secret(&Jwks::at(text, client).expect_err("it is refused").to_string()));
    }
    let refused = EventPoller::new(bad.parse().expect("a URI"), SECRET, client, receiver()).expect_err("it is refused");
    assert_hidden(&refused);
    assert!(!shows_secret(&refused.to_string()));
    let text = log.text();
    assert!(text.contains("issuer.example/path") && !shows_secret(&text), "{text}");
}
