//! The layer.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::HeaderName;
use tower_layer::Layer;

use super::{
    SessionBinding,
    table::{Limits, Table},
};
use crate::respond::EmptyBody;

/// Refuses the id of a session from anybody but the caller who began it, as described in the
/// [module's documentation](super).
#[derive(Clone)]
pub struct SessionBindingLayer<R = EmptyBody> {
    pub(super) header: HeaderName,
    pub(super) sessions: Arc<Sessions>,
    respond: R,
}

/// The table of a layer and its clones.
pub(super) struct Sessions {
    pub(super) limits: Limits,
    table: Mutex<Table>,
}

impl SessionBindingLayer {
    /// Binds the sessions that `Mcp-Session-Id` names.
    #[must_use]
    pub fn new() -> Self {
        let limits = Limits { capacity: 10_000, per_caller: 1_000, idle: Duration::from_secs(24 * 60 * 60) };
        Self { header: HeaderName::from_static("mcp-session-id"), sessions: Sessions::new(limits), respond: EmptyBody }
    }
}

impl Default for SessionBindingLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<R> SessionBindingLayer<R> {
    /// Takes another header, of requests and responses alike, for that which names a session.
    #[must_use]
    pub fn with_header(mut self, header: HeaderName) -> Self {
        self.header = header;
        self
    }

    /// How many sessions are remembered: one more, and that which was named the longest ago is forgotten. Default:
    /// 10,000. Begins with an empty memory.
    #[must_use]
    pub fn with_capacity(self, sessions: usize) -> Self {
        self.with_limits(|limits| limits.capacity = sessions)
    }

    /// How many of them may be one caller's: one more, and that of theirs is forgotten which was named the longest ago.
    /// Default: 1,000. Begins with an empty memory.
    #[must_use]
    pub fn with_per_caller(self, sessions: usize) -> Self {
        self.with_limits(|limits| limits.per_caller = sessions)
    }

    /// How long a session is remembered that no request names. Default: a day. Begins with an empty memory.
    #[must_use]
    pub fn with_idle_time(self, idle: Duration) -> Self {
        self.with_limits(|limits| limits.idle = idle)
    }

    /// Answers refusals by `respond`, for instance a closure `Fn(&Denied) -> Response<B>`.
    #[must_use]
    pub fn with_response<T>(self, respond: T) -> SessionBindingLayer<T> {
        SessionBindingLayer { header: self.header, sessions: self.sessions, respond }
    }

    /// How many sessions are remembered now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.sessions.table().len()
    }

    fn with_limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        let mut limits = self.sessions.limits;
        change(&mut limits);
        self.sessions = Sessions::new(limits);
        self
    }
}

impl Sessions {
    fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, table: Mutex::default() })
    }

    // No code of a user's runs under this lock.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S, R: Clone> Layer<S> for SessionBindingLayer<R> {
    type Service = SessionBinding<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        SessionBinding {
            inner,
            header: self.header.clone(),
            sessions: Arc::clone(&self.sessions),
            respond: self.respond.clone(),
        }
    }
}

impl<R> fmt::Debug for SessionBindingLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionBindingLayer").field("header", &self.header).finish_non_exhaustive()
    }
}
