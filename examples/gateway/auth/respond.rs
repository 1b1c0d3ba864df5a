//! Refusals in OpenClaw's JSON.
//!
//! `WWW-Authenticate` and `Retry-After` are the library's to add, also to what a handler refuses: it finds the
//! reason in the response's extensions.

use axum::body::Body;
use http::{Response, StatusCode};
use tower_reauth::Denied;

use crate::http::reply;

/// The response to `denied`.
///
/// Whatever is wrong with a credential is 401, as with OpenClaw. Where OpenClaw has no such answer (a
/// verifier that cannot tell, a server that is put together wrongly) the shape is the same.
pub fn respond(denied: &Denied) -> Response<Body> {
    let mut response = match denied {
        Denied::Missing | Denied::Malformed | Denied::Rejected | Denied::Expired | Denied::Revoked => {
            reply::unauthorized()
        }
        Denied::LockedOut { .. } => reply::refusal(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limited",
            "Too many failed authentication attempts. Please try again later.",
        ),
        Denied::NoHost => reply::malformed_host(),
        Denied::Misdirected => reply::refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected_request",
            "The gateway answers for loopback names only, and for those of --allow-host.",
        ),
        Denied::InsufficientScope { required, .. } => reply::missing_scope(&required.scopes().to_string()),
        Denied::Unavailable { .. } => reply::refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "Credentials cannot be verified now. Please try again later.",
        ),
        _ => reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Internal Server Error"),
    };
    response.extensions_mut().insert(denied.clone());
    response
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::{Request, header::CONTENT_TYPE};
    use http_body_util::BodyExt;
    use tower::{ServiceBuilder, ServiceExt, service_fn};
    use tower_reauth::{RequireScopeLayer, Scope, verify::VerifyError};

    use super::*;

    async fn answer(denied: Denied) -> (u16, String) {
        let response: Response<Body> = respond(&denied);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/json; charset=utf-8");
        read(response).await
    }

    async fn read(response: Response<Body>) -> (u16, String) {
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn whatever_is_wrong_with_a_credential_is_one_answer() {
        for denied in [Denied::Missing, Denied::Malformed, Denied::Rejected, Denied::Expired, Denied::Revoked] {
            let body = r#"{"error":{"message":"Unauthorized","type":"unauthorized"}}"#;
            assert_eq!(answer(denied).await, (401, body.to_owned()));
        }
    }

    #[tokio::test]
    async fn a_lockout_an_outage_and_a_mistake_of_ours_are_told_apart() {
        let second = std::time::Duration::from_secs(1);
        for (denied, status, kind) in [
            (VerifyError::locked_out_for(second).into(), 429, "rate_limited"),
            (VerifyError::unavailable().into(), 503, "unavailable"),
            (Denied::NoPeer, 500, "internal_error"),
        ] {
            let (answered, body) = answer(denied).await;
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!((answered, body["error"]["type"].as_str()), (status, Some(kind)));
        }
    }

    #[tokio::test]
    async fn a_missing_scope_is_named() {
        let access = tower_reauth::Access::new(tower_reauth::Identity::new("a", tower_reauth::AuthMethod::Anonymous));
        let service = ServiceBuilder::new()
            .layer(RequireScopeLayer::new(Scope::from_static("operator.read")).with_response(respond))
            .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Body::empty()))));
        let request = Request::builder().extension(access).body(()).unwrap();
        let body = r#"{"ok":false,"error":{"type":"forbidden","message":"missing scope: operator.read","details":{"code":"MISSING_SCOPE","missingScope":"operator.read","requiredScopes":["operator.read"]}}}"#;
        assert_eq!(read(service.oneshot(request).await.unwrap()).await, (403, body.to_owned()));
    }

    #[tokio::test]
    async fn a_reason_is_quoted_as_json() {
        let (_, body) = read(reply::forbidden(r#"not "yours""#)).await;
        assert_eq!(body, r#"{"ok":false,"error":{"type":"forbidden","message":"not \"yours\""}}"#);
    }
}
