//! What is counted and logged: one function for each kind of event, empty without the features.

use crate::{Denied, reauth::EndReason};

/// A request was refused at the door.
#[allow(unused_variables, reason = "nothing looks when both features are off")]
pub(crate) fn refused(denied: &Denied) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_reauth_refused_total", "reason" => denied.as_str()).increment(1);

    #[cfg(feature = "tracing")]
    match denied {
        Denied::NoAccess { .. } | Denied::NoPeer => tracing::error!(reason = denied.as_str(), "{denied}"),
        Denied::Unavailable { .. } => tracing::warn!(reason = denied.as_str(), "request refused: {denied}"),
        _ => tracing::debug!(reason = denied.as_str(), "request refused: {denied}"),
    }
}

/// A stream ended.
#[allow(unused_variables, reason = "nothing looks when both features are off")]
pub(crate) fn stream_ended(reason: EndReason) {
    #[cfg(feature = "metrics")]
    metrics::counter!("tower_reauth_streams_ended_total", "reason" => reason.as_str()).increment(1);

    #[cfg(feature = "tracing")]
    match reason {
        EndReason::CheckPanicked => tracing::error!(reason = reason.as_str(), "stream ended: {reason}"),
        EndReason::Unavailable | EndReason::TimedOut => {
            tracing::warn!(reason = reason.as_str(), "stream ended: {reason}");
        }
        _ => tracing::debug!(reason = reason.as_str(), "stream ended: {reason}"),
    }
}
