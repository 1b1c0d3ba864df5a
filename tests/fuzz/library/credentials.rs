//! A token is found in every place of a request's head where it may stand, and nowhere else: a second reading of the
//! rules comes to the same answer. Who is refused is told one of four sentences, and of who is let in the
//! handler sees no token in the target or among the subprotocols.

use std::{cell::RefCell, convert::Infallible, future::Ready};

use http::{HeaderMap, Request, Response, StatusCode, Uri};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Identity,
    bearer::{Place, TokenCookie},
    verify::{BearerToken, VerifyError, verify_fn},
};

use crate::support;

const ORIGIN: &str = "https://app.example.com";

/// What a handler sees.
#[derive(Default)]
struct Seen {
    token: Vec<u8>,
    uri: Uri,
    headers: HeaderMap,
}

thread_local! {
    static LAYER: RefCell<BearerAuthLayer> = RefCell::new(layer());
}

fn layer() -> BearerAuthLayer {
    let verifier = verify_fn(|token: &BearerToken| {
        let token = token.as_bytes();
        if token.starts_with(b"wrong") {
            return Err(VerifyError::Rejected);
        }
        Ok(Identity::new("somebody", AuthMethod::Token).with_claims(token.to_vec()))
    });
    BearerAuthLayer::new(verifier).with_places([
        Place::AUTHORIZATION,
        Place::header("x-api-key".parse().expect("a name")).expect("a place"),
        Place::QUERY,
        TokenCookie::new("session").expect("a name").with_origins([ORIGIN]).expect("an origin").into(),
        Place::subprotocol("bearer.").expect("a prefix"),
    ])
}

pub(crate) fn run(input: &[u8]) {
    let Some(request) = support::head(input) else { return };
    let expected = read(&request);
    let before = request.uri().clone();

    let handler = service_fn(|request: Request<()>| -> Ready<Result<Response<Seen>, Infallible>> {
        let access: &Access = request.extensions().get().expect("who is let in has access");
        let token = access.identity().claims::<Vec<u8>>().expect("the verifier put it there").clone();
        let seen = Seen { token, uri: request.uri().clone(), headers: request.headers().clone() };
        std::future::ready(Ok(Response::new(seen)))
    });
    let mut service = LAYER.with_borrow(|layer| layer.layer(handler));
    let Ok(response) = support::ready(async { service.ready().await?.call(request).await });

    let (status, challenge) = match &expected {
        Found::Token(token) if token.starts_with(b"wrong") => {
            (StatusCode::UNAUTHORIZED, "Bearer error=\"invalid_token\"")
        }
        Found::Token(token) => {
            let seen = response.body();
            assert_eq!(&seen.token, token);
            hides_the_token(&before, seen);
            (StatusCode::OK, "")
        }
        Found::Nothing => (StatusCode::UNAUTHORIZED, "Bearer"),
        Found::Malformed => (StatusCode::BAD_REQUEST, "Bearer error=\"invalid_request\""),
    };
    assert_eq!(response.status(), status);
    if status != StatusCode::OK {
        let said: Vec<_> = response.headers().iter().filter(|(name, _)| *name != "cache-control").collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].1, challenge);
    }
}

fn hides_the_token(before: &Uri, seen: &Seen) {
    let parameters = |uri: &Uri| -> Vec<String> {
        let all = uri.query().into_iter().flat_map(|query| query.split('&'));
        all.filter(|parameter| !names_the_token(parameter)).map(str::to_owned).collect()
    };
    assert!(!seen.uri.query().is_some_and(|query| query.split('&').any(names_the_token)));
    assert_eq!(parameters(before), parameters(&seen.uri), "what else was in the query is still there");
    assert_eq!(before.path(), seen.uri.path());
    assert_eq!(before.authority(), seen.uri.authority());
    assert!(subprotocols(&seen.headers).is_empty());
}

/// What a request presents, in one place or in all of them.
#[derive(Debug, PartialEq)]
enum Found {
    Nothing,
    Malformed,
    Token(Vec<u8>),
}

/// The rules of `tower_reauth::bearer`, read by themselves.
fn read<B>(request: &Request<B>) -> Found {
    let headers = request.headers();
    let all = |name: &str| -> Vec<&[u8]> { headers.get_all(name).iter().map(|value| value.as_bytes()).collect() };

    let authorization = match all("authorization")[..] {
        [] => Found::Nothing,
        [one] => {
            let end = one.iter().position(|&byte| byte == b' ').unwrap_or(one.len());
            let spaces = one[end..].iter().take_while(|&&byte| byte == b' ').count();
            match one[..end].eq_ignore_ascii_case(b"bearer") {
                true => token(&one[end + spaces..]),
                false => Found::Nothing,
            }
        }
        _ => Found::Malformed,
    };
    let key = match all("x-api-key")[..] {
        [] => Found::Nothing,
        [one] => token(one.trim_ascii()),
        _ => Found::Malformed,
    };
    let query = request.uri().query().unwrap_or_default();
    let query = match query.split('&').filter(|parameter| names_the_token(parameter)).collect::<Vec<_>>()[..] {
        [] => Found::Nothing,
        [one] => decoded(one.split_once('=').map_or("", |(_, value)| value).as_bytes())
            .map_or(Found::Malformed, |one| token(&one)),
        _ => Found::Malformed,
    };
    let pairs = all("cookie").into_iter().flat_map(|line| line.split(|&byte| byte == b';'));
    let cookies: Vec<&[u8]> = pairs
        .filter_map(|pair| support::halves(pair, b'='))
        .filter(|(name, _)| name.trim_ascii() == b"session")
        .map(|(_, value)| value.trim_ascii())
        .map(|value| value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value))
        .filter(|value| !value.is_empty())
        .collect();
    let cookie = match cookies[..] {
        [] => Found::Nothing,
        _ if !may_send_cookies(request) => Found::Nothing,
        [one] => token(one),
        _ => Found::Malformed,
    };
    let subprotocol = match &subprotocols(headers)[..] {
        [] => Found::Nothing,
        [one] => decoded(one).map_or(Found::Malformed, |one| token(&one)),
        _ => Found::Malformed,
    };

    let mut found: Vec<Found> =
        [authorization, key, query, cookie, subprotocol].into_iter().filter(|one| *one != Found::Nothing).collect();
    match found.len() {
        0 => Found::Nothing,
        1 => found.remove(0),
        _ => Found::Malformed,
    }
}

/// RFC 6750 section 2.1: `b64token`.
fn token(text: &[u8]) -> Found {
    let unpadded = text.iter().rposition(|&byte| byte != b'=').map_or(0, |last| last + 1);
    let is_one =
        unpadded > 0 && text[..unpadded].iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte));
    if is_one { Found::Token(text.to_vec()) } else { Found::Malformed }
}

fn names_the_token(parameter: &str) -> bool {
    let name = parameter.split('=').next().unwrap_or_default();
    decoded(name.as_bytes()).is_some_and(|name| name == b"access_token")
}

/// The tokens among the subprotocols, as they are written.
fn subprotocols(headers: &HeaderMap) -> Vec<Vec<u8>> {
    let lines = headers.get_all("sec-websocket-protocol").iter();
    let offered = lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b','));
    offered.filter_map(|protocol| protocol.trim_ascii().strip_prefix(b"bearer.")).map(<[u8]>::to_vec).collect()
}

/// Without percent-encoding; none where a percent sign has no two digits behind it.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%' {
            let digits = text.get(at + 1..at + 3).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            at += 3;
        } else {
            bytes.push(text[at]);
            at += 1;
        }
    }
    Some(bytes)
}

/// Rules 1 to 5 of "Who may send a cookie". What an origin is, and whether it is at a host, is for another target to say.
fn may_send_cookies<B>(request: &Request<B>) -> bool {
    let all =
        |name: &str| -> Vec<&[u8]> { request.headers().get_all(name).iter().map(|value| value.as_bytes()).collect() };
    let sites = all("sec-fetch-site");
    if !sites.is_empty() && sites.iter().all(|site| matches!(*site, b"same-origin" | b"none")) {
        return true;
    }
    let origins: Vec<_> = all("origin").into_iter().filter(|origin| !origin.trim_ascii().is_empty()).collect();
    let [origin] = origins[..] else { return origins.is_empty() && sites.is_empty() };
    let origin = std::str::from_utf8(origin).ok().and_then(|text| text.parse::<tower_reauth::proxy::Origin>().ok());
    let Some(origin) = origin else { return false };
    if origin.to_string() == ORIGIN {
        return true;
    }
    if !sites.is_empty() {
        return false;
    }
    match all("host")[..] {
        [] => request.uri().authority().is_some_and(|authority| origin.is_at(authority.as_str())),
        [host] => std::str::from_utf8(host).is_ok_and(|host| origin.is_at(host)),
        _ => false,
    }
}
