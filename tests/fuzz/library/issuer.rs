//! The issuer whose tokens are good.

use std::sync::LazyLock;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Map, Value, json};
use tower_reauth::verify::BearerToken;

pub(super) const ISSUER: &str = "https://issuer.example.com";
pub(super) const AUDIENCE: &str = "https://api.example.com";

static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[7; 32]));

/// The `x` of the public key.
pub(super) fn public_key() -> String {
    URL_SAFE_NO_PAD.encode(KEY.verifying_key())
}

/// The key set that the issuer publishes.
pub(super) fn key_set() -> Value {
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "1", "x": public_key() }] })
}

/// A token of the issuer with this header and these claims, whatever they are.
pub(super) fn sign(header: &[u8], claims: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(KEY.sign(message.as_bytes()).to_bytes());
    format!("{message}.{signature}")
}

/// A request's token.
pub(super) fn bearer(token: &[u8]) -> Option<BearerToken> {
    BearerToken::from_header(&http::HeaderValue::from_bytes(token).ok()?, 0..token.len())
}

/// Whether a member is the text, or an array of texts that has it.
pub(super) fn has_text(members: &Map<String, Value>, name: &str, text: &str) -> bool {
    match &members[name] {
        Value::Array(all) => all.iter().all(Value::is_string) && all.iter().any(|one| one == text),
        one => one == text,
    }
}

/// The words of a member that is a text, or an array of texts; of one that is absent there are none.
pub(super) fn words<'a>(members: &'a Map<String, Value>, name: &str) -> Vec<&'a str> {
    match members.get(name) {
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
        Some(Value::String(text)) => text.split(' ').collect(),
        _ => Vec::new(),
    }
}
