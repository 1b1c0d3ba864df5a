//! The layer of allowed hosts, through the public API.

use std::convert::Infallible;

use http::{Request, Response, StatusCode, Version};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    Denied,
    hosts::{AllowedHost, AllowedHostsLayer, InvalidHost},
};

fn host(text: &str) -> AllowedHost {
    text.parse().unwrap()
}

async fn ask(layer: &AllowedHostsLayer, request: Request<()>) -> u16 {
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let response = layer.layer(inner).oneshot(request).await.unwrap();
    assert!(!response.headers().contains_key("www-authenticate"));
    response.status().as_u16()
}

fn http1(headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder().uri("/");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

fn http2(uri: &str, headers: &[(&str, &str)]) -> Request<()> {
    let mut request = http1(headers);
    *request.version_mut() = Version::HTTP_2;
    *request.uri_mut() = uri.parse().unwrap();
    request
}

#[tokio::test]
async fn loopback_is_allowed_by_every_name_and_at_any_port() {
    let layer = AllowedHostsLayer::new();
    for host in [
        "localhost",
        "LocalHost:18789",
        "localhost.",
        "app.localhost:80",
        "127.0.0.1",
        "127.8.8.8:1",
        "[::1]",
        "[0:0::1]:80",
        "[::ffff:127.0.0.1]:80",
    ] {
        assert_eq!(ask(&layer, http1(&[("host", host)])).await, 200, "{host}");
        assert_eq!(ask(&layer, http2(&format!("http://{host}/"), &[])).await, 200, "{host}");
    }
}

#[tokio::test]
async fn a_name_that_a_stranger_can_have_is_misdirected() {
    let layer = AllowedHostsLayer::new();
    for host in [
        "evil.example:18789",
        "localhost.evil.example",
        "evillocalhost",
        "127.0.0.1.evil.example",
        "127.1",
        "2130706433",
        "0.0.0.0:80",
        "[::]",
        "10.0.0.1",
        "[::ffff:10.0.0.1]",
        "128.0.0.1",
    ] {
        assert_eq!(ask(&layer, http1(&[("host", host)])).await, 421, "{host}");
        assert_eq!(ask(&layer, http2(&format!("http://{host}/"), &[])).await, 421, "{host}");
    }
}

#[tokio::test]
async fn no_host_two_hosts_and_an_unreadable_host_are_bad_requests() {
    let layer = AllowedHostsLayer::new();
    assert_eq!(ask(&layer, http1(&[])).await, 400);
    assert_eq!(ask(&layer, http1(&[("host", "localhost"), ("host", "localhost")])).await, 400);
    for host in ["", " ", "localhost, localhost", "user@localhost", "localhost:x", "::1", "[fe80::1%25lo]", "a b"] {
        assert_eq!(ask(&layer, http1(&[("host", host)])).await, 400, "{host:?}");
    }
    let mut unreadable = http1(&[]);
    unreadable.headers_mut().insert("host", http::HeaderValue::from_bytes(b"local\xffhost").unwrap());
    assert_eq!(ask(&layer, unreadable).await, 400);

    // HTTP/1.1 needs its `Host` even where the target has one; HTTP/2 has to name one somewhere.
    let mut absolute = http2("http://localhost/", &[]);
    *absolute.version_mut() = Version::HTTP_11;
    assert_eq!(ask(&layer, absolute).await, 400);
    assert_eq!(ask(&layer, http2("/", &[])).await, 400);
}

#[tokio::test]
async fn where_target_and_host_both_name_one_both_are_allowed() {
    let layer = AllowedHostsLayer::new();
    assert_eq!(ask(&layer, http2("http://localhost/", &[("host", "localhost")])).await, 200);
    assert_eq!(ask(&layer, http2("http://localhost/", &[("host", "evil.example")])).await, 421);
    assert_eq!(ask(&layer, http2("http://evil.example/", &[("host", "localhost")])).await, 421);
    assert_eq!(ask(&layer, http2("http://user@localhost/", &[])).await, 400);
}

#[tokio::test]
async fn the_page_that_calls_is_at_an_allowed_host_too() {
    let layer = AllowedHostsLayer::new().with_allowed([host("app.example.org")]);
    let from = |origin: &'static str| http1(&[("host", "localhost:1"), ("origin", origin)]);
    for origin in ["http://localhost:3000", "https://[::1]", "tauri://localhost", "https://APP.example.org"] {
        assert_eq!(ask(&layer, from(origin)).await, 200, "{origin}");
    }
    for origin in ["http://evil.example:1", "null", "", "localhost", "file://", "http://localhost.evil.example"] {
        assert_eq!(ask(&layer, from(origin)).await, 421, "{origin:?}");
    }
    let twice = [("host", "localhost"), ("origin", "http://localhost"), ("origin", "http://localhost")];
    assert_eq!(ask(&layer, http1(&twice)).await, 421);
}

#[tokio::test]
async fn other_hosts_are_allowed_by_name_by_domain_and_by_address() {
    let allowed = ["Gateway.example.org", "*.ts.net", "10.0.0.5", "[fd00::5]", "fd00::6", "::ffff:10.0.0.7"];
    let layer = AllowedHostsLayer::new().with_allowed(allowed.map(host));
    for (host, status) in [
        ("gateway.EXAMPLE.org.:8443", 200),
        ("a.gateway.example.org", 421),
        ("example.org", 421),
        ("box.tail.ts.net", 200),
        ("ts.net", 421),
        ("evilts.net", 421),
        ("10.0.0.5:80", 200),
        ("[::ffff:10.0.0.5]", 200),
        ("10.0.0.6", 421),
        ("[fd00:0::5]:80", 200),
        ("[fd00::6]", 200),
        ("10.0.0.7", 200),
        ("localhost", 200),
    ] {
        assert_eq!(ask(&layer, http1(&[("host", host)])).await, status, "{host}");
    }
    let only = layer.without_loopback();
    assert_eq!(ask(&only, http1(&[("host", "localhost")])).await, 421);
    assert_eq!(ask(&only, http1(&[("host", "127.0.0.1")])).await, 421);
    assert_eq!(ask(&only, http1(&[("host", "10.0.0.5")])).await, 200);
}

#[test]
fn what_is_no_host_is_an_error_that_quotes_it() {
    for text in [
        "",
        " ",
        "*",
        "*.",
        "*.*",
        "*.10.0.0.1",
        "*.[::1]",
        "a:80",
        "10.0.0.1:80",
        "[::1]:80",
        "http://a",
        "a b",
        "a..b",
        ".a",
        "a*.b",
        "b\u{fc}cher",
    ] {
        let invalid = text.parse::<AllowedHost>().unwrap_err();
        assert_eq!(invalid.text, text);
        let _: InvalidHost = invalid;
    }
}

#[tokio::test]
async fn a_refusal_is_answered_by_the_response_that_was_chosen() {
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new("inner".to_owned())));
    let forbidden = |denied: &Denied| {
        let mut response = Response::new(denied.as_str().to_owned());
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    };
    let service = ServiceBuilder::new().layer(AllowedHostsLayer::new().with_response(forbidden)).service(inner);
    let refused = service.clone().oneshot(http1(&[("host", "evil.example")])).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.body().as_str()), (403, "misdirected"));
    let refused = service.clone().oneshot(http1(&[])).await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.body().as_str()), (403, "no_host"));
    assert_eq!(service.oneshot(http1(&[("host", "localhost")])).await.unwrap().body(), "inner");
}
