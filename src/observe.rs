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
//!
//! No label has a value that a client chooses: there are no more series than words, and the gauge.
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
//! nobody. So is `rejection`, the word of a [`Rejection`], but where the verifier says why. A caller who is let in is recorded in the span of the request too, if that has the fields:
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

use crate::{Access, Denied, Identity, ended::Ended, unwind::contained, verify::Rejection};

/// Counts by reason. Those that are named have a key that was made when the program was compiled; for
/// any other one is made, which is an allocation.
#[cfg(feature = "metrics")]
macro_rules! count {
    ($name:expr, $reason:expr, often: [$($often:literal),+]) => {
        match $reason {
            $($often => metrics::counter!($name, "reason" => $often),)+
            reason => metrics::counter!($name, "reason" => reason),
        }
        .increment(1)
    };
}

#[cfg(feature = "metrics")]
const REFUSED: &str = "tower_reauth_refused_total";
#[cfg(feature = "metrics")]
const STREAMS_ENDED: &str = "tower_reauth_streams_ended_total";
#[cfg(feature = "metrics")]
const STREAMS_OPEN: &str = "tower_reauth_streams_open";

/// Gives the recorder that is installed the help text of each metric.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    metrics::describe_counter!(REFUSED, "Requests that were refused, by reason.");
    metrics::describe_counter!(STREAMS_ENDED, "Streams that ended, by reason.");
    metrics::describe_gauge!(STREAMS_OPEN, "Streams that are open and watched.");
}

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
    contained(|| count_refusal(denied, rejection));
    contained(|| log_refusal(denied, rejection, identity));
    if let Denied::NoAccess { .. } | Denied::NoPeer = denied {
        if !contained(is_error_logged).unwrap_or(false) {
            warn_once(denied);
        }
    }
}

#[allow(unused_variables, reason = "nobody counts without the feature")]
fn count_refusal(denied: &Denied, rejection: Option<Rejection>) {
    #[cfg(feature = "metrics")]
    if let Some(rejection) = rejection {
        let rejection = rejection.as_str();
        return metrics::counter!(REFUSED, "reason" => denied.as_str(), "rejection" => rejection).increment(1);
    }
    #[cfg(feature = "metrics")]
    count!(
        REFUSED,
        denied.as_str(),
        often: ["missing", "malformed", "rejected", "expired", "revoked", "locked_out", "insufficient_scope"]
    );
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
    #[cfg(feature = "tracing")]
    contained(|| {
        let span = tracing::Span::current();
        if span.is_disabled() {
            return;
        }
        let identity = access.identity();
        span.record("subject", identity.subject());
        if let Some(credential_id) = identity.credential_id() {
            span.record("credential_id", credential_id);
        }
    });
}

/// A stream that is open, counted as such until it is dropped.
pub(crate) struct OpenStream {
    /// Of the recorder that counted it, which is the one to count its end.
    #[cfg(feature = "metrics")]
    gauge: metrics::Gauge,
}

impl OpenStream {
    pub(crate) fn new() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            gauge: contained(|| {
                let gauge = metrics::gauge!(STREAMS_OPEN);
                gauge.increment(1.0);
                gauge
            })
            .unwrap_or(metrics::Gauge::noop()),
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        #[cfg(feature = "metrics")]
        contained(|| self.gauge.decrement(1.0));
    }
}

impl OpenStream {
    /// What is no stream of its own, and not counted.
    pub(crate) fn uncounted() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            gauge: metrics::Gauge::noop(),
        }
    }
}

/// A stream ended. Returns whether nothing of a user's panicked.
pub(crate) fn stream_ended(ended: &Ended) -> bool {
    let counted = contained(|| count_end(ended));
    let logged = contained(|| log_end(ended));
    counted.is_some() && logged.is_some()
}

#[allow(unused_variables, reason = "nobody counts without the feature")]
fn count_end(ended: &Ended) {
    #[cfg(feature = "metrics")]
    count!(
        STREAMS_ENDED,
        ended.reason.as_str(),
        often: ["finished", "disconnected", "expired", "revoked"]
    );
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
