//! A call of JSON-RPC 2.0, as far as an ending needs it.

use std::collections::HashMap;

use serde_json::value::RawValue;

use crate::reauth::{CutBody, EndReason, Ending};

/// The `id` of the call that a body is, as it was written.
pub(super) fn id_of(body: &[u8]) -> Option<Box<str>> {
    let members: HashMap<String, &RawValue> = serde_json::from_slice(body).ok()?;
    members.get("method").filter(|method| method.get().starts_with('"'))?;
    let id = members.get("id")?.get();
    id.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit()).then(|| id.into())
}

/// How the stream ends that answers this call.
pub(super) fn ending_of(id: Box<str>) -> Ending {
    Ending::last_bytes(move |cut: &CutBody<'_>| {
        let (reason, reconnect, code) = (cut.reason.as_str(), cut.reason.is_transient(), code(cut.reason));
        let error = format!(
            r#"{{"code":{code},"message":"access ended","data":{{"reason":"{reason}","reconnect":{reconnect}}}}}"#
        );
        let response = format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{error}}}"#);
        match (cut.is_event_stream(), cut.is_line_open) {
            (true, _) => format!("data: {response}\n\n").into(),
            (false, true) => format!("\n{response}\n").into(),
            (false, false) => format!("{response}\n").into(),
        }
    })
}

/// The status of a refusal for the same reason.
fn code(reason: EndReason) -> u16 {
    match reason {
        EndReason::ScopeLost => 403,
        EndReason::LockedOut => 429,
        reason if reason.is_transient() => 503,
        _ => 401,
    }
}
