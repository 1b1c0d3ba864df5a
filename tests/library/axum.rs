//! On axum: `Access` and `Identity` as extractors, `Denied` as an answer, requirements per route.

use axum::{Router, body::Body, response::IntoResponse, routing::get};
use http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
use tower_reauth::{
    Access, BearerAuthLayer, Denied, Identity, RequireScopeLayer, StaticToken, StreamReauthLayer, Tokens,
    axum::respond_with, bearer::Challenge, respond::GrpcOr, verify::Token,
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

#[tokio::test]
async fn a_handler_that_stands_inside_and_outside_takes_an_optional_caller() {
    let routes = || {
        Router::new()
            .route(
                "/who",
                get(async |who: Option<Identity>| who.map_or("nobody".into(), |who| who.subject().to_owned())),
            )
            .route("/what", get(async |what: Option<Access>| what.is_some().to_string()))
    };
    let outside = routes();
    assert_eq!(ask(outside.clone(), "/who").await, (StatusCode::OK, None, "nobody".into()));
    assert_eq!(ask(outside, "/what").await, (StatusCode::OK, None, "false".into()));
    let tokens = Tokens::new([Token::new("reader", "secret-1")]).expect("no duplicates");
    let inside = routes().layer(BearerAuthLayer::new(tokens));
    assert_eq!(ask(inside.clone(), "/who").await, (StatusCode::OK, None, "reader".into()));
    assert_eq!(ask(inside, "/what").await, (StatusCode::OK, None, "true".into()));

    let shut = routes().layer(BearerAuthLayer::new(StaticToken::new("another")));
    assert_eq!(ask(shut, "/who").await.0, StatusCode::UNAUTHORIZED, "who is refused is not let in as nobody");
}

#[tokio::test]
async fn a_handlers_own_denial_leaves_with_the_challenge_of_the_door() {
    let tokens = Tokens::new([Token::new("reader", "secret-1").with_scopes(READ)]).expect("no duplicates");
    let challenge = Challenge::new()
        .with_realm("files")
        .and_then(|challenge| challenge.with_resource_metadata("https://files.example/meta"))
        .expect("plain text");
    let app = Router::new()
        .route("/403", get(async |access: Access| access.require(WRITE).map(|()| "written")))
        .route("/401", get(async || Denied::Expired))
        .route("/500", get(async || Denied::NoPeer))
        .route("/own", get(async || ([("www-authenticate", "Custom")], Denied::Expired)))
        .layer(StreamReauthLayer::new())
        .layer(RequireScopeLayer::new([READ]))
        .layer(BearerAuthLayer::new(tokens).with_challenge(challenge));
    let own = r#"Bearer realm="files", resource_metadata="https://files.example/meta", error="#;
    let forbidden = format!(r#"{own}"insufficient_scope", scope="history:read history:write""#);
    assert_eq!(ask(app.clone(), "/403").await, (StatusCode::FORBIDDEN, Some(forbidden), String::new()));
    let unauthorized = format!(r#"{own}"invalid_token", error_description="expired""#);
    assert_eq!(ask(app.clone(), "/401").await, (StatusCode::UNAUTHORIZED, Some(unauthorized), String::new()));
    assert_eq!(ask(app.clone(), "/500").await, (StatusCode::INTERNAL_SERVER_ERROR, None, String::new()));
    assert_eq!(ask(app, "/own").await, (StatusCode::UNAUTHORIZED, Some("Custom".into()), String::new()));
}

#[tokio::test]
async fn a_refusal_is_whatever_a_handler_could_answer_with() {
    let page = |denied: &Denied| (denied.status(), [("x-reason", denied.as_str())], denied.to_string());
    let app = || Router::new().route("/", get(async || "in"));
    let expected = |text: &str| (StatusCode::UNAUTHORIZED, Some(r#"Bearer error="invalid_token""#.into()), text.into());

    let whole = app().layer(BearerAuthLayer::new(StaticToken::new("another")).with_response(respond_with(page)));
    assert_eq!(ask(whole, "/").await, expected("the credential is not good"));

    // In one `ServiceBuilder` with a layer that changes the body, and for gRPC in the way of gRPC.
    let stack = tower::ServiceBuilder::new()
        .layer(BearerAuthLayer::new(StaticToken::new("another")).with_response(GrpcOr(respond_with(page))))
        .layer(RequireScopeLayer::new(READ).with_response(respond_with(page)))
        .layer(StreamReauthLayer::new());
    assert_eq!(ask(app().layer(stack), "/").await, expected("the credential is not good"));

    let text =
        |denied: &Denied| http::Response::builder().status(denied.status()).body(denied.to_string()).expect("one");
    let plain = app().layer(BearerAuthLayer::new(StaticToken::new("another")).with_response(text));
    assert_eq!(ask(plain, "/").await, expected("the credential is not good"), "any body that axum's is made of");
}
