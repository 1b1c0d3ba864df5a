//! How a resource server authenticates to an introspection endpoint.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use http::HeaderValue;

use crate::verify::InvalidSecret;

/// How this service authenticates to the endpoint (RFC 7662 section 2.1). `Debug` shows no secret.
#[derive(Clone)]
pub struct ClientAuth(HeaderValue);

impl ClientAuth {
    /// By HTTP Basic, as a client of the authorization server: id and secret are encoded as in a form, as RFC
    /// 6749 section 2.3.1 has it.
    #[must_use]
    pub fn basic(client_id: &str, secret: &str) -> Self {
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encoded(client_id), encoded(secret));
        let value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)));
        Self(sensitive(value.expect("base64 is visible ASCII")))
    }

    /// By a bearer token that the authorization server issued to this service.
    ///
    /// # Errors
    ///
    /// If no header can carry it.
    pub fn bearer(token: &str) -> Result<Self, InvalidSecret> {
        InvalidSecret::check(token.as_bytes())?;
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        value.map(|value| Self(sensitive(value))).map_err(|_| InvalidSecret::ControlCharacter)
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn sensitive(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

impl fmt::Debug for ClientAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientAuth(redacted)")
    }
}
