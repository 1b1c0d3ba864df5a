//! How a resource describes itself (RFC 9728): the document, where it stands, and the challenge that points there.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Method, Request, Response, header::HOST};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    BearerAuthLayer, Scope, StaticToken,
    resource_metadata::{ResourceMetadata, ResourceMetadataLayer},
};

const MCP: &str = "https://mcp.example.com/mcp";

fn resource(url: &str) -> ResourceMetadata {
    ResourceMetadata::new(url).unwrap_or_else(|error| panic!("{error}"))
}

fn get(host: &str, target: &str) -> Request<()> {
    Request::get(target).header(HOST, host).body(()).expect("a request")
}

/// What a service says that has these resources in front of it, and "inner" behind.
async fn answer(layer: &ResourceMetadataLayer, request: Request<()>) -> (u16, Response<Bytes>) {
    let inner = tower::service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"inner"))))
    });
    let Ok(response) = layer.layer(inner).oneshot(request).await;
    let (parts, body) = response.into_parts();
    let Ok(body) = body.collect().await;
    (parts.status.as_u16(), Response::from_parts(parts, body.to_bytes()))
}

async fn described(layer: &ResourceMetadataLayer, request: Request<()>) -> Option<String> {
    let (status, response) = answer(layer, request).await;
    assert_eq!(status, 200);
    let document = serde_json::from_slice::<Value>(response.body()).ok()?;
    Some(document["resource"].as_str().expect("a resource").to_owned())
}

#[test]
fn the_well_known_part_stands_between_the_host_and_the_path() {
    for (resource_url, url, path) in [
        ("https://a.example", "https://a.example/.well-known/oauth-protected-resource", ""),
        ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource", ""),
        ("https://a.example/mcp", "https://a.example/.well-known/oauth-protected-resource/mcp", "/mcp"),
        ("https://a.example/mcp/", "https://a.example/.well-known/oauth-protected-resource/mcp/", "/mcp/"),
        ("https://A.example:8443/a/b", "https://A.example:8443/.well-known/oauth-protected-resource/a/b", "/a/b"),
        ("https://a.example/r?t=1", "https://a.example/.well-known/oauth-protected-resource/r?t=1", "/r"),
        ("http://127.0.0.1:3000/mcp", "http://127.0.0.1:3000/.well-known/oauth-protected-resource/mcp", "/mcp"),
        ("http://[::1]/mcp", "http://[::1]/.well-known/oauth-protected-resource/mcp", "/mcp"),
        ("http://localhost:3000", "http://localhost:3000/.well-known/oauth-protected-resource", ""),
    ] {
        let metadata = resource(resource_url);
        assert_eq!(metadata.url(), url);
        assert_eq!(metadata.path(), format!("/.well-known/oauth-protected-resource{path}"));
    }
}

#[test]
fn what_is_no_resource_is_an_error_that_says_why() {
    for (text, why) in [
        ("", "no absolute URL"),
        ("/mcp", "no absolute URL"),
        ("mcp.example.com", "no absolute URL"),
        ("https://", "no absolute URL"),
        ("ftp://a.example/", "not `https`"),
        ("http://a.example/mcp", "not `https`"),
        ("http://localhost.evil.example/", "not `https`"),
        ("https://a.example/#part", "fragment"),
        ("https://user@a.example/", "authority"),
        ("https://a.example:99999/", "authority"),
        ("https://a.example/\u{fc}", "characters"),
        ("https://a.example/a b", "characters"),
        ("https://a.example/\"", "characters"),
        ("https://a.example/\r\nx: y", "characters"),
    ] {
        let error = ResourceMetadata::new(text).expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
        let error = resource(MCP).with_authorization_servers([text]).expect_err(text).to_string();
        assert!(error.contains(why), "{text:?}: {error}");
    }
    let error = resource(MCP).with_authorization_servers(["https://login.example/?a=b"]).expect_err("a query");
    assert!(error.to_string().contains("no query"), "{error}");
}

#[tokio::test]
async fn the_document_says_what_it_was_told() {
    let metadata = resource(MCP)
        .with_authorization_servers(["https://login.example.com", "https://other.example/tenant"])
        .expect("issuers")
        .with_scopes_supported([Scope::from_static("tools:list"), Scope::from_static("tools:call")])
        .with_name("The \"tools\"")
        .with_parameter("resource_documentation", "https://docs.example.com")
        .with_parameter("jwks_uri", "https://mcp.example.com/jwks")
        .with_parameter("jwks_uri", Value::Null)
        .with_parameter("resource", "https://evil.example");
    let layer = ResourceMetadataLayer::new([metadata]);
    let (status, response) =
        answer(&layer, get("mcp.example.com", "/.well-known/oauth-protected-resource/mcp?cache=no")).await;
    assert_eq!(status, 200);
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    assert_eq!(
        serde_json::from_slice::<Value>(response.body()).expect("JSON"),
        json!({
            "resource": MCP,
            "authorization_servers": ["https://login.example.com", "https://other.example/tenant"],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["tools:list", "tools:call"],
            "resource_name": "The \"tools\"",
            "resource_documentation": "https://docs.example.com",
        })
    );
}

#[tokio::test]
async fn every_method_is_answered_by_what_it_means() {
    let layer = ResourceMetadataLayer::new([resource(MCP)]);
    for (method, expected) in
        [(Method::GET, 200), (Method::HEAD, 200), (Method::OPTIONS, 204), (Method::POST, 405), (Method::DELETE, 405)]
    {
        let mut request = get("mcp.example.com", "/.well-known/oauth-protected-resource/mcp");
        *request.method_mut() = method.clone();
        let (status, response) = answer(&layer, request).await;
        assert_eq!(status, expected, "{method}");
        assert_eq!(response.headers()["access-control-allow-origin"], "*", "{method}");
        assert_eq!(response.headers().contains_key("allow"), expected == 405, "{method}");
        // A client of MCP sends `MCP-Protocol-Version`, which a page may only after a preflight.
        assert_eq!(response.headers().contains_key("access-control-allow-headers"), expected == 204, "{method}");
    }
}

#[tokio::test]
async fn every_other_request_goes_on() {
    let layer = ResourceMetadataLayer::new([resource(MCP), resource("https://mcp.example.com/q?a=1")]);
    for target in [
        "/",
        "/mcp",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/mcp/",
        "/.well-known/oauth-protected-resource/mcp/more",
        "/.well-known/oauth-protected-resource/q",
        "/.well-known/oauth-protected-resource/q?a=2",
        "/.well-known/oauth-authorization-server/mcp",
        "/mcp/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/%6dcp",
    ] {
        let (_, response) = answer(&layer, get("mcp.example.com", target)).await;
        assert_eq!(response.body(), "inner", "{target}");
    }
}

#[tokio::test]
async fn of_equal_paths_the_host_decides() {
    let hosts = ResourceMetadataLayer::new([
        resource("https://one.example/mcp"),
        resource("https://two.example/mcp"),
        resource("https://one.example/alone"),
    ]);
    let asked = "/.well-known/oauth-protected-resource/mcp";
    for (host, expected) in [
        ("one.example", Some("https://one.example/mcp")),
        ("TWO.example.:8443", Some("https://two.example/mcp")),
        ("three.example", None),
        ("one.example.evil", None),
        ("user@one.example", None),
    ] {
        assert_eq!(described(&hosts, get(host, asked)).await.as_deref(), expected, "{host}");
    }
    // HTTP/2 names the host in the target.
    let request = Request::get(format!("https://two.example{asked}")).body(()).expect("a request");
    assert_eq!(described(&hosts, request).await.as_deref(), Some("https://two.example/mcp"));
    // Where a path has one resource only, a proxy may have changed the host.
    let alone = get("10.0.0.1", "/.well-known/oauth-protected-resource/alone");
    assert_eq!(described(&hosts, alone).await.as_deref(), Some("https://one.example/alone"));
}

/// What the challenge points to that a stranger gets.
async fn pointed_to(layer: &ResourceMetadataLayer, request: Request<()>) -> Option<String> {
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(StaticToken::new("s3cret")).with_challenge(layer.challenge()))
        .service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Full::<Bytes>::default())));
    let Ok(response) = service.oneshot(request).await;
    assert_eq!(response.status(), 401);
    let challenge = response.headers()["www-authenticate"].to_str().expect("ASCII");
    challenge.strip_prefix("Bearer resource_metadata=").map(|url| url.trim_matches('"').to_owned())
}

#[tokio::test]
async fn the_challenge_points_to_a_document_that_is_served() {
    let layer = ResourceMetadataLayer::new([
        resource("https://one.example/"),
        resource("https://one.example/mcp"),
        resource("https://one.example/mcp/admin"),
        resource("https://two.example/mcp"),
    ]);
    for (host, target, expected) in [
        ("one.example", "/files", Some("https://one.example/")),
        ("one.example", "/mcpx", Some("https://one.example/")),
        ("one.example", "/mcp", Some("https://one.example/mcp")),
        ("one.example", "/mcp/tools?x=1", Some("https://one.example/mcp")),
        ("one.example", "/mcp/admin/x", Some("https://one.example/mcp/admin")),
        ("two.example:8443", "/anything", Some("https://two.example/mcp")),
        ("three.example", "/mcp", None),
    ] {
        let url = pointed_to(&layer, get(host, target)).await;
        assert_eq!(url.is_some(), expected.is_some(), "{host}{target}");
        if let (Some(url), Some(expected)) = (url, expected) {
            let request = Request::get(url).body(()).expect("a request");
            assert_eq!(described(&layer, request).await.as_deref(), Some(expected), "{host}{target}");
        }
    }
    let one = ResourceMetadataLayer::new([resource(MCP)]);
    let url = pointed_to(&one, get("127.0.0.1:3000", "/mcp")).await;
    assert_eq!(url.as_deref(), Some("https://mcp.example.com/.well-known/oauth-protected-resource/mcp"));
}

#[tokio::test]
async fn a_server_whose_body_is_made_of_something_else_asks_first() {
    let layer = ResourceMetadataLayer::new([resource(MCP)]);
    let response = layer.answer(&get("mcp.example.com", "/.well-known/oauth-protected-resource/mcp"));
    assert_eq!(response.map(|response| response.status().as_u16()), Some(200));
    assert!(layer.answer(&get("mcp.example.com", "/mcp")).is_none());
}

proptest! {
    #[test]
    fn no_text_panics_and_what_is_taken_makes_a_challenge_with_its_url(text in "(https://[a-z.:@0-9\\[\\]]{0,12})?[ -~\u{80}-\u{ff}]{0,20}") {
        if let Ok(metadata) = ResourceMetadata::new(&text) {
            prop_assert!(metadata.url().parse::<http::Uri>().is_ok());
            let debug = format!("{:?}", metadata.challenge());
            prop_assert!(debug.contains("resource_metadata"), "{}", debug);
        }
    }

    #[test]
    fn no_request_panics(host in "[ -~]{0,20}", path in "/[a-z/.-]{0,60}") {
        let layer = ResourceMetadataLayer::new([resource(MCP), resource("https://two.example/mcp")]);
        let request = Request::get(path).header(HOST, host).body(()).expect("a request");
        let _ = layer.answer(&request);
    }
}
