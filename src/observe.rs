//! What is counted and logged.
//!
//! # Metrics
//!
//! Under the feature `metrics`, through the facade of that name: install a recorder, then call
//! `describe_metrics` once, so that an exporter knows the help texts.
//!
//! | name | kind | label | help |
//! | --- | --- | --- | --- |
//! | `tower_reauth_refused_total` | counter | `reason`: a word of [`Denied::as_str`]; where the verifier says why a credential is not good, `rejection`: a word of [`Rejection`] | Requests that were refused, by reason. |
//! | `tower_reauth_streams_ended_total` | counter | `reason`: a word of [`EndReason::as_str`](crate::reauth::EndReason::as_str) | Streams that ended, by reason. |
//! | `tower_reauth_streams_open` | gauge | none | Streams that are open and watched. |
//! | `tower_reauth_check_duration_seconds` | histogram | `occasion`: `door`, `stream`; `outcome`: `confirmed`, `denied`, `unavailable`, `panicked`, or `abandoned` by all who waited | How long verifiers took to answer. |
//! | `tower_reauth_checks_shared_total` | counter | `occasion`, as above | Checks that were spared by an answer that others asked for too. |
//! | `tower_reauth_revocations_total` | counter | `kind`: `token`, `credential`, `session`, `subject`, `issued_before`, `all` | Revocations, by what was revoked. |
//! | `tower_reauth_revocation_duration_seconds` | histogram | none | From a revocation to the end of the last stream that it ended. |
//!
//! No label has a value that a client chooses: there are no more series than words. Nothing is counted for each frame,
//! but where a verifier without a revision is asked for each. Revocations are those of
//! [`Revocations`](crate::revoke::Revocations), what was restored among them; one that concerns no open stream has no
//! duration. What else moves a revision is seen by its ends.
//!
//! # Events and spans
//!
//! Under the feature `tracing`:
//!
//! | event | level | fields |
//! | --- | --- | --- |
//! | `request refused` | ERROR where the server is put together wrongly, WARN where the verifier cannot tell, else DEBUG | `reason`, `rejection`, `subject`, `credential_id` |
//! | `stream ended` | ERROR after a panic of the verifier, WARN where it could not tell, else DEBUG | `reason`, `subject`, `credential_id` |
//!
//! `subject` and `credential_id` are absent where nobody knows them: a token that is not good names
//! nobody. So is `rejection`, the word of a [`Rejection`], but where the verifier says why. A caller who is let in is
//! recorded in the span of the request too, if that has the fields: `subject`, or `enduser.id` as OpenTelemetry names
//! it, and `credential_id`.
//!
//! ```
//! # use tracing::field::Empty;
//! // As the `make_span_with` of tower-http's `TraceLayer`, outside of the layers of this crate:
//! let span = |request: &http::Request<()>| {
//!     tracing::info_span!("request", path = request.uri().path(), subject = Empty, credential_id = Empty)
//! };
//! # let _ = span(&http::Request::new(()));
//! ```
//!
//! # Without any feature
//!
//! - The [`Denied`] is in the extensions of each refusal's response, for a layer further out to read.
//! - A stack that is put together wrongly ([`Denied::NoAccess`], [`Denied::NoPeer`]) answers with an
//!   empty 500. Where no log takes that event, each such layer says so in one line on standard error,
//!   once in a process. It is no panic, which would take down a server for a route that nobody has
//!   called yet; and the response says nothing, for its reader is a stranger.

use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
};

use tokio::time::Instant;

#[cfg(feature = "metrics")]
pub use crate::counts::describe_metrics;
pub(crate) use crate::counts::{Occasion, OpenStream, check_shared};
use crate::{
    Access, Denied, Identity, counts,
    ended::Ended,
    unwind::contained,
    verify::{Rejection, Verification},
};
#[cfg(feature = "metrics")]
use crate::{
    counts::{Check, Outcome},
    verify::VerifyError,
};

/// Logs at the level that the first argument says.
#[cfg(feature = "tracing")]
macro_rules! log {
    ($level:expr, $identity:expr, $reason:expr, $($field:ident,)? $text:literal) => {{
        let subject = $identity.map(Identity::subject);
        let credential_id = $identity.and_then(Identity::credential_id);
        match $level {
            tracing::Level::ERROR => tracing::error!(reason = $reason, $($field,)? subject, credential_id, $text),
            tracing::Level::WARN => tracing::warn!(reason = $reason, $($field,)? subject, credential_id, $text),
            _ => tracing::debug!(reason = $reason, $($field,)? subject, credential_id, $text),
        }
    }};
}

/// A request was refused: its response is complete.
pub(crate) fn refused(denied: &Denied, rejection: Option<Rejection>, identity: Option<&Identity>) {
    // Recorders and subscribers are a user's code. What they do with a panic is not for the caller to pay.
    contained(|| counts::refused(denied.as_str(), rejection.map(Rejection::as_str)));
    contained(|| log_refusal(denied, rejection, identity));
    if let Denied::NoAccess { .. } | Denied::NoPeer = denied {
        if !contained(is_error_logged).unwrap_or(false) {
            warn_once(denied);
        }
    }
}

#[allow(unused_variables, reason = "nobody listens without the feature")]
fn log_refusal(denied: &Denied, rejection: Option<Rejection>, identity: Option<&Identity>) {
    #[cfg(feature = "tracing")]
    {
        let level = match denied {
            Denied::CheckPanicked | Denied::NoAccess { .. } | Denied::NoPeer => tracing::Level::ERROR,
            Denied::Unavailable { .. } => tracing::Level::WARN,
            _ => tracing::Level::DEBUG,
        };
        let rejection = rejection.map(Rejection::as_str);
        log!(level, identity, denied.as_str(), rejection, "request refused: {denied}");
    }
}

/// Whether somebody listens to errors.
fn is_error_logged() -> bool {
    #[cfg(feature = "tracing")]
    return tracing::enabled!(tracing::Level::ERROR);
    #[cfg(not(feature = "tracing"))]
    return false;
}

/// Says on standard error, once for each layer, how a stack is put together wrongly.
fn warn_once(denied: &Denied) {
    static SAID: Mutex<Vec<Denied>> = Mutex::new(Vec::new());
    /// Names of layers are written in a program's text; this is for one that makes them up.
    const MOST: usize = 16;

    let mut said = SAID.lock().unwrap_or_else(PoisonError::into_inner);
    if said.len() == MOST || said.contains(denied) {
        return;
    }
    said.push(denied.clone());
    drop(said);
    // Not `eprintln!`, which panics where standard error is closed.
    let _ = writeln!(io::stderr(), "tower-reauth: {denied}");
}

/// A caller was let in: their access is in the request.
#[allow(unused_variables, reason = "there are no spans without the feature")]
pub(crate) fn admitted(access: &Access) {
    // Where nobody listens, no span has fields.
    #[cfg(feature = "tracing")]
    if tracing::level_filters::LevelFilter::current() == tracing::level_filters::LevelFilter::OFF {
        return;
    }
    #[cfg(feature = "tracing")]
    contained(|| {
        let span = tracing::Span::current();
        if span.is_disabled() {
            return;
        }
        let identity = access.identity();
        span.record("subject", identity.subject());
        span.record("enduser.id", identity.subject());
        if let Some(credential_id) = identity.credential_id() {
            span.record("credential_id", credential_id);
        }
    });
}

/// Asks a verifier, and counts what becomes of it with the time since `began`.
#[cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "nobody counts without the feature"))]
pub(crate) fn check(occasion: Occasion, began: Instant, verify: impl FnOnce() -> Verification) -> Verification {
    #[cfg(not(feature = "metrics"))]
    return verify();
    #[cfg(feature = "metrics")]
    {
        let check = Check::begun(occasion, began);
        match verify().into_ready() {
            Ok(answer) => {
                check.answered(outcome(&answer));
                Verification::ready(answer)
            }
            Err(unknown) => Verification::pending(async move {
                let answer = unknown.await;
                check.answered(outcome(&answer));
                answer
            }),
        }
    }
}

#[cfg(feature = "metrics")]
fn outcome(answer: &Result<Identity, VerifyError>) -> Outcome {
    match answer {
        Ok(_) => Outcome::Confirmed,
        Err(VerifyError::Unavailable { .. }) => Outcome::Unavailable,
        Err(_) => Outcome::Denied,
    }
}

/// A stream ended. Returns whether nothing of a user's panicked.
pub(crate) fn stream_ended(ended: &Ended) -> bool {
    let counted = contained(|| counts::stream_ended(ended.reason.as_str()));
    let logged = contained(|| log_end(ended));
    counted.is_some() && logged.is_some()
}

#[allow(unused_variables, reason = "nobody listens without the feature")]
fn log_end(ended: &Ended) {
    #[cfg(feature = "tracing")]
    {
        use crate::ended::EndReason;

        let level = match ended.reason {
            EndReason::CheckPanicked => tracing::Level::ERROR,
            EndReason::Unavailable | EndReason::TimedOut => tracing::Level::WARN,
            _ => tracing::Level::DEBUG,
        };
        let (identity, reason) = (Some(&ended.identity), ended.reason);
        log!(level, identity, reason.as_str(), "stream ended: {reason}");
    }
}
