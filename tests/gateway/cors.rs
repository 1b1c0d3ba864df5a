//! `--cors-origin`: what browsers let the pages of other origins read.

use crate::{
    client::{Request, Response},
    house::{House, TOKEN, history},
    process::Start,
    state::{SESSION, State},
};

const APP: &str = "https://app.example";

fn house(flags: &[&str]) -> House {
    House::with(State::of_messages(1), ["--token", TOKEN].iter().chain(flags))
}

fn preflight(house: &House, origin: &str, target: &str, method: &str) -> Response {
    let request = Request::new("OPTIONS", target).header("Origin", origin);
    let request = request.header("Access-Control-Request-Method", method);
    house.send(request.header("Access-Control-Request-Headers", "authorization,last-event-id,x-openclaw-scopes"))
}

/// Each of the comma-separated names, in lower case.
fn names(response: &Response, header: &str) -> Vec<String> {
    let lines = response.lines(header).join(",").to_ascii_lowercase();
    lines.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
}

fn allowed(response: &Response) -> Option<&str> {
    response.header("access-control-allow-origin")
}

#[test]
fn a_page_that_may_read_asks_beforehand_without_a_credential() {
    let house = house(&["--cors-origin", APP, "--cors-origin", "http://localhost:3000"]);
    for origin in [APP, "http://localhost:3000"] {
        for (target, method) in
            [("/streams/x/renew", "POST"), ("/streams/x", "DELETE"), ("/sessions/main/history", "GET")]
        {
            let answer = preflight(&house, origin, target, method);
            assert_eq!((answer.status, allowed(&answer)), (200, Some(origin)));
            assert_eq!(answer.header("access-control-allow-credentials"), None);
            assert_eq!(answer.header("access-control-max-age"), Some("600"));
            for name in ["authorization", "last-event-id", "x-openclaw-scopes", "content-type"] {
                assert!(names(&answer, "access-control-allow-headers").contains(&name.to_owned()), "{name}");
            }
            assert!(names(&answer, "access-control-allow-methods").contains(&method.to_ascii_lowercase()));
            assert!(names(&answer, "vary").contains(&"origin".to_owned()));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
            assert_eq!(answer.text(), "");
        }
    }
}

#[test]
fn every_answer_can_be_read_refusals_too() {
    let house = house(&["--cors-origin", APP, "--max-streams", "1"]);
    let with = |request: Request, token: &str| {
        house.send(request.header("Origin", APP).header("Authorization", &format!("Bearer {token}")))
    };
    let stream = || history("").header("Accept", "text/event-stream");
    let held = with(stream(), TOKEN);
    for (answer, status) in [
        (with(history(""), TOKEN), 200),
        (with(history(""), "wrong"), 401),
        (with(Request::new("POST", &format!("/sessions/{SESSION}/kill")), TOKEN), 403),
        (with(Request::new("GET", "/nowhere"), TOKEN), 404),
        (with(Request::new("PUT", "/healthz"), TOKEN), 405),
        (with(history("?limit=x"), TOKEN), 400),
        (with(history("").header("X-Forwarded-Proto", "https"), TOKEN), 403),
        (with(stream(), TOKEN), 503),
        (held, 200),
    ] {
        assert_eq!((answer.status, allowed(&answer)), (status, Some(APP)));
        assert!(names(&answer, "vary").contains(&"origin".to_owned()), "{status}");
        for name in ["x-stream-id", "www-authenticate", "retry-after"] {
            assert!(names(&answer, "access-control-expose-headers").contains(&name.to_owned()), "{name}");
        }
    }
    let page = with(history(""), TOKEN);
    assert!(names(&page, "vary").contains(&"accept".to_owned()), "what it varied by before it still does");
}

#[test]
fn a_page_of_another_origin_is_told_nothing() {
    let house = house(&["--cors-origin", APP]);
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example:8443",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "https://app.example/",
        "HTTPS://APP.EXAMPLE",
        "null",
        "",
        "*",
    ] {
        for answer in [
            preflight(&house, origin, "/sessions/main/history", "GET"),
            house.send(history("").header("Origin", origin).header("Authorization", &format!("Bearer {TOKEN}"))),
        ] {
            assert_eq!((answer.status, allowed(&answer)), (200, None), "{origin}");
            assert!(names(&answer, "vary").contains(&"origin".to_owned()), "{origin}");
        }
    }
    // What no browser asks is answered as ever.
    assert_eq!(house.send(Request::new("OPTIONS", "/healthz")).status, 405);
    assert_eq!(house.send(Request::new("OPTIONS", "/healthz").header("Origin", APP)).status, 405);
}

#[test]
fn without_the_flag_no_page_is_told_anything() {
    let house = house(&[]);
    let answer = preflight(&house, APP, "/healthz", "GET");
    assert_eq!((answer.status, allowed(&answer)), (405, None));
    let page = house.send(history("").header("Origin", APP).header("Authorization", &format!("Bearer {TOKEN}")));
    assert_eq!((page.status, allowed(&page)), (200, None));
    assert!(!names(&page, "vary").contains(&"origin".to_owned()));
}

#[test]
fn a_star_lets_every_page_read_that_has_a_token() {
    let house = house(&["--cors-origin", "*"]);
    for origin in [APP, "https://evil.example", "null"] {
        let answer = preflight(&house, origin, "/sessions/main/history", "GET");
        assert_eq!((answer.status, allowed(&answer)), (200, Some("*")));
        let refused = house.send(history("").header("Origin", origin));
        assert_eq!((refused.status, allowed(&refused)), (401, Some("*")));
        assert_eq!(refused.header("access-control-allow-credentials"), None);
    }
}

#[test]
fn where_nobody_shows_anything_a_page_that_may_read_may_ask_and_no_other() {
    let house = House::with(State::seeded(), ["--auth", "none", "--cors-origin", APP]);
    let kill = || Request::new("POST", &format!("/sessions/{SESSION}/kill"));
    for (origin, host, to_read, to_kill) in [
        (APP, "localhost", 200, 200),
        ("https://evil.example", "localhost", 401, 421),
        ("http://app.example", "localhost", 401, 421),
        ("https://app.example:8443", "localhost", 401, 421),
        // Its own name pointed at this machine makes a page no better.
        (APP, "app.example", 421, 421),
    ] {
        let from = |request: Request| house.send(request.header("Origin", origin).header("Host", host)).status;
        assert_eq!((from(history("")), from(kill())), (to_read, to_kill), "{origin} {host}");
    }
}

#[test]
fn a_star_is_refused_where_nobody_shows_anything_at_the_start_and_later() {
    let state = State::seeded();
    for command in [&[][..], &["check"]] {
        let start = Start::new().args(command).arg_state(&state).args(["--auth", "none", "--cors-origin", "*"]);
        let output = start.output();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("with --auth none, --cors-origin * is refused"), "{error}");
    }
    state.file("openclaw.json", "{ gateway: { auth: { token: 's3cret' } } }");
    let house = House::with(state, ["--cors-origin", "*"]);
    house.state.file("openclaw.json", "{ gateway: { auth: { mode: 'none' } } }");
    house.gateway.has_logged("--cors-origin * is refused");
    assert_eq!(house.send(history("").header("Host", "localhost")).status, 401);
}

#[test]
fn what_is_no_origin_is_an_error_that_says_what_is_one() {
    let state = State::seeded();
    for value in [
        "app.example",
        "null",
        "https://",
        "https://app.example/",
        "https://*.example",
        "ftp://a",
        "**",
        "https://a b",
        "",
    ] {
        let start = Start::new().arg_state(&state).args(["--token", TOKEN]);
        let output = start.args([format!("--cors-origin={value}")]).output();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{value}");
        assert!(
            error.contains("must be an origin, such as https://app.example.org, or *") || value.is_empty(),
            "{value}: {error}"
        );
    }
    for command in [&[][..], &["check"]] {
        let start = Start::new().args(command).arg_state(&state).args(["--token", TOKEN]);
        let output = start.env("OPENCLAW_GATEWAY_CORS_ORIGIN", "https://a.example, a.example").output();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(error.contains("the variable OPENCLAW_GATEWAY_CORS_ORIGIN must be an origin"), "{error}");
    }
}
