//! What axum's handlers meet: `Access` and `Identity` as arguments, `Denied` as an answer.

use axum_core::{
    body::Body,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::request::Parts;

use crate::{Access, Denied, Identity, challenge::Challenge, respond};

/// The request's access; [`Denied::NoAccess`] where no layer put one.
impl<S: Sync> FromRequestParts<S> for Access {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Denied> {
        parts.extensions.get().cloned().ok_or(Denied::NoAccess { layer: "the Access extractor" })
    }
}

/// Who is calling; [`Denied::NoAccess`] where no layer put an [`Access`].
impl<S: Sync> FromRequestParts<S> for Identity {
    type Rejection = Denied;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Denied> {
        Ok(Access::from_request_parts(parts, state).await?.identity())
    }
}

/// The status, the challenge of RFC 6750 and an empty body.
impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let empty = |denied: &Denied| {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = denied.status();
            response
        };
        respond::refuse(&self, &Challenge::new(), &empty)
    }
}
