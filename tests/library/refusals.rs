//! What a refusal looks like: status, challenge and `Retry-After` (RFC 6750 section 3, RFC 9110
//! sections 10.2.3 and 11.6.1, RFC 9728 section 5.1).

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    BearerAuthLayer, Denied, RequireScopeLayer, Scope, ScopeResolverLayer, ScopeSet, StreamReauth, StreamReauthLayer,
    Strict, bearer::Challenge, scope::Requirement, verify::VerifyError,
};

use crate::support::{
    ADMIN, Answer, Oracle, READ, Script, WRITE, alice, handler, header, request, request_with, script,
};

const REALM: &str = "the history";
const METADATA: &str = "https://history.example/.well-known/oauth-protected-resource";

/// How a request for READ and WRITE is refused, by a verifier that gives this answer.
async fn refusal(challenge: Challenge, answer: Answer, request: Request<()>) -> Response<StreamReauth<Script>> {
    let oracle = Oracle::without_revision();
    oracle.says(answer);
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle).with_challenge(challenge))
        .layer(RequireScopeLayer::new(ScopeSet::from([WRITE, READ])))
        .layer(StreamReauthLayer::new())
        .service(handler(Response::new(script().1)));
    let Ok(response) = service.oneshot(request).await;
    response
}

fn full_challenge() -> Challenge {
    Challenge::new().with_realm(REALM).and_then(|c| c.with_resource_metadata(METADATA)).expect("plain text")
}

/// Every refusal: the request, the answer, the status, and the parameters of the challenge, if there
/// is one, besides realm and metadata.
fn refusals() -> Vec<(Request<()>, Answer, u16, Option<&'static str>)> {
    let token = || Ok(alice());
    vec![
        (Request::new(()), token(), 401, Some("")),
        (request_with("Basic dXNlcjpwYXNz"), token(), 401, Some("")),
        (request_with("Bearer a b"), token(), 400, Some(r#"error="invalid_request""#)),
        (request(), Err(VerifyError::Rejected), 401, Some(r#"error="invalid_token""#)),
        (request(), Err(VerifyError::Revoked), 401, Some(r#"error="invalid_token""#)),
        (request(), Err(VerifyError::Expired), 401, Some(r#"error="invalid_token", error_description="expired""#)),
        (
            request(),
            Ok(alice().with_scopes(READ)),
            403,
            Some(r#"error="insufficient_scope", scope="history:read history:write""#),
        ),
        (request(), Err(VerifyError::locked_out_for(Duration::from_secs(300))), 429, None),
        (request(), Err(VerifyError::unavailable()), 503, None),
    ]
}

#[tokio::test]
async fn every_reason_has_its_status_and_its_challenge() {
    for (request, answer, status, parameters) in refusals() {
        let response = refusal(Challenge::new(), answer.clone(), request).await;
        assert_eq!(response.status(), status, "{answer:?}");
        let expected = parameters.map(|parameters| format!("Bearer {parameters}").trim_end().to_owned());
        assert_eq!(header(&response, "www-authenticate").map(str::to_owned), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn realm_and_resource_metadata_lead_every_challenge() {
    for (request, answer, _, parameters) in refusals() {
        let response = refusal(full_challenge(), answer.clone(), request).await;
        let expected = parameters.map(|parameters| {
            let own = format!(r#"Bearer realm="{REALM}", resource_metadata="{METADATA}""#);
            if parameters.is_empty() { own } else { format!("{own}, {parameters}") }
        });
        assert_eq!(header(&response, "www-authenticate").map(str::to_owned), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn a_request_that_presents_no_credential_is_told_no_error() {
    let response = refusal(Challenge::new(), Ok(alice()), Request::new(())).await;
    assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
}

#[tokio::test]
async fn one_who_is_not_authenticated_never_learns_which_scope_is_needed() {
    for (request, answer, status, _) in refusals() {
        let response = refusal(full_challenge(), answer, request).await;
        let learns = header(&response, "www-authenticate").is_some_and(|challenge| challenge.contains("history:"));
        assert_eq!(learns, status == 403, "{status}");
    }
}

#[tokio::test]
async fn a_verifier_that_cannot_answer_is_a_503_with_retry_after() {
    let cases = [
        (VerifyError::unavailable(), "1"),
        (VerifyError::unavailable_for(Duration::from_millis(2_001)), "3"),
        (VerifyError::unavailable_for(Duration::from_secs(2)), "2"),
        (VerifyError::unavailable_for(Duration::ZERO), "0"),
    ];
    for (error, seconds) in cases {
        let response = refusal(Challenge::new(), Err(error), request()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(header(&response, "retry-after"), Some(seconds));
    }
}

#[tokio::test]
async fn one_who_is_locked_out_is_told_for_how_long_rounded_up() {
    let locked_out = VerifyError::locked_out_for(Duration::from_millis(299_001));
    let response = refusal(Challenge::new(), Err(locked_out), request()).await;
    assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(header(&response, "retry-after"), Some("300"));
}

#[tokio::test]
async fn only_429_and_503_say_when_to_come_back() {
    for (request, answer, status, _) in refusals() {
        let response = refusal(Challenge::new(), answer, request).await;
        assert_eq!(header(&response, "retry-after").is_some(), matches!(status, 429 | 503), "{status}");
    }
}

#[tokio::test]
async fn a_refusal_has_an_empty_body() {
    for (request, answer, status, _) in refusals() {
        let response = refusal(Challenge::new(), answer, request).await;
        assert!(http_body::Body::is_end_stream(response.body()), "{status}");
    }
}

#[tokio::test]
async fn a_quoted_value_escapes_quotes_and_backslashes() {
    let challenge = Challenge::new().with_realm(r#"a "b" \c"#).expect("visible ASCII");
    let response = refusal(challenge, Ok(alice()), Request::new(())).await;
    assert_eq!(header(&response, "www-authenticate"), Some(r#"Bearer realm="a \"b\" \\c""#));
}

#[test]
fn a_realm_is_visible_ascii() {
    for text in ["caf\u{e9}", "a\nb", "a\rb", "a\tb", "\0", "\u{7f}"] {
        assert!(Challenge::new().with_realm(text).is_err(), "{text:?}");
        assert!(Challenge::new().with_resource_metadata(text).is_err(), "{text:?}");
    }
    assert!(Challenge::new().with_realm("").is_ok());
}

#[tokio::test]
async fn a_parameter_that_is_set_again_is_replaced() {
    // RFC 9110 section 11.2: each parameter's name occurs once in a challenge.
    let challenge = full_challenge().with_realm("another").expect("plain text");
    let response = refusal(challenge, Ok(alice()), Request::new(())).await;
    let expected = format!(r#"Bearer realm="another", resource_metadata="{METADATA}""#);
    assert_eq!(header(&response, "www-authenticate"), Some(expected.as_str()));
}

#[tokio::test]
async fn a_closure_answers_in_a_format_of_its_own_and_the_headers_are_added() {
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::without_revision()).with_response(|denied: &Denied| {
            let mut response = Response::new(format!(r#"{{"error":"{}"}}"#, denied.as_str()));
            *response.status_mut() = denied.status();
            response
        }))
        .service(handler(Response::new(String::new())));
    let Ok(response) = service.oneshot(Request::new(())).await;
    assert_eq!(response.status(), 401);
    assert_eq!(header(&response, "www-authenticate"), Some("Bearer"));
    assert_eq!(response.body(), r#"{"error":"missing"}"#);
}

#[tokio::test]
async fn a_challenge_and_a_wait_of_the_closures_own_are_left_alone() {
    let respond = |_: &Denied| {
        let mut response = Response::new(());
        *response.headers_mut() = HeaderMap::from_iter([
            (http::header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic")),
            (http::header::RETRY_AFTER, HeaderValue::from_static("7")),
        ]);
        response
    };
    for answer in [VerifyError::Rejected, VerifyError::unavailable()] {
        let oracle = Oracle::without_revision();
        oracle.says(Err(answer));
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(oracle).with_response(respond))
            .service(handler(Response::new(())));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(header(&response, "www-authenticate"), Some("Basic"));
        assert_eq!(header(&response, "retry-after"), Some("7"));
    }
}

#[tokio::test]
async fn a_403_names_every_scope_that_is_needed_in_one_order() {
    let needed = Requirement::any_of([WRITE, ADMIN]).and(READ.into()).and(WRITE.into());
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::without_revision()))
        .layer(ScopeResolverLayer::new(Strict::new(READ)))
        .layer(RequireScopeLayer::new(needed))
        .service(handler(Response::new(())));
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(response.status(), 403);
    assert_eq!(
        header(&response, "www-authenticate"),
        Some(r#"Bearer error="insufficient_scope", scope="admin history:read history:write""#)
    );
}

#[tokio::test]
async fn a_door_that_stays_shut_names_no_scope() {
    // RFC 6749 section 3.3: a `scope` has at least one scope-token.
    let nobody = Requirement::any_of(ScopeSet::empty());
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::without_revision()))
        .layer(RequireScopeLayer::new(nobody))
        .service(handler(Response::new(())));
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(header(&response, "www-authenticate"), Some(r#"Bearer error="insufficient_scope""#));
}

#[test]
fn a_scope_is_a_scope_token() {
    for scope in ["a", "!", "#$%", "[]", "^_`~", "https://example.org/scope"] {
        assert_eq!(scope.parse::<Scope>().map(|scope| scope.to_string()), Ok(scope.to_owned()));
    }
    for not_a_scope in ["", " ", "a b", "a\"b", "a\\b", "a\tb", "\u{7f}", "caf\u{e9}"] {
        assert!(not_a_scope.parse::<Scope>().is_err(), "{not_a_scope:?}");
    }
}
