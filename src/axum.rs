//! What axum's handlers meet: `Access` and `Identity` as arguments, `Denied` as an answer.

use std::convert::Infallible;

use ::axum::{
    body::Body,
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{
    Access, Denied, Identity,
    respond::{self, Refusal, Respond},
};

/// The request's access; [`Denied::NoAccess`] where no layer put one.
impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        parts.extensions.get().cloned().ok_or(Denied::NoAccess { layer: "the Access extractor" })
    }
}

/// The request's access, if a layer put one: for a handler that stands both inside and outside of the
/// layers. A caller whom a layer refuses does not arrive here as `None`.
impl<S: Sync> OptionalFromRequestParts<S> for Access {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().cloned())
    }
}

/// Who is calling; [`Denied::NoAccess`] where no layer put an [`Access`].
impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        let access: Option<&Access> = parts.extensions.get();
        access.map(Access::identity).ok_or(Denied::NoAccess { layer: "the Identity extractor" })
    }
}

/// Who is calling, if a layer asked.
impl<S: Sync> OptionalFromRequestParts<S> for Identity {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get().map(Access::identity))
    }
}

/// The status and challenge of RFC 6750 and an empty body. A layer further out completes the challenge
/// by the realm and metadata that it was given.
impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        respond::refuse_in_handler(&self)
    }
}

/// Answers refusals by whatever a handler could answer with.
///
/// ```
/// use tower_reauth::{BearerAuthLayer, Denied, StaticToken, axum::respond_with};
///
/// let layer = BearerAuthLayer::new(StaticToken::new("s3cret"))
///     .with_response(respond_with(|denied: &Denied| (denied.status(), denied.to_string())));
/// # let _ = layer;
/// ```
pub fn respond_with<F, T>(respond: F) -> RespondWith<F>
where
    F: Fn(&Denied) -> T,
    T: IntoResponse,
{
    RespondWith(respond)
}

/// The [`Respond`] of [`respond_with`].
#[derive(Clone, Copy, Debug)]
pub struct RespondWith<F>(F);

impl<F, T, B> Respond<B> for RespondWith<F>
where
    F: Fn(&Denied) -> T,
    T: IntoResponse,
    Body: Into<B>,
{
    fn respond(&self, refusal: &Refusal<'_>) -> http::Response<B> {
        (self.0)(refusal.denied()).into_response().map(Into::into)
    }
}
