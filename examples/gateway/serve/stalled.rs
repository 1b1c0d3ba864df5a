//! HTTP/2 streams whose client does not take what it is sent.
//!
//! Each stream has a window of its own (RFC 9113 section 5.2). While it is full the body is not polled,
//! and as the connection is well no deadline on the socket notices: all that the body holds would be
//! held for as long as the client likes. So the body is let go from outside.
//!
//! 1. A stream stands still from when its body is there, or gave a frame, until it is asked for the next one.
//! 2. When that takes as long as the deadline, the body is dropped. To ask it later is an error, which
//!    resets the stream. Of others on the connection nothing is taken; where nothing was taken of them either,
//!    the [connection](super::connection) is closed.
//! 3. A frame is given in pieces, each a copy: the connection holds the last piece that was given, and it must
//!    not hold the page with it. The last of them may wait for its window when the body has ended.

use std::{
    io::ErrorKind,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll, ready},
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

use super::connection::Asking;

/// The largest piece: as much as a frame of HTTP/2 carries by default.
const PIECE: usize = 16 * 1024;

/// The response, its body let go when its client takes nothing for so long.
pub fn let_go(response: Response<Body>, asking: Asking) -> Response<Body> {
    response.map(|body| match http_body::Body::is_end_stream(&body) {
        true => body,
        false => Body::new(Guarded::new(body, asking)),
    })
}

struct Guarded {
    stream: Arc<Stream>,
    watching: AbortHandle,
}

struct Stream {
    progress: Mutex<Progress>,
    asking: Asking,
}

struct Progress {
    /// `None` once it was let go.
    body: Option<Body>,
    /// What is left of the frame that is given.
    rest: Bytes,
    /// Since when nothing was taken, if something is there to be.
    stands: Option<Instant>,
    /// Whether the first piece was given.
    has_begun: bool,
}

impl Guarded {
    fn new(body: Body, asking: Asking) -> Self {
        let deadline = asking.deadline();
        let progress =
            Progress { body: Some(body), rest: Bytes::new(), stands: Some(Instant::now()), has_begun: false };
        let stream = Arc::new(Stream { progress: Mutex::new(progress), asking });
        let watching = tokio::spawn(watch(Arc::downgrade(&stream), deadline)).abort_handle();
        Self { stream, watching }
    }
}

impl Progress {
    fn poll_piece(&mut self, asking: &Asking, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(Some(Err(axum::Error::new(std::io::Error::from(ErrorKind::TimedOut)))));
        };
        if self.rest.is_empty() {
            match ready!(http_body::Body::poll_frame(Pin::new(body), cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                end => return Poll::Ready(end),
            }
        }
        let length = self.rest.len().min(PIECE);
        let piece = asking.gives(self.rest.split_to(length).to_vec());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }
}

impl Stream {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the body go if the deadline is over, and says when to look again if it is not.
    fn look(&self, deadline: Duration) -> Option<Duration> {
        let mut progress = self.progress();
        let stood = progress.stands.map_or(Duration::ZERO, |since| since.elapsed());
        if stood < deadline {
            return Some(deadline - stood);
        }
        let held = (progress.body.take(), std::mem::take(&mut progress.rest));
        drop(progress);
        // Not under the lock: much can hang on a body.
        drop(held);
        self.asking.stalls();
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
        // It is asked for the next piece once the last one is on its way.
        if progress.has_begun && progress.stands.is_some() {
            self.stream.asking.takes();
        }
        let piece = progress.poll_piece(&self.stream.asking, cx);
        progress.stands = piece.is_ready().then(Instant::now);
        progress.has_begun |= piece.is_ready();
        piece
    }

    fn is_end_stream(&self) -> bool {
        let progress = self.stream.progress();
        progress.rest.is_empty() && progress.body.as_ref().is_some_and(http_body::Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let progress = self.stream.progress();
        let Some(body) = &progress.body else { return SizeHint::new() };
        let (mut hint, rest) = (http_body::Body::size_hint(body), progress.rest.len() as u64);
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper.saturating_add(rest));
        }
        hint.set_lower(hint.lower().saturating_add(rest));
        hint
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

    use super::{
        super::{
            connection::{Connection, PageBytes},
            guest::Guest,
        },
        *,
    };

    const DEADLINE: Duration = Duration::from_secs(30);

    /// A stream without end, and what is there for as long as it is.
    fn stream() -> (Body, Weak<()>) {
        let held = Arc::new(());
        let weak = Arc::downgrade(&held);
        let frames = stream::repeat_with(move || {
            let _ = &held;
            Ok::<_, Infallible>("frame")
        });
        (guarded(Body::from_stream(frames)), weak)
    }

    fn guarded(body: Body) -> Body {
        guarded_of(&Guest::new(DEADLINE), body)
    }

    fn guarded_of(guest: &Guest, body: Body) -> Body {
        let asking = Arc::new(Connection::new(true, guest.clone())).ask();
        let_go(Response::new(body), asking).into_body()
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
        let mut body = guarded(Body::from_stream(waiting));
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
    fn what_is_empty_passes_untouched() {
        // Without a runtime, so nothing can be watching.
        assert!(http_body::Body::is_end_stream(&guarded(Body::empty())));
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_nobody_begins_to_take_is_let_go() {
        let mut body = guarded(Body::from(vec![0; 3 * PIECE]));
        sleep(DEADLINE + Duration::from_millis(2)).await;
        assert!(body.frame().await.unwrap().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn the_piece_that_a_connection_holds_holds_no_page() {
        let room = PageBytes::new(1024);
        let page = room.hold(Bytes::from(vec![0; 1024 * 1024])).unwrap();
        let mut body = guarded(Body::from(page));
        let held = body.frame().await.unwrap().unwrap();
        sleep(DEADLINE + Duration::from_millis(2)).await;
        assert!(room.hold(Bytes::from(vec![0; 1024 * 1024])).is_some());
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_of_which_the_last_piece_is_not_sent_is_not_cut_off() {
        let guest = Guest::new(DEADLINE);
        guest.becomes_known();
        let mut body = guarded_of(&guest, Body::from(vec![0; PIECE]));
        let last = body.frame().await.unwrap().unwrap();
        assert!(http_body::Body::is_end_stream(&body));
        drop(body);
        sleep(DEADLINE / 2).await;
        assert_eq!(guest.may_go(), None);
        drop(last);
        sleep(DEADLINE / 2).await;
        assert!(guest.may_go().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_given_in_pieces_and_its_length_stays_true() {
        let mut body = guarded(Body::from(vec![0; 2 * PIECE + 1]));
        for (piece, left) in [(PIECE, PIECE + 1), (PIECE, 1), (1, 0)] {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap().len(), piece);
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(left as u64));
            assert_eq!(http_body::Body::is_end_stream(&body), left == 0);
        }
        assert!(body.frame().await.is_none());
    }
}
