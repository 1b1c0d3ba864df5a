//! Which pages may send a cookie with a token, by the rules of `bearer`, and how a cookie is read.

use std::convert::Infallible;

use http::{Method, Request, Response, StatusCode, Uri, Version};
use proptest::prelude::*;
use tower::{Layer, ServiceExt, service_fn};
use tower_reauth::{
    BearerAuthLayer, StaticToken,
    bearer::{AuthLayer, Bearer, InvalidPlace, Place, TokenCookie, TokenSyntax},
    limiter::{FailureLimiter, FailureLimits, Limited},
};

fn cookie() -> TokenCookie {
    TokenCookie::new("session").unwrap()
}

fn layer(cookie: TokenCookie) -> BearerAuthLayer {
    BearerAuthLayer::new(StaticToken::new("t0ken")).with_places([Place::AUTHORIZATION, cookie.into()])
}

async fn status(layer: BearerAuthLayer, request: Request<()>) -> StatusCode {
    let service = layer.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    let Ok(response) = service.oneshot(request).await;
    response.status()
}

/// A request for `app.example.com` with the cookie.
fn from_page(headers: &[(&str, &str)]) -> Request<()> {
    let request = Request::builder().header("host", "app.example.com").header("cookie", "session=t0ken");
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
}

/// Every method may be that of a stream, or do something.
async fn is_taken(cookie: &TokenCookie, headers: &[(&str, &str)]) -> bool {
    let mut answers = Vec::new();
    for method in [Method::GET, Method::HEAD, Method::POST, Method::DELETE, Method::CONNECT] {
        let mut request = from_page(headers);
        *request.method_mut() = method;
        answers.push(status(layer(cookie.clone()), request).await.as_u16());
    }
    answers.dedup();
    assert!([[200], [401]].iter().any(|all| answers == all), "{headers:?} {answers:?}");
    answers == [200]
}

const OWN: &str = "https://app.example.com";

#[tokio::test]
async fn a_page_of_the_same_origin_and_an_address_that_was_typed_may_send_it() {
    for headers in [
        &[("sec-fetch-site", "same-origin")][..],
        &[("sec-fetch-site", "same-origin"), ("origin", OWN)],
        // A form of a page with `Referrer-Policy: no-referrer` has an origin that says nothing.
        &[("sec-fetch-site", "same-origin"), ("origin", "null")],
        &[("sec-fetch-site", "none")],
    ] {
        assert!(is_taken(&cookie(), headers).await, "{headers:?}");
    }
}

#[tokio::test]
async fn a_page_of_another_origin_may_not_whatever_the_method() {
    for headers in [
        &[("sec-fetch-site", "same-site")][..],
        &[("sec-fetch-site", "same-site"), ("origin", "https://other.example.com")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://evil.example")],
        &[("sec-fetch-site", "cross-site"), ("origin", "null")],
        &[("sec-fetch-site", "cross-site"), ("origin", "")],
        // The same name over plain HTTP, where whoever is on the way writes the page.
        &[("sec-fetch-site", "cross-site"), ("origin", "http://app.example.com")],
        &[("sec-fetch-site", "same-origin"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "")],
        &[("sec-fetch-site", "Same-Origin")],
        &[("sec-fetch-site", "something-new")],
    ] {
        assert!(!is_taken(&cookie(), headers).await, "{headers:?}");
    }
}

#[tokio::test]
async fn a_page_of_an_origin_that_was_named_may_send_it() {
    let named = cookie().with_origins(["https://front.example.com", "HTTP://localhost:3000"]).unwrap();
    for headers in [
        &[("sec-fetch-site", "same-site"), ("origin", "https://front.example.com")][..],
        &[("sec-fetch-site", "cross-site"), ("origin", "https://front.example.com:443")],
        &[("origin", "http://localhost:3000")],
    ] {
        assert!(is_taken(&named, headers).await, "{headers:?}");
    }
    for headers in [
        &[("sec-fetch-site", "same-site")][..],
        &[("origin", "http://front.example.com")],
        &[("origin", "https://front.example.com:8443")],
        &[("origin", "https://front.example.com.evil.example")],
        &[("origin", "https://front.example.com"), ("origin", "https://front.example.com")],
    ] {
        assert!(!is_taken(&named, headers).await, "{headers:?}");
    }
}

#[tokio::test]
async fn without_the_word_of_a_browser_its_origin_is_the_host_or_there_is_none() {
    for headers in [&[][..], &[("origin", OWN)], &[("origin", " ")], &[("origin", "http://APP.example.com:80")]] {
        assert!(is_taken(&cookie(), headers).await, "{headers:?}");
    }
    for headers in [
        &[("origin", "null")][..],
        &[("origin", "https://evil.example")],
        &[("origin", "https://app.example.com:8443")],
        &[("origin", "https://app.example.com.evil.example")],
        &[("origin", "https://evil.app.example.com")],
        &[("origin", "chrome-extension://abc")],
        &[("origin", OWN), ("origin", "https://evil.example")],
        &[("origin", "::::")],
    ] {
        assert!(!is_taken(&cookie(), headers).await, "{headers:?}");
    }
}

#[tokio::test]
async fn in_http_2_the_host_is_that_of_the_target() {
    for (origin, expected) in [(OWN, 200), ("https://evil.example", 401)] {
        let mut request = from_page(&[("origin", origin)]);
        request.headers_mut().remove("host");
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = Uri::from_static("https://app.example.com/");
        assert_eq!(status(layer(cookie()), request).await, expected, "{origin}");
    }
}

#[tokio::test]
async fn a_link_that_is_followed_sends_it_only_where_that_was_chosen() {
    let followed = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(status(layer(cookie()), from_page(&followed)).await, 401);
    assert_eq!(status(layer(cookie().with_links()), from_page(&followed)).await, 200);
    for other in [
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "websocket"), ("sec-fetch-dest", "document")],
        [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
    ] {
        assert_eq!(status(layer(cookie().with_links()), from_page(&other)).await, 401, "{other:?}");
    }
    let mut form = from_page(&followed);
    *form.method_mut() = Method::POST;
    assert_eq!(status(layer(cookie().with_links()), form).await, 401);
}

#[tokio::test]
async fn a_cookie_that_is_not_taken_stands_in_no_ones_way() {
    let request = from_page(&[("sec-fetch-site", "cross-site"), ("authorization", "Bearer t0ken")]);
    assert_eq!(status(layer(cookie()), request).await, 200);
    let request = from_page(&[("sec-fetch-site", "same-origin"), ("authorization", "Bearer t0ken")]);
    assert_eq!(status(layer(cookie()), request).await, 400);
}

#[tokio::test]
async fn no_page_locks_its_visitors_out_of_another_service() {
    let limiter = FailureLimiter::new(FailureLimits::new().with_max_attempts(1));
    let bearer = Bearer::new(StaticToken::new("t0ken")).with_places([cookie().into()]);
    let auth = AuthLayer::from_authenticator(Limited::new(bearer, limiter, |_, _| None));
    let service = auth.layer(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(()))));
    for _ in 0..3 {
        let embedded = from_page(&[("sec-fetch-site", "cross-site")]);
        assert_eq!(service.clone().oneshot(embedded).await.unwrap().status(), 401);
    }
    assert_eq!(service.oneshot(from_page(&[])).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_cookie_is_found_among_others_by_its_very_name() {
    for (sent, expected) in [
        (&["session=t0ken"][..], 200),
        (&["a=b; session=t0ken; c=d"], 200),
        (&["a=b;session=t0ken;"], 200),
        (&["a=b", "session=t0ken"], 200),
        (&["session=\"t0ken\""], 200),
        (&[" session = t0ken "], 200),
        (&["sessions=t0ken"], 401),
        (&["Session=t0ken"], 401),
        (&["__Host-session=t0ken"], 401),
        (&["session"], 401),
        (&["a=session=t0ken"], 401),
        (&["session="], 401),
        (&["session=; session=t0ken"], 200),
        (&["session=t0ken; session=t0ken"], 400),
        (&["session=t0ken", "session=another"], 400),
        (&["session=\"t0ken"], 400),
        (&["session=t0ken=="], 401),
        (&["session=t0 ken"], 400),
        (&["session=t0%6ben"], 400),
        (&["=session; ;;=; session=t0ken"], 200),
    ] {
        let request = sent.iter().fold(Request::builder(), |request, cookie| request.header("cookie", *cookie));
        assert_eq!(status(layer(cookie()), request.body(()).unwrap()).await, expected, "{sent:?}");
    }
}

#[test]
fn a_text_that_is_no_origin_is_an_error() {
    for text in ["", "null", "*", "app.example.com", "https://", "file:///x"] {
        assert_eq!(cookie().with_origins([text]), Err(InvalidPlace::Origin), "{text}");
    }
}

proptest! {
    #[test]
    fn only_a_pages_own_origin_and_none_pass_whatever_the_headers_are(
        site in prop::option::of("same-origin|same-site|cross-site|none|[a-z]{0,3}"),
        origin in prop::option::of("https://app\\.example\\.com|http://app\\.example\\.com|null|https://[a-z.:/@]{0,12}|"),
    ) {
        let headers: Vec<(&str, &str)> = [("sec-fetch-site", &site), ("origin", &origin)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value.as_deref()?)))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let taken = runtime.block_on(is_taken(&cookie(), &headers));
        let expected = match (site.as_deref(), origin.as_deref().map(str::trim)) {
            (Some("same-origin" | "none"), _) => true,
            (Some(_), _) => false,
            (None, None | Some("")) => true,
            (None, Some(origin)) => {
                let authority = origin.split_once("://").map(|(_, rest)| rest.split('/').next().unwrap());
                authority.map(|authority| authority.trim_end_matches(':')) == Some("app.example.com")
            }
        };
        prop_assert_eq!(taken, expected, "{:?}", headers);
    }

    #[test]
    fn whatever_a_cookie_header_holds_is_read_or_refused(cookie_header in "[ -~]{0,40}|([ ;=\"]|session=?|t0ken){0,10}") {
        let layer = layer(cookie()).with_token_syntax(TokenSyntax::Opaque);
        let request = Request::builder().header("cookie", &cookie_header).body(()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let status = runtime.block_on(status(layer, request)).as_u16();
        let named: Vec<_> = cookie_header
            .split(';')
            .filter_map(|pair| pair.split_once('='))
            .filter(|(name, value)| name.trim() == "session" && !matches!(value.trim(), "" | "\"\""))
            .collect();
        match named[..] {
            [] => prop_assert_eq!(status, 401),
            [(_, value)] => prop_assert_eq!(status == 200, matches!(value.trim(), "t0ken" | "\"t0ken\"")),
            _ => prop_assert_eq!(status, 400),
        }
    }
}
