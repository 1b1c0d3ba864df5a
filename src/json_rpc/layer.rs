//! The layer.

use tower_layer::Layer;

use super::JsonRpcEnding;

/// Lets streams that answer a call of JSON-RPC end with an error of that call, as described in the
/// [module's documentation](super). It stands inside [`StreamReauthLayer`](crate::StreamReauthLayer).
#[derive(Clone, Copy, Debug)]
pub struct JsonRpcEndingLayer {
    limit: usize,
}

impl JsonRpcEndingLayer {
    /// Reads requests of up to 4 MiB.
    #[must_use]
    pub fn new() -> Self {
        Self { limit: 4 << 20 }
    }

    /// Reads requests of up to so many bytes, and answers longer ones with 413.
    #[must_use]
    pub fn with_limit(self, bytes: usize) -> Self {
        Self { limit: bytes }
    }
}

impl Default for JsonRpcEndingLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for JsonRpcEndingLayer {
    type Service = JsonRpcEnding<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JsonRpcEnding { inner, limit: self.limit }
    }
}
