//! HTTP/2 streams whose client does not take what it is sent.
//!
//! Each stream has a window of its own (RFC 9113 section 5.2). While it is full the body is not polled,
//! and as the connection is well no deadline on the socket notices: all that the body holds would be
//! held for as long as the client likes. So the body is let go from outside.
//!
//! 1. A stream stands still from when its body gave a frame until it is asked for the next one.
//! 2. When that takes as long as the deadline, the body is dropped. To ask it later is an error, which
//!    resets the stream. Of others on the connection nothing is taken.
//! 3. A response whose length is known passes untouched: it holds nothing but bytes.

use std::{
    io::ErrorKind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep},
};

/// The response, its body let go when its client takes nothing for so long.
pub fn let_go(response: Response<Body>, deadline: Duration) -> Response<Body> {
    response.map(|body| match http_body::Body::size_hint(&body).exact() {
        Some(_) => body,
        None => Body::new(Guarded::new(body, deadline)),
    })
}

struct Guarded {
    stream: Arc<Stream>,
    watching: AbortHandle,
}

struct Stream(Mutex<Progress>);

struct Progress {
    /// `None` once it was let go.
    body: Option<Body>,
    /// When it gave a frame, unless it was asked for the next one since.
    gave: Option<Instant>,
}

impl Guarded {
    fn new(body: Body, deadline: Duration) -> Self {
        let stream = Arc::new(Stream(Mutex::new(Progress { body: Some(body), gave: None })));
        let watching = tokio::spawn(watch(Arc::downgrade(&stream), deadline)).abort_handle();
        Self { stream, watching }
    }
}

impl Stream {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the body go if the deadline is over, and says when to look again if it is not.
    fn look(&self, deadline: Duration) -> Option<Duration> {
        let mut progress = self.progress();
        let stood = progress.gave.map_or(Duration::ZERO, |since| since.elapsed());
        if stood < deadline {
            return Some(deadline - stood);
        }
        let body = progress.body.take();
        drop(progress);
        // Not under the lock: much can hang on a body.
        drop(body);
        None
    }
}

async fn watch(stream: Weak<Stream>, deadline: Duration) {
    let mut wait = deadline;
    loop {
        sleep(wait).await;
        let Some(next) = stream.upgrade().and_then(|stream| stream.look(deadline)) else { return };
        wait = next;
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut progress = self.stream.progress();
        let Some(body) = &mut progress.body else {
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(ErrorKind::TimedOut)))));
        };
        let frame = Pin::new(body).poll_frame(cx);
        progress.gave = frame.is_ready().then(Instant::now);
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.stream.progress().body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.stream.progress().body.as_ref().map_or_else(SizeHint::new, http_body::Body::size_hint)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use futures_util::stream;
    use http_body_util::BodyExt;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A stream without end, and what is there for as long as it is.
    fn stream() -> (Body, Weak<()>) {
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let frames = stream::repeat_with(move || {
            let _ = &held;
            Ok::<_, Infallible>("frame")
        });
        (let_go(Response::new(Body::from_stream(frames)), DEADLINE).into_body(), weak)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_is_let_go_and_then_an_error() {
        let (mut body, held) = stream();
        body.frame().await.unwrap().unwrap();
        sleep(DEADLINE - Duration::from_millis(2)).await;
        assert!(held.upgrade().is_some());
        sleep(Duration::from_millis(4)).await;
        assert!(held.upgrade().is_none());
        assert!(body.frame().await.unwrap().is_err());
        assert!(!http_body::Body::is_end_stream(&body));
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_waited_for() {
        let (mut body, held) = stream();
        for _ in 0..10 {
            body.frame().await.unwrap().unwrap();
            sleep(DEADLINE - Duration::from_millis(2)).await;
        }
        assert!(held.upgrade().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_for_more_is_not_stalled() {
        let waiting = stream::pending::<Result<Bytes, Infallible>>();
        let mut body = let_go(Response::new(Body::from_stream(waiting)), DEADLINE).into_body();
        let waited = tokio::time::timeout(10 * DEADLINE, body.frame()).await;
        assert!(waited.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_left_of_a_stream_that_is_dropped() {
        let (body, held) = stream();
        drop(body);
        assert!(held.upgrade().is_none());
        tokio::task::yield_now().await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0);
    }

    #[test]
    fn what_has_a_length_passes_untouched() {
        // Without a runtime, so nothing can be watching.
        let body = let_go(Response::new(Body::from("page")), DEADLINE).into_body();
        assert_eq!(http_body::Body::size_hint(&body).exact(), Some(4));
    }
}
