//! The layer.

use std::sync::Arc;

use tower_layer::Layer;

use super::{AllowedHost, AllowedHosts, rules::Rules};
use crate::respond::EmptyBody;

/// Refuses requests for other hosts than those that are allowed, as described in the
/// [module's documentation](super).
#[derive(Clone, Debug)]
pub struct AllowedHostsLayer<R = EmptyBody> {
    rules: Arc<Rules>,
    respond: R,
}

impl AllowedHostsLayer {
    /// Allows the names and addresses of loopback.
    #[must_use]
    pub fn new() -> Self {
        Self { rules: Arc::new(Rules { loopback: true, allowed: Vec::new() }), respond: EmptyBody }
    }
}

impl Default for AllowedHostsLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> AllowedHostsLayer<R> {
    /// Allows these hosts too.
    #[must_use]
    pub fn with_allowed(mut self, hosts: impl IntoIterator<Item = AllowedHost>) -> Self {
        Arc::make_mut(&mut self.rules).allowed.extend(hosts);
        self
    }

    /// Allows no loopback name or address but those that are named.
    #[must_use]
    pub fn without_loopback(mut self) -> Self {
        Arc::make_mut(&mut self.rules).loopback = false;
        self
    }

    /// Answers refusals by `respond`, for instance a closure `Fn(&Denied) -> Response<B>`.
    #[must_use]
    pub fn with_response<T>(self, respond: T) -> AllowedHostsLayer<T> {
        AllowedHostsLayer { rules: self.rules, respond }
    }
}

impl<S, R: Clone> Layer<S> for AllowedHostsLayer<R> {
    type Service = AllowedHosts<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        AllowedHosts { inner, rules: Arc::clone(&self.rules), respond: self.respond.clone() }
    }
}
