//! The inner response, a refusal, or first the verifier's answer.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Request, Response, header::CACHE_CONTROL};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::{Authenticate, service::Door};
use crate::{
    respond::{Completion, Respond},
    revoke::{Answer, Waiting},
    timer::timer,
    verify::VerifyError,
};

pin_project! {
    /// The response future of [`Auth`](super::Auth): of `P`, which waits for the verifier, and `F`, the
    /// inner service's.
    ///
    /// Not to be polled again once it was ready: it may panic.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<P, F, B> {
        #[pin]
        state: State<P, F, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<P, F, B> {
        // Boxed, and only for a verifier that must be waited for: it is what makes the future large.
        Waiting { admission: Pin<Box<P>> },
        Inner { #[pin] future: F, completion: Completion, is_private: bool },
        Refused { response: Option<Response<B>> },
    }
}

/// A request that waits for the verifier, with the service that is ready for it: becomes that one's
/// future, or a refusal.
#[must_use = "futures do nothing unless polled"]
pub struct Admission<S, A: Authenticate, R, B>(Option<Parts<S, A, R, B>>);

/// The inner service's future, once the caller was let in.
pub struct Admitted<F> {
    future: F,
    completion: Completion,
    is_private: bool,
}

struct Parts<S, A: Authenticate, R, B> {
    credential: A::Credential,
    waiting: Waiting,
    limit: Limit,
    door: Arc<Door<A>>,
    request: Request<B>,
    /// Whether the response is the caller's alone.
    is_private: bool,
    ready: S,
    respond: R,
}

/// How long a request waits for the verifier.
enum Limit {
    None,
    Until(Instant),
    Running(Pin<Box<Sleep>>),
}

impl<P, F, B> ResponseFuture<P, F, B> {
    #[inline]
    pub(super) fn waiting(admission: Pin<Box<P>>) -> Self {
        Self { state: State::Waiting { admission } }
    }

    #[inline]
    pub(super) fn inner(future: F, completion: Completion, is_private: bool) -> Self {
        Self { state: State::Inner { future, completion, is_private } }
    }

    #[inline]
    pub(super) fn refused(response: Response<B>) -> Self {
        Self { state: State::Refused { response: Some(response) } }
    }
}

impl<P, F, B, E> Future for ResponseFuture<P, F, B>
where
    P: Future<Output = Result<Admitted<F>, Response<B>>>,
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<B>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::Inner { future, completion, is_private } => {
                    let mut response = ready!(future.poll(cx))?;
                    if *is_private {
                        make_private(response.headers_mut());
                    }
                    completion.complete(&mut response);
                    return Poll::Ready(Ok(response));
                }
                StateProj::Refused { response } => {
                    return Poll::Ready(Ok(response.take().expect("a future is not polled after it was ready")));
                }
                StateProj::Waiting { admission } => {
                    let next = match ready!(admission.as_mut().poll(cx)) {
                        Ok(Admitted { future, completion, is_private }) => {
                            State::Inner { future, completion, is_private }
                        }
                        Err(response) => State::Refused { response: Some(response) },
                    };
                    state.set(next);
                }
            }
        }
    }
}

impl<S, A: Authenticate, R, B> Admission<S, A, R, B> {
    pub(super) fn new(
        (credential, waiting): (A::Credential, Waiting),
        limit: Option<Duration>,
        door: Arc<Door<A>>,
        (request, is_private): (Request<B>, bool),
        ready: S,
        respond: R,
    ) -> Self {
        // A date past the end of time is never reached.
        let limit = limit.and_then(|limit| Instant::now().checked_add(limit)).map_or(Limit::None, Limit::Until);
        Self(Some(Parts { credential, waiting, limit, door, request, is_private, ready, respond }))
    }
}

impl<S, A, R, B, ResBody> Future for Admission<S, A, R, B>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    A: Authenticate,
    R: Respond<ResBody>,
{
    type Output = Result<Admitted<S::Future>, Response<ResBody>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let parts = self.0.as_mut().expect("a future is not polled after it was ready");
        let answer = ready!(parts.poll_answer(cx));
        let Parts { credential, waiting, door, mut request, is_private, mut ready, respond, .. } =
            self.0.take().expect("it was there a line ago");
        Poll::Ready(match door.admit(credential, waiting.as_of(), answer) {
            Ok(access) => {
                let completion = door.let_in(&mut request, access);
                Ok(Admitted { future: ready.call(request), completion, is_private })
            }
            Err(refused) => Err(door.refuse(&mut request, refused, &respond)),
        })
    }
}

// Nothing in it is ever polled in place.
impl<S, A: Authenticate, R, B> Unpin for Admission<S, A, R, B> {}

impl<S, A: Authenticate, R, B> Parts<S, A, R, B> {
    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Answer> {
        match self.waiting.poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            Poll::Pending => {
                ready!(self.limit.poll(cx));
                Poll::Ready(Answer::Said(Err(VerifyError::unavailable())))
            }
        }
    }
}

impl Limit {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self {
                Self::Running(sleep) => return sleep.as_mut().poll(cx),
                Self::Until(end) => match timer(*end) {
                    Some(sleep) => *self = Self::Running(Box::pin(sleep)),
                    None => return Poll::Pending,
                },
                Self::None => return Poll::Pending,
            }
        }
    }
}

/// Keeps a response out of shared caches, by a `Cache-Control: private` unless that is said already.
fn make_private(headers: &mut HeaderMap) {
    let says_so = |value: &HeaderValue| {
        let directives = value.as_bytes().split(|&byte| byte == b',');
        directives
            .map(<[u8]>::trim_ascii)
            .any(|directive| [&b"private"[..], b"no-store"].iter().any(|known| directive.eq_ignore_ascii_case(known)))
    };
    if !headers.get_all(CACHE_CONTROL).iter().any(says_so) {
        headers.append(CACHE_CONTROL, HeaderValue::from_static("private"));
    }
}

impl<P, F, B> fmt::Debug for ResponseFuture<P, F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            State::Waiting { .. } => "ResponseFuture::waiting",
            State::Inner { .. } => "ResponseFuture::inner",
            State::Refused { .. } => "ResponseFuture::refused",
        })
    }
}

impl<F> fmt::Debug for Admitted<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitted").finish_non_exhaustive()
    }
}

impl<S, A: Authenticate, R, B> fmt::Debug for Admission<S, A, R, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").finish_non_exhaustive()
    }
}
