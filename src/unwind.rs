//! Calls into code that a user wrote, and that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::sync::Notify;

/// What `call` returns; `None` if it panics.
///
/// What the panic carried is forgotten rather than dropped, for its `Drop` may panic in turn.
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(std::mem::forget).ok()
}

/// Wakes all tasks that wait. A waker is an executor's own: one that panics keeps nobody else from being
/// told.
pub(crate) fn wake_all(notify: &Notify) {
    contained(|| notify.notify_waiters());
}
