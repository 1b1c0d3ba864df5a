//! A signed token in its compact form (RFC 7515 section 7.1), before anything of it is believed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::Algorithm;
use crate::{
    claims::{self, Claims},
    verify::{BearerToken, Rejection},
};

/// The parts of a token, and what its header says.
pub(super) struct Compact<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key_id: Option<String>,
    pub(super) kind: Option<String>,
    /// What is signed.
    pub(super) message: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

impl<'a> Compact<'a> {
    /// Reads the header. What would have a key come from the token itself (`jwk`, `jku`, `x5u`, `x5c`) is
    /// passed over; what must be understood (`crit`) is not, so that such a token is refused.
    pub(super) fn parse(token: &'a [u8]) -> Result<Self, Rejection> {
        if token.len() > BearerToken::MAX_LEN {
            return Err(Rejection::MALFORMED);
        }
        let mut parts = token.split(|&byte| byte == b'.');
        let (Some(header), Some(payload), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejection::MALFORMED);
        };
        let message = &token[..header.len() + 1 + payload.len()];
        let mut header = decode_object(header)?;
        let algorithm = match header.get("alg") {
            Some(Value::String(name)) => Algorithm::from_name(name).ok_or(Rejection::WRONG_ALGORITHM)?,
            _ => return Err(Rejection::MALFORMED),
        };
        if header.contains_key("crit") {
            return Err(Rejection::CRITICAL_EXTENSION);
        }
        let mut text = |name| match header.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Rejection::MALFORMED),
        };
        let (key_id, kind) = (text("kid")?, text("typ")?);
        Ok(Self { algorithm, key_id, kind, message, payload, signature })
    }

    pub(super) fn signature(&self) -> Result<Vec<u8>, Rejection> {
        decode(self.signature)
    }

    /// What the token says: to be believed once the signature is checked.
    pub(super) fn claims(&self) -> Result<Claims, Rejection> {
        decode_object(self.payload)
    }
}

/// Without padding, white space or bits that are left over: each content has one text.
fn decode(part: &[u8]) -> Result<Vec<u8>, Rejection> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| Rejection::MALFORMED)
}

fn decode_object(part: &[u8]) -> Result<Claims, Rejection> {
    claims::object(&decode(part)?).map_err(|_| Rejection::MALFORMED)
}
