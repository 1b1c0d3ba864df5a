//! The last event of a stream that ends before its session does.
//!
//! A stream that an operator ends, or that ends as the gateway does, says so, and whether to come back. The others
//! end as OpenClaw's do, without a word, unless their client asks for one by a parameter `reasons`.

use tower_reauth::reauth::{EndReason, Ending};

/// Whether a client with this query wants to know of every end why it was.
pub fn asks_for_reasons(query: &str) -> bool {
    form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "reasons")
}

/// What a stream says last: always, or where an operator was the reason.
pub fn ending(always: bool) -> Ending {
    Ending::last_bytes(move |cut| {
        if !always && !matches!(cut.reason, EndReason::Closed | EndReason::ShuttingDown) {
            return Default::default();
        }
        // It said how long to wait when it began.
        let (reason, reconnect) = (cut.reason.as_str(), cut.reason.is_transient());
        format!("event: reauth\ndata: {{\"reason\":\"{reason}\",\"reconnect\":{reconnect}}}\n\n").into()
    })
}
