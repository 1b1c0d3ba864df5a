//! Who may call: OpenClaw's authentication, put together from the library's parts.
//!
//! [`GatewayAuth`] is what the server hands to `AuthLayer::from_authenticator`, and [`respond`] what it
//! answers refusals with. The server inserts a `PeerAddr` into each request.
//!
//! # How a caller is decided
//!
//! | mode | the caller must show |
//! | --- | --- |
//! | `none` | nothing, but a page of another origin may not call |
//! | `token`, `password` | the shared secret, or a token of their own |
//! | `trusted-proxy` | a user name from a trusted proxy; if there is none and the request is local and direct, the password |
//!
//! 0. What a proxy passed on is refused by [`AttributedLayer`] where it cannot be told for whom: 403.
//! 1. A secret is asked for behind the failure limiter: a client that is locked out is refused before
//!    its credential is looked at. A user name from a proxy, and mode `none`, never meet the limiter.
//! 2. A page of another origin that may not call is refused, and not asked for the password.
//! 3. A stream asks all of it again under the settings of now. What was shown in one way is not taken
//!    for another: a caller that was let in without one has no token when a token is required.

mod bearer;
mod challenge;
mod gateway_auth;
mod ingress;
mod respond;
mod rules;
mod secrets;

pub use self::gateway_auth::GatewayAuth;
#[cfg(feature = "websocket")]
pub use self::ingress::unattributed;
pub use self::ingress::{AttributedLayer, ClientAt};
pub use self::respond::respond;
#[cfg(feature = "websocket")]
pub use self::rules::Page;
