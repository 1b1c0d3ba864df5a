//! How a refusal becomes a response.

use http::{
    HeaderValue, Response,
    header::{RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::{Denied, challenge::Challenge, observe};

/// Makes the response to a refusal.
///
/// Implemented by [`EmptyBody`], the default, and by every closure `Fn(&Denied) -> Response<B>`, so
/// that a server answers in a format of its own. `WWW-Authenticate` and `Retry-After` are added
/// afterwards, where the standards ask for them and the response has none.
pub trait Respond<B> {
    /// The response to `denied`.
    fn respond(&self, denied: &Denied) -> Response<B>;
}

/// Answers with the status alone.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct EmptyBody;

impl<B: Default> Respond<B> for EmptyBody {
    fn respond(&self, denied: &Denied) -> Response<B> {
        let mut response = Response::new(B::default());
        *response.status_mut() = denied.status();
        response
    }
}

impl<B, F: Fn(&Denied) -> Response<B>> Respond<B> for F {
    fn respond(&self, denied: &Denied) -> Response<B> {
        self(denied)
    }
}

/// Counts, logs and answers a refusal: the one place where each of them passes.
pub(crate) fn refuse<B>(denied: &Denied, challenge: &Challenge, respond: &impl Respond<B>) -> Response<B> {
    observe::refused(denied);
    let mut response = respond.respond(denied);
    let headers = response.headers_mut();
    if let Some(challenge) = challenge.answer(denied) {
        // Room for what is added; a map that grows by itself makes room for six.
        headers.reserve(1);
        headers.entry(WWW_AUTHENTICATE).or_insert(challenge);
    }
    if let Some(wait) = denied.retry_after() {
        // Rounded up: who comes back at the second that was named must not be early.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        headers.reserve(1);
        headers.entry(RETRY_AFTER).or_insert(HeaderValue::from(seconds));
    }
    response
}
