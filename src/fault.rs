//! What an operator must be told, and no client: that something the service depends on answers wrongly.

use std::fmt::Display;
#[cfg(not(feature = "tracing"))]
use std::{
    io::{self, Write},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::unwind::contained;

/// Says what is wrong with `place`: as an event at ERROR under the feature `tracing`, else on standard error, at
/// most once a minute.
pub(crate) fn report(place: &dyn Display, fault: &dyn Display) {
    // A subscriber is a user's code, and so is what a client gave for an error.
    contained(|| {
        #[cfg(feature = "tracing")]
        tracing::error!(place = %place, "{fault}");
        #[cfg(not(feature = "tracing"))]
        if is_due() {
            // Not `eprintln!`, which panics where standard error is closed.
            let _ = writeln!(io::stderr(), "tower-reauth: {place}: {fault}");
        }
    });
}

#[cfg(not(feature = "tracing"))]
fn is_due() -> bool {
    static LAST: Mutex<Option<tokio::time::Instant>> = Mutex::new(None);
    let now = tokio::time::Instant::now();
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let is_due = last.is_none_or(|last| now.saturating_duration_since(last) >= Duration::from_secs(60));
    if is_due {
        *last = Some(now);
    }
    is_due
}
