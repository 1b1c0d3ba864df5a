//! On axum: `Access` and `Identity` as extractors, `Denied` as an answer, requirements per route.

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_reauth::{
    Access, BearerAuthLayer, Denied, Identity, RequireScopeLayer, StreamReauthLayer, Tokens, verify::Token,
};

use crate::support::{READ, WRITE, header};

fn app() -> Router {
    let tokens = Tokens::new([Token::new("reader", "secret-1").with_scopes(READ)]).expect("no duplicates");
    Router::new()
        .route("/who", get(async |caller: Identity| caller.subject().to_owned()))
        .route("/what", get(async |access: Access| access.granted().scopes().to_string()))
        .route("/write", get(async || "written").route_layer(RequireScopeLayer::new(WRITE)))
        .layer(StreamReauthLayer::new())
        .layer(RequireScopeLayer::new(READ))
        .layer(BearerAuthLayer::new(tokens))
}

async fn ask(app: Router, path: &str) -> (StatusCode, Option<String>, String) {
    let request = Request::builder().uri(path).header("authorization", "Bearer secret-1").body(Body::empty());
    let Ok(response) = app.oneshot(request.expect("a request")).await;
    let challenge = header(&response, "www-authenticate").map(str::to_owned);
    let status = response.status();
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    (status, challenge, String::from_utf8_lossy(&body).into_owned())
}

#[tokio::test]
async fn handlers_take_the_identity_and_the_access_as_arguments() {
    assert_eq!(ask(app(), "/who").await, (StatusCode::OK, None, "reader".into()));
    assert_eq!(ask(app(), "/what").await, (StatusCode::OK, None, "history:read".into()));
}

#[tokio::test]
async fn a_route_requires_more_than_its_router() {
    let challenge = r#"Bearer error="insufficient_scope", scope="history:read history:write""#;
    assert_eq!(ask(app(), "/write").await, (StatusCode::FORBIDDEN, Some(challenge.into()), String::new()));
}

#[tokio::test]
async fn an_extractor_without_a_layer_outside_it_answers_500() {
    let open = Router::new()
        .route("/who", get(async |_: Identity| "somebody"))
        .route("/what", get(async |_: Access| "something"));
    for path in ["/who", "/what"] {
        assert_eq!(ask(open.clone(), path).await, (StatusCode::INTERNAL_SERVER_ERROR, None, String::new()));
    }
}

#[tokio::test]
async fn a_handler_answers_with_a_denial_of_its_own() {
    let response = Denied::Rejected.into_response();
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&response, "www-authenticate"), Some(r#"Bearer error="invalid_token""#));
}
