//! What an operator must be told, and no client: that something the service depends on answers wrongly.

use std::fmt::Display;
#[cfg(not(feature = "tracing"))]
use std::{
    io::{self, Write},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[cfg(not(feature = "tracing"))]
use tokio::time::Instant;

use crate::unwind::contained;

/// Says what is wrong with `place`: as an event at ERROR under the feature `tracing`, else on standard error, at
/// most once a minute for each place. Places are few: what a service was set up with names them, and no client.
pub(crate) fn report(place: &dyn Display, fault: &dyn Display) {
    // A subscriber is a user's code, and so is what a client gave for an error.
    contained(|| {
        #[cfg(feature = "tracing")]
        tracing::error!(place = %place, "{fault}");
        #[cfg(not(feature = "tracing"))]
        {
            let place = place.to_string();
            if is_due(&place) {
                // Not `eprintln!`, which panics where standard error is closed.
                let _ = writeln!(io::stderr(), "tower-reauth: {place}: {fault}");
            }
        }
    });
}

/// Says that what was wrong with `place` is over: as an event at INFO under the feature `tracing`, else on standard error
/// where it was said there that something was.
pub(crate) fn mended(place: &dyn Display, how: &dyn Display) {
    contained(|| {
        #[cfg(feature = "tracing")]
        tracing::info!(place = %place, "{how}");
        #[cfg(not(feature = "tracing"))]
        {
            let place = place.to_string();
            if told().iter().any(|(known, _)| *known == place) {
                told().retain(|(known, _)| *known != place);
                let _ = writeln!(io::stderr(), "tower-reauth: {place}: {how}");
            }
        }
    });
}

/// Of which places it was said that something is wrong, and when.
#[cfg(not(feature = "tracing"))]
fn told() -> MutexGuard<'static, Vec<(String, Instant)>> {
    static TOLD: Mutex<Vec<(String, Instant)>> = Mutex::new(Vec::new());
    TOLD.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(not(feature = "tracing"))]
fn is_due(place: &str) -> bool {
    let now = Instant::now();
    let mut told = told();
    match told.iter_mut().find(|(known, _)| known == place) {
        Some((_, at)) if now.saturating_duration_since(*at) < Duration::from_secs(60) => return false,
        Some((_, at)) => *at = now,
        None => told.push((place.to_owned(), now)),
    }
    true
}
