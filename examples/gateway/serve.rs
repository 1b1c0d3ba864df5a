//! Connections: accepted, served, and let finish at the end.

use std::{convert::Infallible, io, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::{Service, util::ServiceExt};
use tower_reauth::proxy::PeerAddr;

/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections may take to finish once the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then lets open requests finish.
pub async fn serve<S>(listener: TcpListener, service: S, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.http2().timer(TokioTimer::new());
    let open = GracefulShutdown::new();

    while let Some(accepted) = stop.run_until_cancelled(accept(&listener)).await {
        let Some((socket, peer)) = accepted else { continue };
        let service = service.clone().map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            request
        });
        let connection = http.serve_connection(TokioIo::new(socket), TowerToHyperService::new(service));
        let connection = open.watch(connection.into_owned());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error, "connection failed");
            }
        });
    }

    drop(listener);
    if tokio::time::timeout(DRAIN, open.shutdown()).await.is_err() {
        tracing::warn!("some connections did not finish in time");
    }
}

async fn accept(listener: &TcpListener) -> Option<(TcpStream, PeerAddr)> {
    match listener.accept().await {
        Ok((socket, peer)) => {
            // An event is small and must not wait for the next one.
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!(%error, "TCP_NODELAY could not be set");
            }
            Some((socket, PeerAddr(peer)))
        }
        Err(error) => {
            // Out of file descriptors, most likely: others must finish before the next can come.
            if error.kind() != io::ErrorKind::ConnectionAborted {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            None
        }
    }
}
