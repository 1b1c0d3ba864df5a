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

#[cfg(not(feature = "tracing"))]
fn is_due(place: &str) -> bool {
    static TOLD: Mutex<Vec<(String, tokio::time::Instant)>> = Mutex::new(Vec::new());
    let now = tokio::time::Instant::now();
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    told.retain(|(_, at)| now.saturating_duration_since(*at) < Duration::from_secs(60));
    let is_due = told.iter().all(|(known, _)| known != place);
    if is_due {
        told.push((place.to_owned(), now));
    }
    is_due
}
