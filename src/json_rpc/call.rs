//! A call of JSON-RPC 2.0, as far as who decides by it and its ending need it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::reauth::{CutBody, EndReason, Ending};

/// The call that a request makes, in the request's extensions: for a layer or handler further in that decides by it.
/// A notification is one too: whether or not anybody hears of it, it may have an effect.
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
    id: Option<Box<str>>,
    method: String,
    name: Option<String>,
}

/// A body that is no object, or that two who read it may take for different calls.
pub(super) struct Unclear;

/// The longest `id` that a stream keeps, in bytes.
const MOST_ID: usize = 256;

impl Call {
    /// The call that a body is, if it is one. An empty one is none.
    pub(super) fn of(body: &[u8]) -> Result<Option<Self>, Unclear> {
        if body.is_empty() {
            return Ok(None);
        }
        let members = Members::parse(body)?;
        let params = match members.params {
            Some(params) if params.get().starts_with('{') => Members::parse(params.get().as_bytes())?,
            _ => Members::default(),
        };
        let Some(method) = members.method.and_then(text) else { return Ok(None) };
        let is_id = |id: &&str| id.starts_with(|first: char| first == '"' || first == '-' || first.is_ascii_digit());
        let id = members.id.map(RawValue::get).filter(is_id).map(Box::from);
        Ok(Some(Self { id, method, name: params.name.and_then(text) }))
    }

    /// The `id` of the response, as it was written: the JSON of a number or a text. `None` for a notification, and
    /// for an `id` that is neither.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The name of the method.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The parameter `name`, if it is a text: which tool or prompt a call of MCP is for. Parameters by position, which
    /// MCP does not have, have no names.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How the stream ends that answers this call, if it has one.
    pub(super) fn ending(&self) -> Option<Ending> {
        self.id.clone().filter(|id| id.len() <= MOST_ID).map(ending_of)
    }
}

/// The members of an object that are looked at, their values unread.
#[derive(Default)]
struct Members<'a> {
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    name: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    fn parse(object: &'a [u8]) -> Result<Self, Unclear> {
        serde_json::from_slice(object).map_err(|_| Unclear)
    }

    fn named(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        // Some readers do not tell upper case from lower (Go's `encoding/json`): two such members are the same.
        let is = |known: &str| name.chars().flat_map(char::to_uppercase).eq(known.chars());
        match () {
            () if is("ID") => Some(&mut self.id),
            () if is("METHOD") => Some(&mut self.method),
            () if is("PARAMS") => Some(&mut self.params),
            () if is("NAME") => Some(&mut self.name),
            () => None,
        }
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
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    let Some(member) = members.named(&name) else { continue };
                    if member.replace(value).is_some() {
                        return Err(M::Error::custom("a member that stands there twice"));
                    }
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

fn ending_of(id: Box<str>) -> Ending {
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
        EndReason::ScopeLost | EndReason::Closed => 403,
        EndReason::LockedOut => 429,
        reason if reason.is_transient() => 503,
        _ => 401,
    }
}
