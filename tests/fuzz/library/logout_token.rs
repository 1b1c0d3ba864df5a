//! A logout token ends the session or the subject that it names, and nothing else; and only one that is of the provider, for
//! this client, not expired and no id token.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::{Map, Value};
use tower::Service;
use tower_reauth::revoke::{Revocations, events::LogoutReceiver};

use super::{
    issuer::{AUDIENCE, ISSUER, has_text},
    security_event::{clock, names_what_is_revoked, revoked, signed},
};
use crate::support;

/// A form as it is, or behind a `!` a token that is put into one.
pub(crate) fn run(input: &[u8]) {
    let form = match input.strip_prefix(b"!") {
        Some(token) => {
            let token: String = form_urlencoded::byte_serialize(token).collect();
            format!("state=1&logout_token={token}").into()
        }
        None => Bytes::copy_from_slice(input),
    };
    let revocations = Revocations::with_clock(clock());
    let mut receiver = LogoutReceiver::new(ISSUER, AUDIENCE, signed, &revocations).with_clock(clock());
    let mut post = || {
        let request = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        let request = request.body(Full::<Bytes>::from(form.clone())).expect("its parts are valid");
        let Ok(response) = support::ready(receiver.call(request));
        assert_eq!(response.headers()["cache-control"], "no-store");
        response.status().as_u16()
    };
    let status = post();
    let listed = revoked(&revocations);
    assert_eq!((post(), revoked(&revocations)), (status, listed.clone()), "the same again changes nothing");
    if status != 200 {
        assert_eq!((status, listed.len()), (400, 0));
        return;
    }

    assert_eq!(listed.len(), 1);
    let tokens: Vec<_> = form_urlencoded::parse(&form).filter(|(name, _)| name == "logout_token").collect();
    let [(_, token)] = &tokens[..] else { panic!("not one token") };
    let (kind, claims) = token.trim_ascii().split_once('\n').expect("a token");
    let kind = kind.to_ascii_lowercase();
    assert!(matches!(kind.strip_prefix("application/").unwrap_or(&kind), "" | "jwt" | "logout+jwt"));
    let claims: Map<String, Value> = serde_json::from_str(claims).expect("an object");
    assert_eq!(claims["iss"], ISSUER);
    assert!(has_text(&claims, "aud", AUDIENCE));
    assert!(claims["jti"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(claims.contains_key("iat") && !claims.contains_key("nonce"));
    let now = clock().now().duration_since(SystemTime::UNIX_EPOCH).as_ref().map_or(0.0, Duration::as_secs_f64);
    assert!(claims["exp"].as_f64().is_some_and(|end| end > now));
    assert!(claims["events"]["http://schemas.openid.net/event/backchannel-logout"].is_object());
    names_what_is_revoked(&revocations, &Value::Object(claims));
}
