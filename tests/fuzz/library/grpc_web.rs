//! A gRPC-Web response whose access ends is cut between two messages, with the status as its last one, or else it is
//! aborted: to a client that reads lengths and messages no part of one looks whole.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Response};
use http_body::{Body, Frame};
use tower_reauth::{
    Access, AuthMethod, Identity, StreamReauthLayer,
    verify::{Verification, VerifyError},
};

use crate::support;

/// A body that has this much, in pieces, and then nothing.
struct Pieces {
    left: Bytes,
    size: usize,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let size = self.size.min(self.left.len());
        if size == 0 { Poll::Pending } else { Poll::Ready(Some(Ok(Frame::data(self.left.split_to(size))))) }
    }
}

/// The size of the pieces, the number of checks that are passed (up to 15), and the body.
pub(crate) fn run(input: &[u8]) {
    let [size, checks, sent @ ..] = input else { return };
    let checks_left = std::sync::atomic::AtomicUsize::new(usize::from(checks % 16));
    let access = Access::with_recheck(Identity::new("alice", AuthMethod::Token), move || {
        use std::sync::atomic::Ordering::Relaxed;
        let is_good = checks_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
        let identity = Identity::new("alice", AuthMethod::Token);
        Verification::ready(is_good.then_some(identity).ok_or(VerifyError::Rejected))
    });
    let pieces = Pieces { left: Bytes::copy_from_slice(sent), size: usize::from(*size).max(1) };
    let response =
        Response::builder().header("content-type", "application/grpc-web+proto").body(pieces).expect("a response");
    let layer = StreamReauthLayer::new().with_heartbeat(Duration::from_secs(1)).with_jitter(0.0);

    let (mut read, mut last, mut is_aborted, mut has_ended) = (Vec::new(), Bytes::new(), false, false);
    support::ready(async {
        let mut body = layer.watch(&access, &Method::POST, response).into_body();
        for _ in 0..32 {
            while let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop())) {
                match frame {
                    Some(Ok(frame)) => {
                        last = frame.into_data().expect("gRPC-Web has its trailers in the body");
                        read.extend_from_slice(&last);
                    }
                    Some(Err(_)) => is_aborted = true,
                    None => has_ended = true,
                }
                if has_ended {
                    return;
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
        }
    });
    assert!(has_ended, "its checks are used up");

    if is_aborted {
        assert!(sent.starts_with(&read));
        assert!(!is_whole(&read), "there was room for a status");
    } else {
        let own = &read[..read.len() - last.len()];
        assert!(sent.starts_with(own) && is_whole(own) && is_whole(&last));
        assert_eq!((last[0], &last[5..]), (0x80, &b"grpc-status:16\r\ngrpc-message:revoked\r\n"[..]));
    }
}

/// Whether these are messages, and no part of one.
fn is_whole(mut text: &[u8]) -> bool {
    while !text.is_empty() {
        let Some((prefix, rest)) = text.split_at_checked(5) else { return false };
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let Some(behind) = rest.get(length..) else { return false };
        text = behind;
    }
    true
}
