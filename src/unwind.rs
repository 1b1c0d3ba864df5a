//! Calls into code that a user wrote, and that may panic.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `call` returns; `None` if it panics.
///
/// What the panic carried is forgotten rather than dropped, for its `Drop` may panic in turn.
pub(crate) fn contained<T>(call: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(call)).map_err(std::mem::forget).ok()
}
