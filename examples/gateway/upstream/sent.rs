//! What the upstream is asked: the body as it comes, and of the head what says something about it.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::words::Fault;
use crate::config::Secret;

/// How long a body may be, in bytes: room for a few pictures.
pub const MOST: u64 = 32 * 1024 * 1024;
/// How long the caller may send nothing of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The headers that are passed on, besides those of OpenAI's own clients. Nothing in them is the caller's identity.
const PASSED: [HeaderName; 6] = [
    ACCEPT,
    CONTENT_TYPE,
    USER_AGENT,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("openai-beta"),
    HeaderName::from_static("x-client-request-id"),
];
const OF_CLIENTS: &str = "x-stainless-";

/// A request as it goes out, and what is known of it on its way.
pub struct Sent {
    pub request: Request<Body>,
    /// What it shows.
    pub key: Option<Secret>,
    pub progress: Arc<Progress>,
}

/// How far a body has come.
pub struct Progress(Mutex<(Instant, Option<Fault>)>);

impl Sent {
    pub fn of(request: Request<Body>, url: Uri, key: Option<Secret>) -> Self {
        let (mut head, body) = request.into_parts();
        let announced = head.headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let progress = Arc::new(Progress(Mutex::new((Instant::now(), None))));
        if announced.is_some_and(|length: u64| length > MOST) {
            progress.fails(Fault::TooLarge);
        }
        let (method, headers) = (head.method.clone(), std::mem::take(&mut head.headers));
        let mut sent = Request::new(Body::new(Outgoing { body, left: MOST, pause: None, progress: progress.clone() }));
        (*sent.method_mut(), *sent.uri_mut()) = (method, url);
        let passed = headers.into_iter().scan(None, |last, (name, value)| {
            // A map names a header once, and then only its further values.
            *last = name.or_else(|| last.take());
            Some((last.clone()?, value))
        });
        let is_passed = |name: &HeaderName| PASSED.contains(name) || name.as_str().starts_with(OF_CLIENTS);
        sent.headers_mut().extend(passed.filter(|(name, _)| is_passed(name)).map(|(name, value)| (Some(name), value)));
        // Events are looked at on their way back.
        sent.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(key) = key.as_ref().and_then(Secret::to_bearer) {
            sent.headers_mut().insert(AUTHORIZATION, key);
        }
        Self { request: sent, key, progress }
    }
}

impl Progress {
    fn get(&self) -> MutexGuard<'_, (Instant, Option<Fault>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moves(&self) {
        self.get().0 = Instant::now();
    }

    fn fails(&self, fault: Fault) {
        self.get().1 = Some(fault);
    }

    /// What is wrong with the body, if anything is.
    pub fn fault(&self) -> Option<Fault> {
        self.get().1
    }

    /// Completes when nothing more of the body was sent for so long.
    pub async fn rests_for(&self, time: Duration) {
        loop {
            let rested = self.get().0.elapsed();
            if rested >= time {
                return;
            }
            sleep(time - rested).await;
        }
    }
}

/// A body within its bounds.
struct Outgoing {
    body: Body,
    left: u64,
    /// For as long as nothing comes.
    pause: Option<Pin<Box<Sleep>>>,
    progress: Arc<Progress>,
}

impl Outgoing {
    fn fails(&self, fault: Fault) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        self.progress.fails(fault);
        Poll::Ready(Some(Err(fault)))
    }
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        let this = &mut *self;
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let pause = this.pause.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                    std::task::ready!(pause.as_mut().poll(cx));
                    return this.fails(Fault::Slow);
                }
            };
            this.pause = None;
            this.progress.moves();
            return match frame {
                None => Poll::Ready(None),
                Some(Err(_)) => this.fails(Fault::Broken),
                Some(Ok(frame)) => {
                    // Trailers say nothing that the API knows.
                    let Ok(data) = frame.into_data() else { continue };
                    match this.left.checked_sub(data.len() as u64) {
                        None => this.fails(Fault::TooLarge),
                        Some(left) => {
                            this.left = left;
                            Poll::Ready(Some(Ok(Frame::data(data))))
                        }
                    }
                }
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
