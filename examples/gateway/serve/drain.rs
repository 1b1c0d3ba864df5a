//! Bodies that nobody asked for.
//!
//! A server that answers and closes with bytes unread resets the connection, and the reset overtakes the
//! answer: a client that writes its whole body before it reads never sees the 401. So such a body is read,
//! and forgotten, within bounds (RFC 9112 section 9.6). Where they are passed the connection is closed.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http::{HeaderMap, header::EXPECT};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

use super::guest::Guest;

/// More than a client sends by mistake.
const MOST: u64 = 128 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(30);

/// The body of a request, which is read over once nobody wants it any more.
pub fn body(body: Incoming, headers: &HeaderMap, guest: &Guest) -> Body {
    if body.is_end_stream() {
        return Body::empty();
    }
    // Who asks first whether to send it is told by the answer.
    let is_read_over = !headers.contains_key(EXPECT) && body.size_hint().lower() <= MOST;
    Body::new(Wanted { body: Some(body), is_read_over, guest: guest.clone() })
}

struct Wanted {
    /// Until its end.
    body: Option<Incoming>,
    is_read_over: bool,
    guest: Guest,
}

impl http_body::Body for Wanted {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = Pin::new(body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.body = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for Wanted {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| self.is_read_over && !body.is_end_stream()) {
            read_over(body, self.guest.clone());
        }
    }
}

/// Reads the body, beside whatever else happens on its connection, and ends with that. Meanwhile its client asks still: it may
/// read no answer before it has written all.
fn read_over(mut body: Incoming, guest: Guest) {
    let Ok(runtime) = Handle::try_current() else { return };
    let asks = guest.asks();
    runtime.spawn(timeout(LONGEST, async move {
        let _asks = asks;
        let mut left = MOST;
        while let Some(Ok(frame)) = body.frame().await {
            guest.moves();
            let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            let Some(still_left) = left.checked_sub(length) else { return };
            left = still_left;
        }
    }));
}
