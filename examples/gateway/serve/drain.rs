//! Bodies that nobody asked for.
//!
//! A server that answers and closes with bytes unread resets the connection, and the reset overtakes the
//! answer: a client that writes its whole body before it reads never sees the 401. So such a body is read,
//! and forgotten, within bounds (RFC 9112 section 9.6). Where they are passed the connection is closed.

use std::time::Duration;

use bytes::Buf;
use http::{HeaderMap, header::EXPECT};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::timeout;

/// More than a client sends by mistake.
const MOST: u64 = 128 * 1024 * 1024;
const LONGEST: Duration = Duration::from_secs(30);

/// Reads the body, beside whatever else happens on its connection, and ends with that.
pub fn read_over(mut body: Incoming, headers: &HeaderMap) {
    // Who asks first whether to send it is told by the answer.
    if body.is_end_stream() || headers.contains_key(EXPECT) || body.size_hint().lower() > MOST {
        return;
    }
    tokio::spawn(timeout(LONGEST, async move {
        let mut left = MOST;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
            let Some(still_left) = left.checked_sub(length) else { return };
            left = still_left;
        }
    }));
}
