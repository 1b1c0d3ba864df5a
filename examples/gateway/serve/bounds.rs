//! How much of a connection's time and memory one client may have, as the protocols count it.
//!
//! None of it is for an operator to set: what a request of this gateway needs is far less, and what a client may
//! hold follows from it. `examples/README.md` has them in a table.

use std::time::Duration;

use hyper_util::{
    rt::{TokioExecutor, TokioTimer},
    server::conn::auto,
};

use super::HEAD_TIMEOUT;

/// The bytes of a request's head; more is 431. So are more than 100 lines over HTTP/1.1, by hyper itself: said outright,
/// it would have room for them made for each request.
const HEAD: usize = 64 * 1024;
/// Requests that one connection has open at a time.
const STREAMS: u32 = 256;
/// Requests that were taken back and not yet answered, before the connection is closed (CVE-2023-44487).
const TAKEN_BACK: usize = 20;
/// Requests of one connection that the gateway reset for an error of the client's (CVE-2025-8671).
const RESET: usize = 1024;
/// The bytes of a frame (RFC 9113 section 4.2), and those of a stream that wait to be sent.
const FRAME: u32 = 16 * 1024;
const UNSENT: usize = 256 * 1024;

/// Both protocols.
pub fn http(write_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(true).max_buf_size(HEAD);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(write_timeout)
        .keep_alive_timeout(write_timeout)
        .max_header_list_size(u32::try_from(HEAD).unwrap_or(u32::MAX))
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(TAKEN_BACK)
        .max_local_error_reset_streams(RESET)
        .max_frame_size(FRAME)
        .max_send_buf_size(UNSENT);
    http
}
