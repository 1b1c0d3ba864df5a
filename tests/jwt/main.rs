//! Signed tokens: which are good, whose they are, and what takes their keys away.

mod algorithms;
mod attacks;
mod claims;
mod events;
mod key_sets;
mod provider;
mod published_vectors;
mod signer;
mod streams;

use http::HeaderValue;
use tower_reauth::{
    Identity,
    verify::{
        BearerToken, VerifyError, VerifyToken,
        jwt::{JwtVerifier, KeySet, Keys},
    },
};

const ISSUER: &str = "https://issuer.example";
const AUDIENCE: &str = "https://api.example";

/// A verifier of [`ISSUER`]'s tokens for [`AUDIENCE`].
fn verifier(keys: impl Into<Keys>) -> JwtVerifier {
    JwtVerifier::new(keys, ISSUER, AUDIENCE)
}

fn key_set(keys: &[serde_json::Value]) -> KeySet {
    KeySet::from_json(serde_json::json!({ "keys": keys }).to_string()).expect("a key set")
}

/// What a verifier says of a token, before the door looks at its dates.
async fn verdict(verifier: &impl VerifyToken, token: &str) -> Result<Identity, VerifyError> {
    let header = HeaderValue::from_str(token).expect("a header can hold it");
    let token = BearerToken::from_header(&header, 0..token.len()).expect("a token");
    verifier.verify(&token).await
}

/// The word for which a verifier rejects a token; `good` where it does not.
async fn word(verifier: &impl VerifyToken, token: &str) -> &'static str {
    match verdict(verifier, token).await {
        Ok(_) => "good",
        Err(error) => error.rejection().unwrap_or_else(|| panic!("{error}")).as_str(),
    }
}
