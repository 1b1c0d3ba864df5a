//! Server-sent events as the peer writes them (WHATWG HTML section 9.2).

use bytes::Bytes;

/// The first thing on every stream: reconnect after a second.
pub const RETRY: Bytes = Bytes::from_static(b"retry: 1000\n\n");

/// One event. `data` is JSON on one line.
pub fn event(name: &str, data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(name.len() + data.len() + 16);
    event.extend_from_slice(b"event: ");
    event.extend_from_slice(name.as_bytes());
    event.extend_from_slice(b"\ndata: ");
    event.extend_from_slice(data);
    event.extend_from_slice(b"\n\n");
    event.into()
}
