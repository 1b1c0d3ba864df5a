//! The layer.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use tower_layer::Layer;

use super::{ResourceMetadata, ResourceMetadataService, resources::Resources};
use crate::bearer::Challenge;

/// Serves the metadata of protected resources, as described in the [module's documentation](super).
#[derive(Clone, Debug)]
pub struct ResourceMetadataLayer(Arc<Resources>);

impl ResourceMetadataLayer {
    /// Serves the metadata of these resources: of one, or of one for each host or path.
    #[must_use]
    pub fn new(resources: impl IntoIterator<Item = ResourceMetadata>) -> Self {
        Self(Arc::new(Resources::new(resources)))
    }

    /// The challenge that points to the document. Of several resources it points to the one at the host that the
    /// request is for, and of several there to the one with the longest path that the request's path starts with; to
    /// none where there is none.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        if let Some(only) = self.0.only() {
            return only.challenge();
        }
        let resources = Arc::clone(&self.0);
        Challenge::new().with_resource_metadata_from(move |uri, headers| resources.url_for(uri, headers))
    }

    /// The answer to a request for the metadata, and `None` to any other.
    pub fn answer<B>(&self, request: &Request<B>) -> Option<Response<Bytes>> {
        self.0.answer(request)
    }
}

impl<S> Layer<S> for ResourceMetadataLayer {
    type Service = ResourceMetadataService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        ResourceMetadataService { inner, layer: self.clone() }
    }
}
