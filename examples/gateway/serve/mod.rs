//! Connections: accepted, served, and let finish at the end.
//!
//! A client that does not read cannot hold a stream for ever. By `write_timeout`:
//!
//! 1. A connection whose socket takes nothing for so long is closed, and with it all it carries.
//! 2. An HTTP/2 connection whose client is silent for so long is pinged, and closed when so long again
//!    no answer comes.
//! 3. An HTTP/2 stream whose client reads the socket but takes nothing more of this stream for so long
//!    is let go ([`stalled`]).
//!
//! A client that takes something now and then, however little, is waited for. One that opens a
//! connection and says nothing is not; one that says the beginning of HTTP/2's preface and no more is, for
//! no timer runs before the protocol is known.

mod stalled;

use std::{convert::Infallible, io, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response, Version};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_io_timeout::TimeoutWriter;
use tokio_util::sync::CancellationToken;
use tower::{Service, util::ServiceExt};
use tower_reauth::proxy::PeerAddr;

/// How long a client may take to say the first word, and then to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long connections may take to finish once the gateway stops.
const DRAIN: Duration = Duration::from_secs(5);

/// Serves until `stop` is cancelled, then lets open requests finish.
pub async fn serve<S>(listener: TcpListener, service: S, write_timeout: Duration, stop: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    http.http2().timer(TokioTimer::new()).keep_alive_interval(write_timeout).keep_alive_timeout(write_timeout);
    let (http, open) = (Arc::new(http), GracefulShutdown::new());

    while let Some(accepted) = stop.run_until_cancelled(accept(&listener)).await {
        let Some((socket, peer)) = accepted else { continue };
        let service = service.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(peer);
            let version = request.version();
            let answer = service.clone().oneshot(request);
            async move {
                let response = answer.await?;
                let shares_its_socket = version == Version::HTTP_2;
                Ok::<_, S::Error>(if shares_its_socket { stalled::let_go(response, write_timeout) } else { response })
            }
        });
        let (http, open, stop) = (Arc::clone(&http), open.watcher(), stop.clone());
        tokio::spawn(async move {
            // The protocol's own timers begin when it is known which protocol it is.
            let mut first = [0];
            let first_word = stop.run_until_cancelled(timeout(HEAD_TIMEOUT, socket.peek(&mut first)));
            let Some(Ok(Ok(1..))) = first_word.await else { return };
            let mut socket = TimeoutWriter::new(socket);
            socket.set_timeout(Some(write_timeout));
            let connection = http.serve_connection(TokioIo::new(Box::pin(socket)), service).into_owned();
            if let Err(error) = Box::pin(open.watch(connection)).await {
                tracing::debug!(error, "connection failed");
            }
        });
    }

    drop(listener);
    if timeout(DRAIN, open.shutdown()).await.is_err() {
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

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, time::Instant};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = tower::service_fn(async |_: Request<Incoming>| Ok(Response::new(Body::empty())));
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, service, Duration::from_secs(1), stop.clone()));

        let mut silent = TcpStream::connect(address).await.unwrap();
        let started = Instant::now();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(started.elapsed().as_secs(), HEAD_TIMEOUT.as_secs());

        // Nor when the gateway stops.
        let mut silent = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        stop.cancel();
        let stopped = Instant::now();
        serving.await.unwrap();
        assert!(stopped.elapsed() < Duration::from_secs(1));
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    }
}
