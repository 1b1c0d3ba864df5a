//! The layer.

use tower_layer::Layer;

use super::JsonRpc;

/// Reads calls of JSON-RPC, and lets the streams that answer them end with an error of the call, as described in the
/// [module's documentation](super). It stands inside [`StreamReauthLayer`](crate::StreamReauthLayer).
#[derive(Clone, Copy, Debug)]
pub struct JsonRpcLayer {
    limit: usize,
}

impl JsonRpcLayer {
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

impl Default for JsonRpcLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for JsonRpcLayer {
    type Service = JsonRpc<S>;

    fn layer(&self, inner: S) -> Self::Service {
        JsonRpc { inner, limit: self.limit }
    }
}
