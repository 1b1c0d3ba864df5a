//! Where in a request a token may stand besides the `Authorization` header, and who sees it there.

use std::{
    convert::Infallible,
    sync::{Arc, mpsc},
};

use ::axum::extract::OriginalUri;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, request::Parts};
use proptest::prelude::*;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, Denied, StaticToken, StreamReauthLayer,
    bearer::{AuthLayer, Authenticate, Bearer, Head, HeadMut, InvalidPlace, Place, TokenSyntax},
    limiter::{FailureLimiter, FailureLimits, Limited},
    respond::{Refusal, Respond},
    verify::{BearerToken, Verification, VerifyError, verify_fn},
};

use crate::support::{Reader, Seen, alice, event_stream, handler, script};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Every kind of place.
fn places() -> [Place; 5] {
    [
        Place::AUTHORIZATION,
        Place::header(API_KEY).unwrap(),
        Place::QUERY,
        Place::cookie("session").unwrap(),
        Place::subprotocol("bearer.").unwrap(),
    ]
}

fn everywhere(token: &str) -> BearerAuthLayer {
    BearerAuthLayer::new(StaticToken::new(token)).with_places(places())
}

/// A request for `/path` with this query and these headers.
fn request(query: &str, headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder().uri(format!("/path{query}"));
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

/// The same token in each kind of place.
fn presented(token: &str) -> [Request<()>; 5] {
    [
        request("", &[("authorization", &format!("Bearer {token}"))]),
        request("", &[("x-api-key", token)]),
        request(&format!("?access_token={token}"), &[]),
        request("", &[("cookie", &format!("session={token}"))]),
        request("", &[("sec-websocket-protocol", &format!("bearer.{token}"))]),
    ]
}

/// The status, and the head of the request as the handler sees it.
async fn through(layer: &BearerAuthLayer, request: Request<()>) -> (StatusCode, Option<Parts>, Response<()>) {
    let (sender, receiver) = mpsc::channel();
    let service = layer.layer(service_fn(move |request: Request<()>| {
        sender.send(request.into_parts().0).unwrap();
        async { Ok::<_, Infallible>(Response::new(())) }
    }));
    let Ok(response) = service.oneshot(request).await;
    (response.status(), receiver.try_recv().ok(), response)
}

async fn status(layer: &BearerAuthLayer, request: Request<()>) -> StatusCode {
    through(layer, request).await.0
}

async fn seen(layer: &BearerAuthLayer, request: Request<()>) -> Parts {
    through(layer, request).await.1.expect("it was let in")
}

#[tokio::test]
async fn a_token_is_taken_from_each_place_that_was_named_and_from_no_other() {
    for (at, place) in places().into_iter().enumerate() {
        let layer = BearerAuthLayer::new(StaticToken::new("t0ken")).with_places([place]);
        for (stands, request) in presented("t0ken").into_iter().enumerate() {
            let expected = if at == stands { 200 } else { 401 };
            assert_eq!(status(&layer, request).await, expected, "{at} {stands}");
        }
    }
}

#[tokio::test]
async fn by_default_a_token_stands_in_the_authorization_header_alone() {
    let layer = BearerAuthLayer::new(StaticToken::new("t0ken"));
    for (stands, request) in presented("t0ken").into_iter().enumerate() {
        assert_eq!(status(&layer, request).await, if stands == 0 { 200 } else { 401 }, "{stands}");
    }
}

#[tokio::test]
async fn two_tokens_are_malformed_in_whichever_places_they_stand() {
    let parts: [(&str, &[(&str, &str)]); 10] = [
        ("", &[("authorization", "Bearer t0ken")]),
        ("", &[("authorization", "Bearer t0ken")]),
        ("", &[("x-api-key", "t0ken")]),
        ("", &[("x-api-key", "t0ken")]),
        ("access_token=t0ken", &[]),
        ("access%5ftoken=t0ken", &[]),
        ("", &[("cookie", "session=t0ken")]),
        ("", &[("cookie", "a=b; session=t0ken")]),
        ("", &[("sec-websocket-protocol", "bearer.t0ken")]),
        ("", &[("sec-websocket-protocol", "chat, bearer.t0ken")]),
    ];
    for (one, (query, headers)) in parts.iter().enumerate() {
        for (other, (more_query, more_headers)) in parts.iter().enumerate() {
            if one != other {
                let headers = [*headers, *more_headers].concat();
                let request = request(&format!("?{query}&{more_query}"), &headers);
                assert_eq!(status(&everywhere("t0ken"), request).await, 400, "{one} {other}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_malformed_in_one_place_is_not_made_good_by_another() {
    let malformed: [(&str, (&str, &str)); 8] = [
        ("", ("authorization", "Bearer")),
        ("", ("x-api-key", "t0 ken")),
        ("", ("x-api-key", " ")),
        ("?access_token", ("accept", "*/*")),
        ("?access_token=", ("accept", "*/*")),
        ("?access_token=t0%zzken", ("accept", "*/*")),
        ("", ("cookie", "session=t0,ken")),
        ("", ("sec-websocket-protocol", "bearer.")),
    ];
    for (query, header) in malformed {
        assert_eq!(status(&everywhere("t0ken"), request(query, &[header])).await, 400, "{query} {header:?}");
        let good = if header.0 == "authorization" { ("x-api-key", "t0ken") } else { ("authorization", "Bearer t0ken") };
        assert_eq!(status(&everywhere("t0ken"), request(query, &[header, good])).await, 400, "{query} {header:?}");
    }
}

#[tokio::test]
async fn an_authorization_of_another_scheme_and_an_empty_cookie_are_no_token() {
    for header in [("authorization", "Basic dXNlcjpwYXNz"), ("cookie", "session="), ("cookie", "session=\"\"; a=b")] {
        assert_eq!(status(&everywhere("t0ken"), request("", &[header])).await, 401, "{header:?}");
        let and_a_token = request("?access_token=t0ken", &[header]);
        assert_eq!(status(&everywhere("t0ken"), and_a_token).await, 200, "{header:?}");
    }
}

#[tokio::test]
async fn a_place_that_is_named_twice_is_one_and_the_order_changes_nothing() {
    let mut twice = Vec::from(places());
    twice.reverse();
    twice.extend(places());
    let layer = BearerAuthLayer::new(StaticToken::new("t0ken")).with_places(twice);
    for request in presented("t0ken") {
        assert_eq!(status(&layer, request).await, 200);
    }
    let nowhere = BearerAuthLayer::new(StaticToken::new("t0ken")).with_places([]);
    for request in presented("t0ken") {
        assert_eq!(status(&nowhere, request).await, 401);
    }
}

#[tokio::test]
async fn a_refusal_carries_the_challenge_wherever_the_token_stood() {
    for request in presented("wrong") {
        let (status, _, response) = through(&everywhere("t0ken"), request).await;
        assert_eq!(status, 401);
        assert_eq!(response.headers()["www-authenticate"], r#"Bearer error="invalid_token""#);
    }
}

#[tokio::test]
async fn the_token_of_the_query_is_not_in_the_target_that_a_handler_sees() {
    for (query, left) in [
        ("?access_token=t0ken", "/path"),
        ("?access_token=t0ken&a=1", "/path?a=1"),
        ("?a=1&access_token=t0ken&b=%20&c", "/path?a=1&b=%20&c"),
        ("?a=1&%61ccess_token=t0ken", "/path?a=1"),
        ("?access_token=t0%6ben&access_tokens=x&Access_Token=y", "/path?access_tokens=x&Access_Token=y"),
        ("?&access_token=t0ken&", "/path?&"),
    ] {
        let mut asked = request(query, &[]);
        asked.extensions_mut().insert(OriginalUri(format!("http://host:80/outer/path{query}").parse().unwrap()));
        let seen = seen(&everywhere("t0ken"), asked).await;
        assert_eq!(seen.uri, left, "{query}");
        let original = &seen.extensions.get::<OriginalUri>().unwrap().0;
        assert_eq!(*original, *format!("http://host:80/outer{left}"), "{query}");
    }
    // What is not read is not touched.
    let by_header = BearerAuthLayer::new(StaticToken::new("t0ken"));
    let asked = request("?access_token=another", &[("authorization", "Bearer t0ken")]);
    assert_eq!(seen(&by_header, asked).await.uri, "/path?access_token=another");
}

#[tokio::test]
async fn a_refusal_does_not_see_the_token_either() {
    #[derive(Clone)]
    struct Tell(mpsc::Sender<String>);
    impl Respond<String> for Tell {
        fn respond(&self, refusal: &Refusal<'_>) -> Response<String> {
            self.0.send(format!("{} {:?}", refusal.uri(), refusal.headers())).unwrap();
            Response::default()
        }
    }
    let (sender, receiver) = mpsc::channel();
    let layer = everywhere("t0ken").with_response(Tell(sender));
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
    for secret in presented("s3cret").into_iter().chain([request("?access_token=s3cret&access_token=s3cret", &[])]) {
        let Ok(_) = service.clone().oneshot(secret).await;
        let seen = receiver.recv().unwrap();
        assert!(!seen.contains("s3cret"), "{seen}");
    }
}

#[tokio::test]
async fn the_subprotocols_that_are_left_are_for_the_handler_to_choose_from() {
    for (offered, left) in [
        ("bearer.t0ken", None),
        ("chat, bearer.t0ken", Some("chat")),
        ("bearer.t0ken,chat ,, superchat", Some("chat, superchat")),
    ] {
        let seen = seen(&everywhere("t0ken"), request("", &[("sec-websocket-protocol", offered)])).await;
        let protocols = seen.headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap());
        assert_eq!(protocols, left, "{offered}");
    }
    let two = [("sec-websocket-protocol", "chat"), ("sec-websocket-protocol", "bearer.t0ken")];
    let seen = seen(&everywhere("t0ken"), request("", &two)).await;
    assert_eq!(seen.headers.get_all("sec-websocket-protocol").iter().collect::<Vec<_>>(), ["chat"]);
}

#[tokio::test]
async fn a_header_that_holds_a_token_is_sensitive() {
    for (name, value) in [("x-api-key", "t0ken"), ("cookie", "a=b; session=t0ken"), ("authorization", "Bearer t0ken")] {
        let seen = seen(&everywhere("t0ken"), request("", &[(name, value)])).await;
        assert!(seen.headers[name].is_sensitive(), "{name}");
    }
}

#[tokio::test]
async fn a_door_further_in_finds_the_token_too() {
    for request in presented("t0ken") {
        let service = ServiceBuilder::new()
            .layer(everywhere("t0ken"))
            .layer(everywhere("t0ken"))
            .service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
        assert_eq!(service.oneshot(request).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_response_to_a_token_elsewhere_than_in_the_authorization_header_is_private() {
    for (stands, request) in presented("t0ken").into_iter().enumerate() {
        let (_, _, response) = through(&everywhere("t0ken"), request).await;
        let says = response.headers().get("cache-control").map(|value| value.to_str().unwrap());
        assert_eq!(says, (stands > 0).then_some("private"), "{stands}");
    }
    for (own, expected) in [
        ("no-cache", vec!["no-cache", "private"]),
        ("public, max-age=60", vec!["public, max-age=60", "private"]),
        ("max-age=60, Private", vec!["max-age=60, Private"]),
        ("no-store", vec!["no-store"]),
    ] {
        let inner = handler(Response::builder().header("cache-control", own).body(()).unwrap());
        let Ok(response) = everywhere("t0ken").layer(inner).oneshot(request("?access_token=t0ken", &[])).await;
        assert_eq!(response.headers().get_all("cache-control").iter().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn what_a_url_or_a_subprotocol_cannot_hold_is_percent_encoded() {
    for (token, encoded) in [("a/b+c==", "a%2Fb%2Bc%3D%3D"), ("a/b+c==", "a%2fb+c=="), ("a~b", "%61%7e%62")] {
        let layer = everywhere(token);
        assert_eq!(status(&layer, request(&format!("?access_token={encoded}"), &[])).await, 200, "{encoded}");
        let protocol = format!("bearer.{encoded}");
        assert_eq!(status(&layer, request("", &[("sec-websocket-protocol", &protocol)])).await, 200, "{encoded}");
    }
    for broken in ["t0%ken", "t0ken%", "t0ken%2", "%t0ken", "t0ken%00", "t0ken%20", "t0ken%ff", "t0ken+%0a"] {
        let asked = request(&format!("?access_token={broken}"), &[]);
        assert_eq!(status(&everywhere("t0ken"), asked).await, 400, "{broken}");
    }
}

#[tokio::test]
async fn a_plus_in_the_query_is_a_space_only_where_tokens_are_arbitrary_text() {
    let opaque = everywhere("pass word").with_token_syntax(TokenSyntax::Opaque);
    for query in ["?access_token=pass+word", "?access_token=pass%20word"] {
        assert_eq!(status(&opaque, request(query, &[])).await, 200, "{query}");
        assert_eq!(status(&everywhere("pass+word"), request("?access_token=pass+word", &[])).await, 200);
    }
    // A header could not hold it, so neither does a token.
    assert_eq!(status(&opaque, request("?access_token=pass%0aword", &[])).await, 400);
}

#[tokio::test]
async fn a_token_is_bounded_wherever_it_stands() {
    const LIMIT: usize = BearerToken::MAX_LEN;
    for (length, expected) in [(LIMIT, 200), (LIMIT + 1, 400)] {
        let token = "x".repeat(length);
        for request in presented(&token) {
            assert_eq!(status(&everywhere(&token), request).await, expected, "{length}");
        }
        let escaped = format!("bearer.{}", "%78".repeat(length));
        let request = request("", &[("sec-websocket-protocol", &escaped)]);
        assert_eq!(status(&everywhere(&token), request).await, expected, "{length}");
    }
}

#[tokio::test]
async fn a_stream_that_came_in_by_any_place_is_asked_about_again() {
    for (stands, request) in presented("t0ken").into_iter().enumerate() {
        let secret = StaticToken::new("t0ken");
        let (feed, body) = script();
        let service = BearerAuthLayer::new(secret.clone())
            .with_places(places())
            .layer(StreamReauthLayer::new().layer(handler(event_stream(body))));
        let Ok(response) = service.oneshot(request).await;
        let mut reader = Reader::of(response);
        feed.data("data: 1\n\n");
        assert_eq!(reader.next().await, Seen::data("data: 1\n\n"), "{stands}");
        secret.rotate("another");
        assert_eq!(reader.next().await, Seen::End, "{stands}");
    }
}

#[tokio::test]
async fn a_limiter_counts_a_token_of_any_place() {
    for (stands, wrong) in presented("wrong").into_iter().enumerate() {
        let bearer = Bearer::new(StaticToken::new("t0ken")).with_places(places());
        let limiter = FailureLimiter::new(FailureLimits::new().with_max_attempts(1));
        let limited = Limited::new(bearer, limiter, |_, _| None);
        let layer = AuthLayer::from_authenticator(limited);
        let service = layer.layer(service_fn(async |request: Request<()>| {
            assert_eq!(request.uri(), "/path");
            Ok::<_, Infallible>(Response::new(()))
        }));
        let [_, _, good, ..] = presented("t0ken");
        assert_eq!(service.clone().oneshot(good).await.unwrap().status(), 200, "{stands}");
        assert_eq!(service.clone().oneshot(wrong).await.unwrap().status(), 401, "{stands}");
        let [good, ..] = presented("t0ken");
        assert_eq!(service.oneshot(good).await.unwrap().status(), 429, "{stands}");
    }
}

#[test]
fn a_name_that_a_place_cannot_have_is_an_error() {
    for name in ["authorization", "cookie", "sec-websocket-protocol"] {
        assert_eq!(Place::header(name.parse().unwrap()), Err(InvalidPlace::Header));
    }
    for name in ["", "a b", "a=b", "a;b", "b\u{fc}rger", "a,b"] {
        assert_eq!(Place::cookie(name), Err(InvalidPlace::CookieName), "{name}");
        assert_eq!(Place::subprotocol(name), Err(InvalidPlace::SubprotocolPrefix), "{name}");
    }
}

/// Memory that says whether somebody still has it, as a connection's read buffer would be.
#[derive(Clone)]
struct Buffer(Arc<String>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[tokio::test]
async fn a_stream_holds_on_to_no_buffer_of_its_request_wherever_the_token_stood() {
    for (stands, mut request) in presented("t0ken").into_iter().enumerate() {
        let mut buffers = Vec::new();
        for value in request.headers_mut().values_mut() {
            let buffer = Buffer(Arc::new(value.to_str().unwrap().to_owned()));
            *value = HeaderValue::from_maybe_shared(Bytes::from_owner(buffer.clone())).unwrap();
            buffers.push(buffer);
        }
        let target = Buffer(Arc::new(request.uri().to_string()));
        *request.uri_mut() = Uri::from_maybe_shared(Bytes::from_owner(target.clone())).unwrap();
        buffers.push(target);

        let (feed, body) = script();
        let service = everywhere("t0ken").layer(StreamReauthLayer::new().layer(handler(event_stream(body))));
        let Ok(response) = service.oneshot(request).await;
        let mut reader = Reader::of(response);
        feed.data("data: 1\n\n");
        assert_eq!(reader.next().await, Seen::data("data: 1\n\n"), "{stands}");
        for Buffer(buffer) in buffers {
            assert_eq!(Arc::strong_count(&buffer), 1, "{stands}: {buffer}");
        }
    }
}

/// Takes everybody for alice, and panics where it is to hide what it read.
struct Careless;

impl Authenticate for Careless {
    type Credential = ();

    fn present(&self, _: Head<'_>) -> Result<(), Denied> {
        Ok(())
    }

    fn conceal(&self, _: &mut HeadMut<'_>) {
        panic!("it cannot be hidden");
    }

    fn verify(&self, (): &()) -> Verification {
        Ok(alice()).into()
    }
}

#[tokio::test]
async fn a_credential_that_cannot_be_hidden_lets_nobody_in() {
    let service = AuthLayer::from_authenticator(Careless)
        .layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 500);
    assert_eq!(response.extensions().get(), Some(&Denied::CheckPanicked));
}

/// Takes a credential from a header of its own, as an application would.
struct OfAForm;

impl Authenticate for OfAForm {
    type Credential = ();

    fn present(&self, head: Head<'_>) -> Result<(), Denied> {
        if head.headers().contains_key("x-form") { Ok(()) } else { Err(Denied::Missing) }
    }

    fn conceal(&self, head: &mut HeadMut<'_>) {
        head.headers_mut().remove("x-form");
        *head.uri_mut() = Uri::from_static("/hidden");
        assert!(head.extensions_mut().is_empty());
        assert!(!format!("{head:?}").contains("hidden"));
        head.make_response_private();
    }

    fn verify(&self, (): &()) -> Verification {
        Verification::pending(async {
            tokio::task::yield_now().await;
            Ok(alice())
        })
    }
}

#[tokio::test]
async fn an_authenticator_of_ones_own_hides_its_credential_also_while_a_verifier_is_waited_for() {
    let service = AuthLayer::from_authenticator(OfAForm).layer(service_fn(async |request: Request<()>| {
        assert_eq!((request.uri().path(), request.headers().len()), ("/hidden", 0));
        Ok::<_, Infallible>(Response::new(()))
    }));
    let response = service.oneshot(request("?secret", &[("x-form", "secret")])).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["cache-control"]), (200, &"private".parse().unwrap()));
}

/// What comes through the layer, for a verifier that says what it was asked about.
fn verified(request: Request<()>, syntax: TokenSyntax) -> (StatusCode, Option<Vec<u8>>, Option<Parts>) {
    let (sender, receiver) = mpsc::channel();
    let verifier = verify_fn(move |token: &BearerToken| {
        sender.send(token.as_bytes().to_vec()).unwrap();
        if token.as_bytes().len() > 1 { Ok(alice()) } else { Err(VerifyError::Rejected) }
    });
    let layer = BearerAuthLayer::new(verifier).with_token_syntax(syntax).with_places(places());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (status, seen, _) = runtime.block_on(through(&layer, request));
    (status, receiver.try_recv().ok(), seen)
}

proptest! {
    #[test]
    fn whatever_a_request_holds_is_one_token_none_or_malformed_and_none_is_left_in_sight(
        query in "([a&=%+_25ft]|access_token=?|%5f|access%5Ftoken=){0,8}",
        cookie in "([a;=\" ]|session=?){0,8}",
        protocols in "([a,. %2f]|bearer\\.){0,8}",
        opaque in any::<bool>(),
    ) {
        let syntax = if opaque { TokenSyntax::Opaque } else { TokenSyntax::B64Token };
        let asked = request(&format!("?{query}"), &[("cookie", &cookie), ("sec-websocket-protocol", &protocols)]);
        let (status, token, seen) = verified(asked, syntax);
        prop_assert!([200, 400, 401].contains(&status.as_u16()));
        // A token that is read is asked about, and nothing else is.
        prop_assert_eq!(token.is_some(), seen.is_some() || token.as_ref().is_some_and(|token| token.len() == 1));
        if let Some(seen) = seen {
            let query = seen.uri.query().unwrap_or_default();
            prop_assert!(!form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "access_token"), "{}", query);
            let left = seen.headers.get("sec-websocket-protocol").map(|value| value.to_str().unwrap().to_owned());
            prop_assert!(!left.unwrap_or_default().split(',').any(|left| left.trim().starts_with("bearer.")));
        }
    }

    #[test]
    fn every_token_comes_through_every_place(token in "[A-Za-z0-9._~+/-]{2,40}={0,2}") {
        let encoded: String = token.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let [header, key, _, cookie, _] = presented(&token);
        let [_, _, query, _, protocol] = presented(&encoded);
        for request in [header, key, query, cookie, protocol] {
            let (status, verified, _) = verified(request, TokenSyntax::B64Token);
            prop_assert_eq!((status.as_u16(), verified.as_deref()), (200, Some(token.as_bytes())));
        }
    }
}
