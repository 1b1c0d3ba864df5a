//! `GET /`: the page for people. What it does in a browser is for `.ci/clients` to see.

use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};

use crate::{
    client::{Request, Response},
    house::House,
    state::State,
};

fn get(house: &House) -> Response {
    house.send(Request::new("GET", "/"))
}

/// What is in the one element of this name.
fn element<'a>(page: &'a str, name: &str) -> &'a str {
    assert_eq!(page.matches(&format!("<{name}")).count(), 1, "{name}");
    let (_, rest) = page.split_once(&format!("<{name}>")).expect("an element");
    rest.split_once(&format!("</{name}>")).expect("its end").0
}

#[test]
fn its_policy_lets_its_own_script_and_style_run_and_nothing_else() {
    let house = House::over(State::seeded());
    let response = get(&house);
    let policy = response.header("content-security-policy").expect("a policy").to_owned();
    let page = response.text();
    let hash = |name| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(element(&page, name))));
    let directives: Vec<&str> = policy.split("; ").collect();
    for expected in [
        "default-src 'none'",
        &format!("script-src {}", hash("script")),
        &format!("style-src {}", hash("style")),
        "img-src data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ] {
        assert!(directives.contains(&expected), "{expected}: {policy}");
    }
    assert_eq!(directives.len(), 10, "{policy}");
}

#[test]
fn it_asks_for_nothing_from_elsewhere_and_makes_no_markup() {
    let page = get(&House::over(State::seeded())).text();
    // The one address is the name of SVG, in a picture that stands in the page.
    let addresses: Vec<&str> = page.match_indices("http").map(|(at, _)| &page[at..]).collect();
    assert!(addresses.len() == 1 && addresses[0].starts_with("http://www.w3.org/2000/svg'"), "{addresses:?}");
    for banned in [
        " src=",
        "<link rel=\"stylesheet",
        "@import",
        "url(",
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "localStorage",
        "document.cookie",
        " style=",
    ] {
        assert!(!page.contains(banned), "{banned}");
    }
}

#[test]
fn it_is_for_everyone_and_no_site_may_frame_it() {
    let house = House::over(State::seeded());
    for request in [
        Request::new("GET", "/"),
        Request::new("GET", "/?x=1"),
        Request::new("GET", "/").header("Authorization", "Bearer wrong"),
        Request::new("GET", "/").header("Accept", "text/event-stream"),
    ] {
        let response = house.send(request);
        assert_eq!(response.status, 200);
        for (name, value) in [
            ("content-type", "text/html; charset=utf-8"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(response.header(name), Some(value), "{name}");
        }
        assert_eq!(response.header("set-cookie"), None);
        assert!(response.text().starts_with("<!doctype html>"));
    }
}

#[test]
fn who_has_it_is_not_sent_it_again() {
    let house = House::over(State::seeded());
    let tag = get(&house).header("etag").expect("a tag").to_owned();
    let with = |tags: &str| house.send(Request::new("GET", "/").header("If-None-Match", tags));
    for tags in [tag.as_str(), &format!("\"other\", W/{tag}"), "*"] {
        let known = with(tags);
        assert_eq!((known.status, known.header("etag")), (304, Some(tag.as_str())), "{tags}");
        assert!(known.header("content-security-policy").is_some());
        assert_eq!(known.text(), "");
    }
    for tags in ["\"other\"", tag.trim_matches('"'), ""] {
        assert_eq!(with(tags).status, 200, "{tags}");
    }
}

#[test]
fn its_head_is_that_of_the_page_and_it_can_only_be_read() {
    let house = House::over(State::seeded());
    let page = get(&house);
    let head = house.send(Request::new("HEAD", "/"));
    assert_eq!(head.status, 200);
    for name in ["content-length", "content-security-policy", "etag", "content-type"] {
        assert!(head.header(name).is_some(), "{name}");
        assert_eq!(head.header(name), page.header(name), "{name}");
    }
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let answer = house.send(Request::new(method, "/"));
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
    for path in ["/index.html", "/favicon.ico", "/page", "/sessions/"] {
        let answer = house.send(Request::new("GET", path));
        assert_eq!((answer.status, answer.text().as_str()), (404, "Not Found"), "{path}");
    }
}
