//! The client that is ready-made.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, crypto::CryptoProvider};

use super::{BoxError, HttpClient, MAX_BODY_LEN, ResponseFuture, secure::is_secure};

/// An HTTP/1.1 client over TLS, of hyper and rustls.
///
/// 1. The whole exchange takes at most ten seconds, and the connection of these at most five.
/// 2. A body is at most [`MAX_BODY_LEN`] long.
/// 3. A redirect is a response like any other: none is followed.
/// 4. A URL is `https`, or `http` to this machine: `localhost`, 127.0.0.0/8, `[::1]`.
/// 5. Certificates are checked against Mozilla's roots, which are compiled in; under the feature
///    `http-client-native-roots` against those of the machine.
/// 6. The cryptography is `ring`'s; under the feature `http-client-aws-lc-rs` that of `aws-lc-rs`. It is named
///    for this client alone: nothing is installed for the process.
///
/// Clones share their connections.
#[derive(Clone)]
pub struct HttpsClient {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    timeout: Duration,
}

/// Why [`HttpsClient`] has no response.
#[derive(Debug)]
#[non_exhaustive]
pub enum HttpsError {
    /// The URL is neither `https` nor one of this machine.
    Insecure,
    /// There was no response in time.
    TimedOut,
    /// The body is longer than [`MAX_BODY_LEN`].
    TooLong,
    /// No connection, or one that broke.
    Failed(BoxError),
    /// There are no roots to check certificates against.
    NoRoots(BoxError),
}

/// How long an exchange takes at most, and how long a connection for it.
const EXCHANGE: Duration = Duration::from_secs(10);
const CONNECT: Duration = Duration::from_secs(5);
/// Shorter than what servers commonly keep an idle connection for.
const IDLE: Duration = Duration::from_secs(30);

impl HttpsClient {
    /// A client without connections.
    ///
    /// # Errors
    ///
    /// Under the feature `http-client-native-roots`, if this machine has no root certificates that can be read.
    pub fn new() -> Result<Self, HttpsError> {
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpsError::NoRoots(error.into()))?;
        #[cfg(feature = "http-client-native-roots")]
        let config = config.with_native_roots().map_err(|error| HttpsError::NoRoots(error.into()))?;
        #[cfg(not(feature = "http-client-native-roots"))]
        let config = config.with_webpki_roots();

        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, timeout: EXCHANGE })
    }

    /// How long the whole exchange takes at most: connection, request and response.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }
}

/// One that is named, and not one that is found: with both compiled in rustls has no default.
fn provider() -> Arc<CryptoProvider> {
    #[cfg(feature = "http-client-aws-lc-rs")]
    return Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    #[cfg(not(feature = "http-client-aws-lc-rs"))]
    return Arc::new(rustls::crypto::ring::default_provider());
}

impl HttpClient for HttpsClient {
    fn send(&self, request: Request<Bytes>) -> ResponseFuture {
        let Self { client, timeout } = self.clone();
        Box::pin(async move {
            if !is_secure(request.uri()) {
                return Err(HttpsError::Insecure.into());
            }
            let exchange = async {
                let response = client.request(request.map(Full::new)).await?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, MAX_BODY_LEN).collect().await?.to_bytes();
                Ok(Response::from_parts(head, body))
            };
            let ended = tokio::time::timeout(timeout, exchange).await.map_err(|_| HttpsError::TimedOut)?;
            ended.map_err(|error: BoxError| {
                if error.is::<LengthLimitError>() {
                    HttpsError::TooLong.into()
                } else {
                    HttpsError::Failed(error).into()
                }
            })
        })
    }
}

impl fmt::Debug for HttpsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpsClient").field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

impl fmt::Display for HttpsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insecure => f.write_str("the URL is neither https nor one of this machine"),
            Self::TimedOut => f.write_str("there was no response in time"),
            Self::TooLong => write!(f, "the response is longer than {MAX_BODY_LEN} bytes"),
            Self::Failed(error) => {
                write!(f, "there was no response: {error}")?;
                // What was refused, not found or not trusted: hyper's own words do not say it.
                let mut cause = error.source();
                while let Some(error) = cause {
                    write!(f, ": {error}")?;
                    cause = error.source();
                }
                Ok(())
            }
            Self::NoRoots(error) => write!(f, "there are no roots to check certificates against: {error}"),
        }
    }
}

impl Error for HttpsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Failed(error) | Self::NoRoots(error) => Some(&**error),
            Self::Insecure | Self::TimedOut | Self::TooLong => None,
        }
    }
}
