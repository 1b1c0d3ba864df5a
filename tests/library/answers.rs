//! The ready answers to a refusal: problem details (RFC 9457), and the errors of OAuth (RFC 6749 section 5.2).

use std::{convert::Infallible, time::Duration};

use http::{Request, Response};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, Denied, RequireScopeLayer, ScopeSet,
    bearer::Challenge,
    respond::{OAuthJson, ProblemJson, Refusal, Respond},
    verify::VerifyError,
};

use crate::support::{Answer, Oracle, READ, WRITE, alice, header, request, request_with};

/// What READ and WRITE get whose verifier gives this answer.
async fn refused<R>(answer: Answer, request: Request<()>, respond: R) -> Response<String>
where
    R: Respond<String> + Clone,
{
    let oracle = Oracle::without_revision();
    oracle.says(answer);
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle).with_response(respond.clone()))
        .layer(RequireScopeLayer::new(ScopeSet::from([WRITE, READ])).with_response(respond))
        .service_fn(async |_| Ok::<_, Infallible>(Response::new(String::new())));
    let Ok(response) = service.oneshot(request).await;
    response
}

fn json_of(response: &Response<String>) -> Value {
    serde_json::from_str(response.body()).unwrap_or_else(|error| panic!("{error}: {}", response.body()))
}

/// A request, its answer, and then: the status with its phrase, the word and the code of OAuth.
fn cases() -> [(Request<()>, Answer, u16, &'static str, &'static str, &'static str); 7] {
    [
        (Request::new(()), Ok(alice()), 401, "Unauthorized", "missing", "invalid_token"),
        (request_with("Bearer a b"), Ok(alice()), 400, "Bad Request", "malformed", "invalid_request"),
        (request(), Err(VerifyError::Rejected), 401, "Unauthorized", "rejected", "invalid_token"),
        (request(), Err(VerifyError::Expired), 401, "Unauthorized", "expired", "invalid_token"),
        (request(), Ok(alice().with_scopes(READ)), 403, "Forbidden", "insufficient_scope", "insufficient_scope"),
        (
            request(),
            Err(VerifyError::locked_out_for(Duration::from_secs(9))),
            429,
            "Too Many Requests",
            "locked_out",
            "temporarily_unavailable",
        ),
        (
            request(),
            Err(VerifyError::unavailable()),
            503,
            "Service Unavailable",
            "unavailable",
            "temporarily_unavailable",
        ),
    ]
}

#[tokio::test]
async fn problem_details_say_status_and_reason() {
    for (request, answer, status, title, reason, _) in cases() {
        let response = refused(answer, request, ProblemJson).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "content-type"), Some("application/problem+json"));
        let problem = json_of(&response);
        assert_eq!(problem["status"], status);
        assert_eq!(problem["title"], title);
        assert_eq!(problem["reason"], reason);
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
        let scope = (status == 403).then(|| json!("history:read history:write"));
        assert_eq!(problem.get("scope"), scope.as_ref());
    }
}

#[tokio::test]
async fn an_error_of_oauth_has_a_code_that_its_clients_know() {
    for (request, answer, status, _, _, code) in cases() {
        let response = refused(answer, request, OAuthJson).await;
        assert_eq!(response.status(), status);
        assert_eq!(header(&response, "content-type"), Some("application/json"));
        let error = json_of(&response);
        assert_eq!(error["error"], code);
        assert!(error["error_description"].as_str().is_some_and(|text| !text.is_empty()), "{error}");
        let scope = (status == 403).then(|| json!("history:read history:write"));
        assert_eq!(error.get("scope"), scope.as_ref());
    }
}

#[tokio::test]
async fn the_headers_of_the_standards_come_with_them() {
    for (request, answer, status, ..) in cases() {
        let response = refused(answer, request, ProblemJson).await;
        assert_eq!(header(&response, "www-authenticate").is_some(), [400, 401, 403].contains(&status));
        assert_eq!(header(&response, "retry-after").is_some(), [429, 503].contains(&status));
    }
}

#[tokio::test]
async fn a_call_of_grpc_is_answered_as_grpc() {
    let call = || Request::builder().header("content-type", "application/grpc").body(()).expect("a request");
    for response in [refused(Ok(alice()), call(), ProblemJson).await, refused(Ok(alice()), call(), OAuthJson).await] {
        assert_eq!(response.status(), 200);
        assert_eq!(header(&response, "grpc-status"), Some("16"));
        assert!(response.body().is_empty());
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_server_is_told_to_nobody() {
    for denied in [Denied::CheckPanicked, Denied::no_access("the layer of layers"), Denied::NoPeer] {
        let problem: Response<String> = ProblemJson.response(&denied);
        assert_eq!(problem.body(), r#"{"title":"Internal Server Error","status":500}"#);
        let error: Response<String> = OAuthJson.response(&denied);
        assert_eq!(error.body(), r#"{"error":"server_error"}"#);
    }
}

#[tokio::test]
async fn a_handler_refuses_in_the_same_format_and_gets_the_challenge_of_its_door() {
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_scopes(READ)));
    let challenge = Challenge::new().with_realm("files").expect("plain text");
    let answers: [(&str, fn(Denied) -> Response<String>); 3] = [
        (r#"{"title":"Forbidden","status":403,"detail":"#, |denied| ProblemJson.response(&denied)),
        (r#"{"error":"insufficient_scope","#, |denied| OAuthJson.response(&denied)),
        ("", Response::from),
    ];
    for (start, answer) in answers {
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(oracle.clone()).with_challenge(challenge.clone()))
            .service_fn(async |request: Request<()>| {
                let access: &Access = request.extensions().get().expect("the door put it there");
                let denied = access.require(WRITE).expect_err("alice may not");
                Ok::<_, Infallible>(answer(denied))
            });
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.status(), 403);
        assert!(response.body().starts_with(start), "{}", response.body());
        assert_eq!(
            header(&response, "www-authenticate"),
            Some(r#"Bearer realm="files", error="insufficient_scope", scope="history:write""#)
        );
        assert!(matches!(response.extensions().get(), Some(Denied::InsufficientScope { .. })));
    }
}

#[test]
fn an_answer_of_ones_own_can_be_built_around_them() {
    #[derive(Clone, Copy)]
    struct Branded;
    impl Respond<String> for Branded {
        fn respond(&self, refusal: &Refusal<'_>) -> Response<String> {
            let mut response: Response<String> = ProblemJson.respond(refusal);
            response.headers_mut().insert("x-brand", http::HeaderValue::from_static("ours"));
            response
        }
    }
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(Oracle::without_revision()).with_response(Branded))
        .service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let Ok(response) = futures_util::FutureExt::now_or_never(service.oneshot(Request::new(()))).expect("ready");
    assert_eq!(header(&response, "x-brand"), Some("ours"));
    assert_eq!(json_of(&response)["status"], 401);
}
