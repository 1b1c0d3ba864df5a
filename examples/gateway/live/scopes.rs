//! [`ScopeUpdates`]: the scopes that a stream has, sent as they change.
//!
//! A recheck can leave a stream with fewer scopes that are still enough for it. A client that asks, by
//! a parameter `scopes`, gets them: a `scopes` event comes before all others, and another one whenever
//! they are not those that were sent last. OpenClaw has no such event, so nobody else gets it. It has no id.

use serde_json::json;
use tower_reauth::{Access, Scope, ScopeSet};

use super::event::Event;

/// What one client was sent.
pub struct ScopeUpdates {
    access: Access,
    last: Option<ScopeSet>,
}

impl ScopeUpdates {
    /// For a client with this query, if it asks.
    pub fn asked(query: &str, access: &Access) -> Option<Self> {
        let asks = form_urlencoded::parse(query.as_bytes()).any(|(name, _)| name == "scopes");
        asks.then(|| Self { access: access.clone(), last: None })
    }

    /// The event to send now, if the scopes have changed.
    pub fn next(&mut self) -> Option<Event> {
        let granted = self.access.granted();
        if self.last.as_ref() == Some(granted.scopes()) {
            return None;
        }
        let scopes: Vec<_> = granted.scopes().iter().map(Scope::as_str).collect();
        let data = json!({ "scopes": scopes }).to_string();
        self.last = Some(granted.scopes().clone());
        Some(Event::new("", "scopes", |json| json.extend_from_slice(data.as_bytes())))
    }
}
