//! Problem details.

use http::Response;

use super::{GrpcOr, Refusal, Respond, detail, sufficient_scope, with_body};
use crate::Denied;

/// Answers with problem details (RFC 9457), `application/problem+json`; a gRPC call as [`GrpcOr`] does.
///
/// `title` is the phrase of the status, as for every problem without a `type` of its own (section 4.2.1), and `detail`
/// says why in words. Two members are extensions (section 3.2): `reason`, the word of [`Denied::as_str`], and `scope`,
/// scopes that would have been enough. A 500 has neither `detail` nor `reason`, for what is wrong with a server is in
/// its log.
///
/// ```
/// use http::Response;
/// use tower_reauth::{BearerAuthLayer, Denied, StaticToken, respond::ProblemJson};
///
/// let layer = BearerAuthLayer::new(StaticToken::new("s3cret")).with_response(ProblemJson);
/// # let _ = layer;
///
/// // A handler that refuses later, in the same format.
/// let response: Response<String> = ProblemJson.response(&Denied::Expired);
/// assert_eq!(response.headers()["content-type"], "application/problem+json");
/// assert_eq!(
///     response.body(),
///     r#"{"title":"Unauthorized","status":401,"detail":"the credential has expired","reason":"expired"}"#
/// );
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ProblemJson;

impl ProblemJson {
    /// The response of a handler that refuses. The layer that let the request in adds its challenge, and counts it.
    #[must_use]
    pub fn response<B: From<String>>(self, denied: &Denied) -> Response<B> {
        let status = denied.status();
        let title = status.canonical_reason().unwrap_or_default();
        let mut body = format!(r#"{{"title":"{title}","status":{}"#, status.as_u16());
        if let Some(detail) = detail(denied) {
            body += &format!(r#","detail":"{detail}","reason":"{}""#, denied.told().as_str());
        }
        if let Some(scope) = sufficient_scope(denied) {
            body += &format!(r#","scope":"{scope}""#);
        }
        body.push('}');
        with_body(denied, "application/problem+json", body)
    }
}

impl<B: Default + From<String>> Respond<B> for ProblemJson {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<B> {
        GrpcOr(|denied: &Denied| self.response::<B>(denied)).respond(refusal)
    }
}
