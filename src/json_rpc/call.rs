//! A call of JSON-RPC 2.0, as far as an ending needs it.

use std::{collections::HashMap, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reauth::{CutBody, EndReason, Ending};

/// The call that a request makes, in the request's extensions: for a layer or handler further in that decides by it.
///
/// ```
/// use axum::{extract::Request, middleware::Next, response::Response};
/// use tower_reauth::{Access, Denied, Scope, json_rpc::Call};
///
/// const WRITE: Scope = Scope::from_static("files:write");
///
/// /// A tool of MCP that takes more than its server: 403 with the scope that is missing.
/// async fn step_up(access: Access, request: Request, next: Next) -> Result<Response, Denied> {
///     let call: Option<&Call> = request.extensions().get();
///     if call.is_some_and(|call| call.method() == "tools/call" && call.name() == Some("delete")) {
///         access.require(WRITE)?;
///     }
///     Ok(next.run(request).await)
/// }
/// # let _ = axum::middleware::from_fn::<_, (Access, Request)>(step_up);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    id: Box<str>,
    method: String,
    name: Option<String>,
}

/// A body that two who read it may take for different calls: it has a member twice, or is a batch.
pub(super) struct Ambiguous;

impl Call {
    /// The call that a body is, if it is one.
    pub(super) fn parse(body: &[u8]) -> Result<Option<Self>, Ambiguous> {
        if body.trim_ascii_start().starts_with(b"[") {
            return Err(Ambiguous);
        }
        let Ok(members) = serde_json::from_slice::<Members<'_>>(body) else { return Ok(None) };
        let params = members.get("params").and_then(|params| serde_json::from_str::<Members<'_>>(params.get()).ok());
        if members.has_double || params.as_ref().is_some_and(|params| params.has_double) {
            return Err(Ambiguous);
        }
        Ok(Self::of(&members, params.as_ref()))
    }

    fn of(members: &Members<'_>, params: Option<&Members<'_>>) -> Option<Self> {
        let method = text(members.get("method")?)?;
        let id = members.get("id")?.get();
        let is_id = id.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
        let name = params.and_then(|params| params.get("name")).and_then(text);
        is_id.then(|| Self { id: id.into(), method, name })
    }

    /// The `id`, as it was written: the JSON of a number or a text.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name of the method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The parameter `name`, if it is a text: which tool or prompt a call of MCP is for.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

/// The members of an object, their values unread.
#[derive(Default)]
struct Members<'a> {
    values: HashMap<String, &'a RawValue>,
    has_double: bool,
}

impl<'a> Members<'a> {
    fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.values.get(name).copied()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
                let mut members = Members::default();
                while let Some((name, value)) = map.next_entry()? {
                    members.has_double |= members.values.insert(name, value).is_some();
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(OfMap)
    }
}

fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
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
