//! Errors as OAuth writes them.

use http::Response;

use super::{GrpcOr, Refusal, Respond, detail, sufficient_scope, with_body};
use crate::Denied;

/// Answers with an error as OAuth 2.0 writes it in JSON (RFC 6749 section 5.2); a gRPC call as [`GrpcOr`] does.
///
/// `error` is the code of the challenge (RFC 6750 section 3.1). Where that has none it is the nearest that clients of
/// OAuth know: `invalid_token` for a request without a credential, `temporarily_unavailable` for one that may be good
/// later, `server_error` and `invalid_request` for the rest (RFC 6749 section 4.1.2.1). `error_description` says why in
/// words, but of a 500, and `scope` names scopes that would have been enough.
///
/// ```
/// use http::Response;
/// use tower_reauth::{BearerAuthLayer, Denied, StaticToken, respond::OAuthJson};
///
/// let layer = BearerAuthLayer::new(StaticToken::new("s3cret")).with_response(OAuthJson);
/// # let _ = layer;
///
/// // A handler that refuses later, in the same format.
/// let response: Response<String> = OAuthJson.response(&Denied::Expired);
/// assert_eq!(response.body(), r#"{"error":"invalid_token","error_description":"the credential has expired"}"#);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OAuthJson;

impl OAuthJson {
    /// The response of a handler that refuses. The layer that let the request in adds its challenge, and counts it.
    #[must_use]
    pub fn response<B: From<String>>(self, denied: &Denied) -> Response<B> {
        let mut body = format!(r#"{{"error":"{}""#, code(denied));
        if let Some(detail) = detail(denied) {
            body += &format!(r#","error_description":"{detail}""#);
        }
        if let Some(scope) = sufficient_scope(denied) {
            body += &format!(r#","scope":"{scope}""#);
        }
        body.push('}');
        with_body(denied, "application/json", body)
    }
}

impl<B: Default + From<String>> Respond<B> for OAuthJson {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        GrpcOr(|denied: &Denied| self.response::<B>(denied)).respond(refusal)
    }
}

fn code(denied: &Denied) -> &'static str {
    match denied.status().as_u16() {
        401 => "invalid_token",
        403 => "insufficient_scope",
        429 | 503 => "temporarily_unavailable",
        500 => "server_error",
        _ => "invalid_request",
    }
}
