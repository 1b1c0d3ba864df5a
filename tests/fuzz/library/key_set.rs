//! Each key of a set is used or skipped, with a reason; and the set lets in a token that was signed with a key of its own,
//! and of no other.

use std::sync::LazyLock;

use serde_json::Value;
use tower_reauth::verify::{
    VerifyToken,
    jwt::{JwtVerifier, KeySet},
};

use super::issuer::{self, AUDIENCE, ISSUER};
use crate::support;

/// Good tokens: one that names its key, and one that does not.
static TOKENS: LazyLock<[String; 2]> = LazyLock::new(|| {
    let claims = format!(r#"{{"iss":"{ISSUER}","aud":"{AUDIENCE}","sub":"alice","exp":4000000000}}"#);
    [r#"{"alg":"EdDSA","kid":"1"}"#, r#"{"alg":"EdDSA"}"#]
        .map(|header| issuer::sign(header.as_bytes(), claims.as_bytes()))
});

pub(crate) fn run(input: &[u8]) {
    let set = match KeySet::from_json(input) {
        Ok(set) => set,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    let text: Value = serde_json::from_slice(input).expect("what was read is JSON");
    let listed = text["keys"].as_array().expect("there are keys");
    assert_eq!(set.len() + set.skipped().len(), listed.len());
    for skipped in set.skipped() {
        assert!(skipped.index < listed.len());
        assert!(!skipped.to_string().is_empty());
    }

    let public_key = issuer::public_key();
    let is_ours = |key: &Value| key["x"] == public_key && key["kty"] == "OKP" && key["crv"] == "Ed25519";
    let verifier = JwtVerifier::new(set, ISSUER, AUDIENCE);
    for token in &*TOKENS {
        let token = issuer::bearer(token.as_bytes()).expect("a token");
        if support::ready(verifier.verify(&token)).is_ok() {
            assert!(listed.iter().any(is_ours), "signed with a key that is not in the set");
        }
    }
}
