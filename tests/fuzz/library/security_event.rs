//! Events of a transmitter revoke nothing but what they name, and only where the transmitter, the audience and the one
//! event are what the receiver takes; the same event again changes nothing.

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Map, Value};
use tower::Service;
use tower_reauth::{
    Clock,
    revoke::{
        Revocation, Revocations,
        events::{EventReceiver, Signed},
        shared::Entry,
    },
    verify::VerifyError,
};

use super::issuer::{AUDIENCE, ISSUER, has_text};
use crate::support;

pub(super) const PARTNER: &str = "https://partner.example.com";

/// The `typ`, and the claims behind a line end: signed, whatever they are.
pub(super) async fn signed(token: String) -> Result<Signed, VerifyError> {
    let (kind, claims) =
        token.split_once('\n').ok_or_else(|| VerifyError::rejected(tower_reauth::verify::Rejection::MALFORMED))?;
    Signed::new((!kind.is_empty()).then_some(kind), claims.as_bytes())
}

pub(super) fn clock() -> Clock {
    Clock::from_fn(|| SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
}

/// What is revoked, as text, so that it can be compared.
pub(super) fn revoked(revocations: &Revocations) -> BTreeSet<String> {
    revocations.list().into_iter().map(|revocation| Entry::from(revocation).to_string()).collect()
}

pub(crate) fn run(input: &[u8]) {
    let revocations = Revocations::with_clock(clock());
    let mut receiver = EventReceiver::new(ISSUER, AUDIENCE, signed, &revocations)
        .with_subject_issuer(PARTNER)
        .with_critical_subject_members(["user", "device"])
        .with_clock(clock());
    let mut push = || -> u16 {
        let request = Request::post("/").header("content-type", "application/secevent+jwt");
        let request = request.body(Full::<Bytes>::from(Bytes::copy_from_slice(input))).expect("its parts are valid");
        let Ok(response) = support::ready(receiver.call(request));
        let status = response.status().as_u16();
        if status == 400 {
            let Ok(body) = support::ready(response.into_body().collect());
            let body: Value = serde_json::from_slice(&body.to_bytes()).expect("JSON");
            assert!(body["err"].is_string() && body["description"].is_string());
        }
        status
    };
    let status = push();
    let listed = revoked(&revocations);
    assert!(status == 202 || status == 400, "{status}");
    assert_eq!((push(), revoked(&revocations)), (status, listed.clone()), "the same again changes nothing");
    if listed.is_empty() {
        return;
    }

    assert_eq!(status, 202);
    let (kind, claims) = support::halves(input.trim_ascii(), b'\n').expect("a token");
    assert!(kind.eq_ignore_ascii_case(b"secevent+jwt") || kind.eq_ignore_ascii_case(b"application/secevent+jwt"));
    let claims: Map<String, Value> = serde_json::from_slice(claims).expect("an object");
    assert_eq!(claims["iss"], ISSUER);
    assert!(has_text(&claims, "aud", AUDIENCE));
    assert!(claims["jti"].as_str().is_some_and(|id| !id.is_empty()));
    assert!(!claims.contains_key("sub") && !claims.contains_key("exp"));
    let events = claims["events"].as_object().expect("an object");
    assert_eq!(events.len(), 1);
    assert!(events.keys().all(|uri| uri.starts_with("https://schemas.openid.net/secevent/")));
    assert_eq!(listed.len(), 1, "an event is about one");
    names_what_is_revoked(&revocations, &Value::Object(claims));
}

/// Each part of what is revoked stands as a text somewhere in the claims, and no issuer is one that has no say.
pub(super) fn names_what_is_revoked(revocations: &Revocations, claims: &Value) {
    for revocation in revocations.list() {
        let (issuer, name) = match revocation {
            Revocation::Credential { id, .. } => (None, id),
            Revocation::Session { issuer, id, .. } => (issuer, id),
            Revocation::Subject { issuer, subject, issued_before, .. } => {
                assert!(
                    issued_before <= clock().now() + Duration::from_secs(5 * 60),
                    "what is issued in future is good"
                );
                (issuer, subject)
            }
            other => panic!("{other:?} is nobody's"),
        };
        assert!(issuer.is_none_or(|issuer| issuer == ISSUER || issuer == PARTNER));
        assert!(has(claims, &name), "{name:?} is not in the claims");
    }
}

fn has(value: &Value, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        Value::Array(all) => all.iter().any(|one| has(one, text)),
        Value::Object(members) => members.values().any(|one| has(one, text)),
        _ => false,
    }
}
