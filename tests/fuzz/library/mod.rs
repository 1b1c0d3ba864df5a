//! The targets of the library: what strangers, providers and other nodes send.

pub(crate) mod client_address;
pub(crate) mod credentials;
pub(crate) mod declared_scopes;
pub(crate) mod discovery;
pub(crate) mod event_stream;
pub(crate) mod failure_store;
pub(crate) mod grpc_web;
pub(crate) mod hosts;
pub(crate) mod introspection;
mod issuer;
pub(crate) mod json_rpc;
pub(crate) mod jwt;
pub(crate) mod key_set;
pub(crate) mod logout_token;
pub(crate) mod origin;
pub(crate) mod proxied_user;
pub(crate) mod revocation_log;
pub(crate) mod scopes;
pub(crate) mod security_event;

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame};

/// A body that never has anything.
struct Pending;

impl Body for Pending {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}
