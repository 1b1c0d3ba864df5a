//! What a refusal looks like: status, challenge and `Retry-After` (RFC 6750 section 3, RFC 9110
//! sections 10.2.3 and 11.6.1, RFC 9728 section 5.1).

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, Denied, RequireScopeLayer, Scope, ScopeResolverLayer, ScopeSet, StreamReauth,
    StreamReauthLayer, Strict,
    bearer::Challenge,
    respond::{GrpcOr, Refusal, Respond},
    scope::Requirement,
    verify::VerifyError,
};

use crate::support::{
    ADMIN, Answer, Oracle, READ, Script, WRITE, access, alice, handler, header, request, request_with, script,
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
        Some(r#"Bearer error="insufficient_scope", scope="history:read history:write""#),
        "WRITE is needed in any case, and as good as ADMIN"
    );
}

/// The `scope` of the challenge to a caller who has no scope.
async fn asked_for(requirement: Requirement) -> Option<String> {
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::without_revision()))
        .layer(RequireScopeLayer::new(requirement))
        .service(handler(Response::new(())));
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(response.status(), 403);
    let challenge = header(&response, "www-authenticate").expect("a challenge");
    Some(challenge.split_once("scope=\"")?.1.trim_end_matches('"').to_owned())
}

#[tokio::test]
async fn of_alternatives_a_403_names_the_one_that_was_written_first() {
    let nothing = ScopeSet::empty;
    let any = |scopes: &[Scope]| Requirement::any_of(scopes.iter().cloned());
    for (requirement, scope) in [
        (any(&[READ, ADMIN]), Some("history:read")),
        (any(&[ADMIN, READ]), Some("admin")),
        (any(&[WRITE, READ, ADMIN, READ]), Some("history:write")),
        (any(&[READ, ADMIN]).and(any(&[WRITE, ADMIN])), Some("history:read history:write")),
        (any(&[READ, ADMIN]).and(any(&[ADMIN, READ])), Some("history:read")),
        (any(&[READ, ADMIN]).and(ADMIN.into()), Some("admin")),
        (Requirement::from(ADMIN).and(any(&[READ, ADMIN])), Some("admin")),
        (any(&[READ, ADMIN]).and(any(&[WRITE, READ])), Some("history:read")),
        (Requirement::any_of(ScopeSet::from([READ, ADMIN])), Some("admin")),
        (any(&[READ]).and(Requirement::any_of(nothing())), None),
    ] {
        assert_eq!(asked_for(requirement.clone()).await.as_deref(), scope, "{requirement:?}");
    }
}

#[tokio::test]
async fn a_401_names_scopes_where_it_is_told_to_and_a_403_its_own() {
    for (request, answer, status, parameters) in refusals() {
        let challenge = full_challenge().with_scope([READ, ADMIN]).with_realm(REALM).expect("plain text");
        let response = refusal(challenge, answer.clone(), request).await;
        let expected = parameters.map(|parameters| {
            let own = format!(r#"Bearer realm="{REALM}", resource_metadata="{METADATA}""#);
            let own = if parameters.is_empty() { own } else { format!("{own}, {parameters}") };
            if status == 401 { format!(r#"{own}, scope="admin history:read""#) } else { own }
        });
        assert_eq!(header(&response, "www-authenticate").map(str::to_owned), expected, "{answer:?}");
    }
}

#[tokio::test]
async fn the_metadata_may_depend_on_the_host_of_the_request() {
    let challenge = || {
        full_challenge().with_resource_metadata_from(|uri, headers| {
            match uri.host().or_else(|| headers.get("host")?.to_str().ok())? {
                "breaks" => panic!("a bug in the server"),
                "unwritable" => Some("https://caf\u{e9}/".to_owned()),
                "unknown" => None,
                host => Some(format!("https://{host}/.well-known/oauth-protected-resource{}", uri.path())),
            }
        })
    };
    for (mut request, answer, _, parameters) in refusals() {
        *request.uri_mut() = "https://mcp.example/tools".parse().expect("a URI");
        let response = refusal(challenge(), answer, request).await;
        let url = "https://mcp.example/.well-known/oauth-protected-resource/tools";
        let expected = parameters.map(|parameters| {
            let more = if parameters.is_empty() { String::new() } else { format!(", {parameters}") };
            format!(r#"Bearer realm="{REALM}", resource_metadata="{url}"{more}"#)
        });
        assert_eq!(header(&response, "www-authenticate").map(str::to_owned), expected);
    }
    for host in ["breaks", "unwritable", "unknown"] {
        let mut request = Request::new(());
        request.headers_mut().insert("host", HeaderValue::from_static(host));
        let response = refusal(challenge(), Ok(alice()), request).await;
        let expected = format!(r#"Bearer realm="{REALM}", resource_metadata="{METADATA}""#);
        assert_eq!(header(&response, "www-authenticate"), Some(expected.as_str()), "{host}");
    }
}

#[tokio::test]
async fn a_challenge_names_the_scheme_that_is_accepted() {
    let challenge = full_challenge().with_scheme("DPoP").expect("a token");
    for (request, answer, _, parameters) in refusals() {
        let response = refusal(challenge.clone(), answer, request).await;
        let scheme = header(&response, "www-authenticate").map(|challenge| challenge.split(' ').next());
        assert_eq!(scheme, parameters.map(|_| Some("DPoP")));
    }
    for text in ["", "a b", "Bearer,", "caf\u{e9}", "a\nb", "\""] {
        assert!(Challenge::new().with_scheme(text).is_err(), "{text:?}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_handlers_own_leaves_with_the_challenge_of_the_door() {
    let answer = |access: &Access| {
        let denied = access.require(ADMIN).expect_err("nobody is admin");
        let mut response = Response::new(());
        *response.status_mut() = denied.status();
        response.extensions_mut().insert(denied);
        response
    };
    let marked = |access: &Access| {
        let mut response = answer(access);
        response.headers_mut().insert("www-authenticate", HeaderValue::from_static("Custom"));
        response
    };
    let plain = |_: &Access| {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    };
    let own =
        format!(r#"Bearer realm="{REALM}", resource_metadata="{METADATA}", error="insufficient_scope", scope="admin""#);
    let cases: [(&dyn Fn(&Access) -> Response<()>, Option<&str>); 3] =
        [(&answer, Some(&own)), (&marked, Some("Custom")), (&plain, None)];
    for waits in [false, true] {
        for (answer, expected) in cases {
            let oracle = Oracle::without_revision();
            if waits {
                oracle.says_after(Duration::ZERO, Ok(alice()));
            }
            let service = ServiceBuilder::new()
                // Of two doors the inner one has the word.
                .layer(BearerAuthLayer::new(Oracle::without_revision()))
                .layer(BearerAuthLayer::new(oracle).with_challenge(full_challenge()))
                .service_fn(async |request: Request<()>| Ok::<_, Infallible>(answer(access(&request))));
            let Ok(response) = service.oneshot(request()).await;
            assert_eq!(response.status(), 403);
            assert_eq!(header(&response, "www-authenticate"), expected, "waits: {waits}");
        }
    }
}

#[tokio::test]
async fn a_layer_further_out_sees_in_the_extensions_why_a_request_was_refused() {
    for (request, answer, status, _) in refusals() {
        let response = refusal(Challenge::new(), answer, request).await;
        let denied: &Denied = response.extensions().get().expect("a reason");
        assert_eq!(denied.status(), status);
    }
    let Ok(response) = RequireScopeLayer::new(READ).layer(handler(Response::new(()))).oneshot(request()).await;
    assert_eq!(response.extensions().get(), Some(&Denied::no_access("RequireScopeLayer")));
    let Ok(response) = StreamReauthLayer::new().layer(handler(Response::new(script().1))).oneshot(request()).await;
    assert_eq!(response.extensions().get(), Some(&Denied::no_access("StreamReauthLayer")));
}

#[tokio::test]
async fn a_refusal_with_content_stands_in_one_stack_with_a_layer_that_changes_the_body() {
    let json = |denied: &Denied| {
        let mut response = Response::new(Full::new(Bytes::from(denied.as_str())));
        *response.status_mut() = denied.status();
        response
    };
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::without_revision()).with_response(json))
        .layer(RequireScopeLayer::new(READ).with_response(json))
        .layer(StreamReauthLayer::new())
        .service(handler(Response::new(Full::new(Bytes::new()))));
    for (request, word) in [(Request::new(()), "missing"), (request(), "insufficient_scope")] {
        let Ok(response) = service.clone().oneshot(request).await;
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(word.len() as u64));
        let body = response.into_body().collect().await.expect("a whole body").to_bytes();
        assert_eq!(body, word);
    }
}

#[tokio::test]
async fn a_wait_without_an_end_is_one_that_every_client_can_count_to() {
    for error in [VerifyError::locked_out_for(Duration::MAX), VerifyError::unavailable_for(Duration::MAX)] {
        let response = refusal(Challenge::new(), Err(error), request()).await;
        assert_eq!(header(&response, "retry-after"), Some("2147483647"));
    }
    let almost = VerifyError::locked_out_for(Duration::from_nanos(1));
    assert_eq!(header(&refusal(Challenge::new(), Err(almost), request()).await, "retry-after"), Some("1"));
}

#[tokio::test]
async fn a_grpc_call_is_refused_by_a_status_of_grpc_without_anyone_asking_for_it() {
    for (content_type, answered) in [
        ("application/grpc", Some("application/grpc")),
        ("application/grpc+proto", Some("application/grpc")),
        ("Application/gRPC; charset=utf-8", Some("application/grpc")),
        ("application/grpc-web", Some("application/grpc-web")),
        ("application/grpc-web+json", Some("application/grpc-web")),
        ("application/grpc-web-text+proto", Some("application/grpc-web-text")),
        ("application/grpcish", None),
        ("application/json", None),
    ] {
        for (mut request, answer, status, _) in refusals() {
            request.headers_mut().insert("content-type", HeaderValue::from_static(content_type));
            let response = refusal(Challenge::new(), answer, request).await;
            let denied: &Denied = response.extensions().get().expect("a reason");
            let code = denied.grpc_status().to_string();
            let is_web = answered.is_some_and(|answered| answered.contains("web"));
            assert!(http_body::Body::is_end_stream(response.body()), "trailers only");
            assert_eq!(response.status(), if answered.is_some() { 200 } else { status }, "{content_type}");
            assert_eq!(header(&response, "content-type"), answered);
            assert_eq!(header(&response, "grpc-status"), answered.map(|_| code.as_str()));
            assert_eq!(header(&response, "grpc-message"), answered.map(|_| denied.as_str()));
            let exposed = header(&response, "access-control-expose-headers");
            assert_eq!(exposed, is_web.then_some("grpc-status, grpc-message"), "{content_type}");
        }
    }
}

#[tokio::test]
async fn a_closure_answers_what_is_no_grpc_call_where_both_are_served() {
    let text = |denied: &Denied| Response::new(denied.as_str().to_owned());
    let layer = BearerAuthLayer::new(Oracle::without_revision()).with_response(GrpcOr(text));
    let service = layer.layer(handler(Response::new(String::new())));
    let Ok(response) = service.clone().oneshot(Request::new(())).await;
    assert_eq!((header(&response, "grpc-status"), response.body().as_str()), (None, "missing"));

    let mut call = Request::new(());
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let Ok(response) = service.oneshot(call).await;
    assert_eq!((header(&response, "grpc-status"), response.body().as_str()), (Some("16"), ""));
}

#[test]
fn each_reason_has_its_code_in_grpc() {
    for (denied, code) in [
        (Denied::Missing, 16),
        (Denied::Malformed, 16),
        (Denied::Rejected, 16),
        (Denied::Expired, 16),
        (VerifyError::locked_out_for(Duration::ZERO).into(), 14),
        (VerifyError::unavailable().into(), 14),
        (Denied::no_access("a layer"), 13),
        (Denied::NoPeer, 13),
    ] {
        assert_eq!(denied.grpc_status(), code, "{denied:?}");
    }
    let lacking = Access::new(alice()).require(READ).expect_err("it was not granted");
    assert_eq!(lacking.grpc_status(), 7);
}

#[tokio::test]
async fn a_responder_of_ones_own_is_told_of_the_request_and_of_the_caller() {
    #[derive(Clone)]
    struct Told;
    impl Respond<String> for Told {
        fn respond(&self, refusal: &Refusal<'_>) -> Response<String> {
            let subject = refusal.identity().map(|identity| identity.subject());
            Response::new(format!("{} {} {subject:?} {}", refusal.method(), refusal.uri(), refusal.denied().as_str()))
        }
    }
    let oracle = Oracle::without_revision();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()).with_response(Told))
        .layer(RequireScopeLayer::new(READ).with_response(Told))
        .service(handler(Response::new(String::new())));
    let said = |request| {
        let service = service.clone();
        async move { service.oneshot(request).await.expect("infallible").into_body() }
    };
    assert_eq!(said(Request::new(())).await, "GET / None missing");
    assert_eq!(said(request()).await, r#"GET / Some("alice") insufficient_scope"#);
    oracle.says(Ok(alice().with_expires_at(std::time::UNIX_EPOCH)));
    assert_eq!(said(request()).await, r#"GET / Some("alice") expired"#);
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

#[test]
fn a_refusal_says_in_words_what_would_be_enough() {
    let denied = |required: Requirement| Access::new(alice()).require(required).expect_err("nothing was granted");
    assert_eq!(denied(Requirement::any_of([READ, ADMIN])).to_string(), "the scopes that are needed: history:read");
    assert_eq!(denied(Requirement::any_of([])).to_string(), "no scope is enough");
}
