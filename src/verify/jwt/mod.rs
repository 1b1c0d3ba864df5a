//! JSON Web Tokens (RFC 7519): a [`JwtVerifier`] checks them with the keys of their issuer.
//!
//! ```
//! use http::Request;
//! use tower::{Layer, ServiceExt, service_fn};
//! use tower_reauth::{
//!     Access, BearerAuthLayer,
//!     verify::jwt::{JwtVerifier, KeySet},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let keys = KeySet::from_json(
//!     r#"{"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "a", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#,
//! )?;
//! let verifier = JwtVerifier::new(keys, "https://issuer.example", "https://api.example");
//!
//! let service = BearerAuthLayer::new(verifier).layer(service_fn(async |request: Request<()>| {
//!     let access: &Access = request.extensions().get().expect("the layer put it there");
//!     Ok::<_, std::convert::Infallible>(http::Response::new(access.identity().subject().to_owned()))
//! }));
//! # let token = |signature: &str| {
//! #     let header = "eyJhbGciOiJFZERTQSIsImtpZCI6ImEifQ";
//! #     let claims = "eyJpc3MiOiJodHRwczovL2lzc3Vlci5leGFtcGxlIiwiYXVkIjoiaHR0cHM6Ly9hcGkuZXhhbXBsZSIsInN1YiI6ImFsaWNlIiwiZXhwIjo0MDAwMDAwMDAwfQ";
//! #     format!("Bearer {header}.{claims}.{signature}")
//! # };
//! # let signature = "BVhQKVVauYTVOkwKWUrpUNZ_cgWry2pdP9bWz2hSsse8jWYL6bR27ADOVzfD1aCKiD6I79xyxpnPrR7aXe-FAg";
//! let alice = Request::builder().header("authorization", token(signature)).body(())?;
//! assert_eq!(service.clone().oneshot(alice).await?.body(), "alice");
//!
//! let forged = Request::builder().header("authorization", token("AAAA")).body(())?;
//! assert_eq!(service.oneshot(forged).await?.status(), 401);
//! # Ok(())
//! # }
//! ```
//!
//! The keys of an issuer that publishes them, under the feature `jwks`: see the module `jwks`, whose `Jwks` is handed
//! to [`JwtVerifier::new`] in place of the set.
//!
//! # The rules
//!
//! A token is let in by these, in this order; where it is not, the [`Rejection`](super::Rejection) is in the log and
//! in the metric.
//!
//! 1. It is at most [`BearerToken::MAX_LEN`](super::BearerToken::MAX_LEN) long and has three parts of base64url, each
//!    content in its one text: no padding, no bits left over. Its header and claims are JSON objects in which no
//!    name occurs twice, at any depth (`malformed`).
//! 2. Its `alg` is one of [`Algorithm`]: neither `none` nor one with a secret (`wrong_algorithm`).
//! 3. It has no `crit`, for there is nothing here that such an extension could be (`critical_extension`).
//! 4. Its `kid` names a key of the set (`unknown_key`). Without one the set has but one key for its `alg`. What a
//!    token brings along or points to (`jwk`, `jku`, `x5c`, `x5u`) is not looked at.
//! 5. Its `alg` is that of the key (`wrong_algorithm`), which was fixed when the key was read.
//! 6. Its signature is the key's (`bad_signature`).
//! 7. Its `typ` is `JWT`, `at+jwt` or absent, or the one that is [required](JwtVerifier::with_type), and it has no
//!    `events` (`wrong_type`): a logout token or a security event of the same issuer is no access token, whatever its
//!    `typ` says.
//! 8. It has no `cnf`: it would be good only with the proof of a key (RFC 9449, RFC 8705), which a bearer token comes
//!    without (`bound_to_key`).
//! 9. `iss` is the issuer (`wrong_issuer`), and one of `aud` an audience (`wrong_audience`).
//! 10. `sub` and `exp` are there (`missing_claim`).
//! 11. `sub` and `jti` are texts, `exp`, `nbf` and `iat` are numbers that are dates, `scope` and `scp` are texts or
//!     arrays of texts that are scope-tokens (`invalid_claim`). A claim of another type is never taken for one that
//!     is absent.
//! 12. Its dates are for the door to judge, by its clock and its
//!     [leeway](crate::bearer::AuthLayer::with_leeway), and in a stream for as long as it lasts: `nbf` has come
//!     (`not_yet_valid`), `exp` has not.
//!
//! Of the identity [`issuer`](crate::Identity::issuer) is `iss`, [`subject`](crate::Identity::subject) `sub`,
//! [`credential_id`](crate::Identity::credential_id) `jti`, [`issued_at`](crate::Identity::issued_at) `iat`, and
//! [`scopes`](crate::Identity::scopes) are those of `scope` and `scp`.
//!
//! # Recipes
//!
//! What the providers that people have need beside the issuer, as it stands in their discovery document:
//!
//! | provider | audience | and |
//! | --- | --- | --- |
//! | Keycloak | the client id or name that an *audience* mapper adds; never that of a client that logs people in, whose ID tokens have it too | roles: `.with_scopes_at(["realm_access", "roles"])`, or `["resource_access", "<client>", "roles"]` |
//! | Microsoft Entra ID | the application's id for tokens of version 2, its `api://` URI for those of version 1; the issuer is that of one tenant, never `common` | `.with_subject_claim("oid")`, for `sub` is another in each application; roles: `.with_scopes_at(["roles"])` |
//! | Auth0 | the API's identifier; the issuer ends in a slash | `.with_type("at+jwt")` where the API's profile is RFC 9068; permissions: `.with_scopes_at(["permissions"])` |
//! | Amazon Cognito | the app client's id, with `.with_audience_claim("client_id")`, for an access token has no `aud` | groups: `.with_scopes_at(["cognito:groups"])` |
//!
//! Whoever can name a role there can name a scope here. Where that are two sorts of people, read the roles as
//! [claims](JwtVerifier::with_claims) instead and resolve scopes by a strategy of your own.
//!
//! # Cryptography
//!
//! Under the feature `jwt` it is that of RustCrypto, which needs no C compiler, under `jwt-aws-lc-rs` that of
//! `aws-lc-rs`. With both, the latter, unless [`Crypto`] says otherwise; with neither a key set is an error. Both
//! are behind `jsonwebtoken`, whose Rust is 1.88.

mod algorithm;
mod claims;
mod compact;
mod key;
mod key_set;
mod keys;
mod verifier;

#[cfg(feature = "jwks")]
pub(super) use self::keys::Asked;
#[cfg(feature = "security-events")]
pub(crate) use self::keys::{Signed, Unopened};
pub use self::{
    algorithm::{Algorithm, Crypto},
    key::UnusableKey,
    key_set::{InvalidKeySet, KeySet, SkippedKey},
    keys::Keys,
    verifier::JwtVerifier,
};
