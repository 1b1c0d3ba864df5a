//! What is counted and logged: one function for each kind of event, empty without the features.

use crate::{Denied, ended::EndReason};

/// Counts by reason. Those that are named have a key that was made when the program was compiled; for
/// any other one is made, which is an allocation.
#[cfg(feature = "metrics")]
macro_rules! count {
    ($name:literal, $reason:expr, often: [$($often:literal),+]) => {
        match $reason {
            $($often => metrics::counter!($name, "reason" => $often),)+
            reason => metrics::counter!($name, "reason" => reason),
        }
        .increment(1)
    };
}

/// A request was refused at the door.
#[allow(unused_variables, reason = "nothing looks when both features are off")]
pub(crate) fn refused(denied: &Denied) {
    #[cfg(feature = "metrics")]
    count!(
        "tower_reauth_refused_total",
        denied.as_str(),
        often: ["missing", "malformed", "rejected", "expired", "revoked", "locked_out", "insufficient_scope"]
    );

    #[cfg(feature = "tracing")]
    match denied {
        Denied::CheckPanicked | Denied::NoAccess { .. } | Denied::NoPeer => {
            tracing::error!(reason = denied.as_str(), "{denied}")
        }
        Denied::Unavailable { .. } => tracing::warn!(reason = denied.as_str(), "request refused: {denied}"),
        _ => tracing::debug!(reason = denied.as_str(), "request refused: {denied}"),
    }
}

/// A stream ended.
#[allow(unused_variables, reason = "nothing looks when both features are off")]
pub(crate) fn stream_ended(reason: EndReason) {
    #[cfg(feature = "metrics")]
    count!(
        "tower_reauth_streams_ended_total",
        reason.as_str(),
        often: ["finished", "disconnected", "expired", "revoked"]
    );

    #[cfg(feature = "tracing")]
    match reason {
        EndReason::CheckPanicked => tracing::error!(reason = reason.as_str(), "stream ended: {reason}"),
        EndReason::Unavailable | EndReason::TimedOut => {
            tracing::warn!(reason = reason.as_str(), "stream ended: {reason}");
        }
        _ => tracing::debug!(reason = reason.as_str(), "stream ended: {reason}"),
    }
}
