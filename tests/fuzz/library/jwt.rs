//! Nobody gets in by a token that the issuer has not signed; and of one that it has, header and claims are what the
//! verifier asks for, and the identity is what they say and no more.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};
use tower_reauth::{
    AuthMethod, Identity,
    verify::{
        VerifyToken,
        jwt::{JwtVerifier, KeySet},
    },
};

use super::issuer::{self, AUDIENCE, ISSUER, has_text, words};
use crate::support;

thread_local! {
    static VERIFIER: JwtVerifier = {
        let keys = KeySet::from_json(issuer::key_set().to_string()).expect("a key set");
        JwtVerifier::new(keys, ISSUER, AUDIENCE)
    };
}

/// A token as it is, or behind a `!` the lines of a header and of claims that are signed.
pub(crate) fn run(input: &[u8]) {
    let verify = |token: &[u8]| -> Option<Identity> {
        let token = issuer::bearer(token)?;
        VERIFIER.with(|verifier| support::ready(verifier.verify(&token))).ok()
    };
    let Some(parts) = input.strip_prefix(b"!") else {
        assert!(verify(input).is_none(), "a token that nobody signed");
        return;
    };
    let Some((header, claims)) = support::halves(parts, b'\n') else { return };
    let token = issuer::sign(header, claims);
    let Some(identity) = verify(token.as_bytes()) else { return };

    let object =
        |text: &[u8]| -> Map<String, Value> { serde_json::from_slice(text).expect("what was taken is an object") };
    let (header, claims) = (object(header), object(claims));
    assert!(header["alg"] == "EdDSA" || header["alg"] == "Ed25519");
    assert!(!header.contains_key("crit"));
    if let Some(kind) = header.get("typ") {
        let kind = kind.as_str().expect("a text").to_ascii_lowercase();
        assert!(matches!(kind.strip_prefix("application/").unwrap_or(&kind), "jwt" | "at+jwt"));
    }
    assert!(header.get("kid").is_none_or(|id| id == "1"));
    assert!(!claims.contains_key("cnf") && !claims.contains_key("events"));
    assert_eq!(claims["iss"], ISSUER);
    assert!(has_text(&claims, "aud", AUDIENCE));
    assert_eq!((identity.issuer(), identity.method()), (Some(ISSUER), AuthMethod::Token));
    assert_eq!(claims["sub"], identity.subject());
    assert!(!identity.subject().is_empty());
    assert_eq!(identity.session_id(), claims.get("sid").map(|id| id.as_str().expect("a text")));
    assert_eq!(identity.credential_id(), claims.get("jti").map(|id| id.as_str().expect("a text")));
    assert!(identity.expires_at().is_some(), "a token without an end");
    for (name, date) in [("exp", identity.expires_at()), ("nbf", identity.not_before()), ("iat", identity.issued_at())]
    {
        is_date(claims.get(name), date);
    }
    let scopes = identity.scopes().expect("a signed token says which it has");
    let said: Vec<&str> = ["scope", "scp"].into_iter().flat_map(|name| words(&claims, name)).collect();
    assert!(scopes.iter().all(|scope| said.contains(&scope.as_str())), "{scopes:?} of {said:?}");
    assert!(said.iter().all(|word| word.is_empty() || scopes.iter().any(|scope| scope.as_str() == *word)));
}

/// A date is there where the claim is, and is within a second what that says.
fn is_date(claim: Option<&Value>, date: Option<SystemTime>) {
    assert_eq!(claim.is_some(), date.is_some());
    let (Some(claim), Some(date)) = (claim, date) else { return };
    let said = claim.as_f64().expect("a number");
    let read = match date.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -Duration::as_secs_f64(&before.duration()),
    };
    // A number of floating point has 53 bits.
    assert!((said - read).abs() <= 1.0 + said.abs() / 1e15, "{said} and {read}");
}
