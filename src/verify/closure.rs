//! Verifiers that are made of closures.

use std::{any::type_name, fmt, future::Future};

use super::{BearerToken, Verification, VerifyError, VerifyToken};
use crate::Identity;

/// Makes a verifier of a closure that knows its answers, or of one that returns a [`Verification`].
///
/// ```
/// use tower_reauth::{AuthMethod, BearerAuthLayer, Identity, verify::{VerifyError, verify_fn}};
///
/// let alice = Identity::new("alice", AuthMethod::Token);
/// let layer = BearerAuthLayer::new(verify_fn(move |token| match token.to_str() {
///     Some("opaque-123") => Ok(alice.clone()),
///     _ => Err(VerifyError::Rejected),
/// }));
/// # let _ = layer;
/// ```
pub fn verify_fn<F, A>(verify: F) -> VerifyFn<F>
where
    F: Fn(&BearerToken) -> A + Send + Sync + 'static,
    A: Into<Verification>,
{
    VerifyFn(verify)
}

/// Makes a verifier of an asynchronous closure, which is cloned for each check.
///
/// What it asks is captured by the closure and cheap to clone, as behind an [`Arc`](std::sync::Arc):
///
/// ```
/// use std::sync::Arc;
/// use tower_reauth::{BearerAuthLayer, Identity, verify::{BearerToken, VerifyError, verify_async}};
///
/// # struct Database;
/// # impl Database {
/// #     async fn owner_of(&self, _: &BearerToken) -> Result<Identity, VerifyError> { Err(VerifyError::Rejected) }
/// # }
/// # let database = Arc::new(Database);
/// let layer = BearerAuthLayer::new(verify_async(async move |token| database.owner_of(&token).await));
/// # let _ = layer;
/// ```
///
/// A closure that returns a future does as well:
///
/// ```
/// # use std::sync::Arc;
/// # use tower_reauth::{BearerAuthLayer, Identity, verify::{BearerToken, VerifyError, verify_async}};
/// # struct Database;
/// # impl Database {
/// #     async fn owner_of(&self, _: &BearerToken) -> Result<Identity, VerifyError> { Err(VerifyError::Rejected) }
/// # }
/// # let database = Arc::new(Database);
/// let layer = BearerAuthLayer::new(verify_async(move |token| {
///     let database = Arc::clone(&database);
///     async move { database.owner_of(&token).await }
/// }));
/// # let _ = layer;
/// ```
pub fn verify_async<F, A>(verify: F) -> VerifyAsync<F>
where
    F: FnOnce(BearerToken) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Identity, VerifyError>> + Send + 'static,
{
    VerifyAsync(verify)
}

/// The verifier that [`verify_fn`] makes.
#[derive(Clone, Copy)]
pub struct VerifyFn<F>(F);

/// The verifier that [`verify_async`] makes.
#[derive(Clone, Copy)]
pub struct VerifyAsync<F>(F);

impl<F, A> VerifyToken for VerifyFn<F>
where
    F: Fn(&BearerToken) -> A + Send + Sync + 'static,
    A: Into<Verification>,
{
    fn verify(&self, token: &BearerToken) -> Verification {
        (self.0)(token).into()
    }
}

// An asynchronous closure that captures anything lends it to its future, and is no `Fn`. By value each
// is callable once.
impl<F, A> VerifyToken for VerifyAsync<F>
where
    F: FnOnce(BearerToken) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Result<Identity, VerifyError>> + Send + 'static,
{
    fn verify(&self, token: &BearerToken) -> Verification {
        Verification::pending(self.0.clone()(token.clone()))
    }
}

impl<F> fmt::Debug for VerifyFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyFn").field(&type_name::<F>()).finish()
    }
}

impl<F> fmt::Debug for VerifyAsync<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VerifyAsync").field(&type_name::<F>()).finish()
    }
}
