//! Connections to the upstream: HTTP/1.1, over TLS where its URL says so.
//!
//! Certificates are checked against those that the machine trusts, so that an upstream may have one of its own
//! network's. The cryptography is named, as rustls has no default where two are compiled in.

use std::{error::Error, io, sync::Arc, time::Duration};

use axum::body::Body;
use http::Uri;
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::{
    client::legacy::{self, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use tokio::{net::TcpStream, time::timeout};
use tower::{ServiceExt, service_fn, util::BoxCloneSyncService};

type BoxError = Box<dyn Error + Send + Sync>;

pub type Client = legacy::Client<BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>, Body>;

/// How long a connection may take, the handshake of TLS with it.
const CONNECT: Duration = Duration::from_secs(10);
/// Shorter than what servers commonly keep an idle connection for.
const IDLE: Duration = Duration::from_secs(30);

/// A client without connections. An error if the machine trusts nobody whom an `https` URL could be asked by.
pub fn new(is_https: bool) -> Result<Client, BoxError> {
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?;
    let config = match is_https {
        true => config.with_native_roots().map_err(|error| format!("no certificate is trusted here: {error}"))?,
        false => config.with_root_certificates(RootCertStore::empty()),
    };
    let mut connector = HttpConnector::new();
    connector.enforce_http(false);
    connector.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(config.with_no_client_auth())
        .https_or_http()
        .enable_http1()
        .wrap_connector(connector);
    let within = service_fn(move |url| {
        let connecting = timeout(CONNECT, connector.clone().oneshot(url));
        async { connecting.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into())) }
    });
    Ok(legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .build(BoxCloneSyncService::new(within)))
}

/// An error, and what it was caused by: hyper's own words do not say it.
pub fn causes(error: &(dyn Error + 'static)) -> String {
    std::iter::successors(error.source(), |error| (*error).source())
        .fold(error.to_string(), |said, cause| format!("{said}: {cause}"))
}
