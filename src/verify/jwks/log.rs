//! What is said of a provider.

use std::time::Duration;

use super::JwksError;
#[cfg(feature = "tracing")]
use crate::unwind::contained;
use crate::{fault, verify::jwt::KeySet};

/// The keys are others than before.
pub(super) fn fetched(keys: &KeySet) {
    if keys.len() == 0 {
        let first = keys.skipped().first().map(|first| format!(": {first}")).unwrap_or_default();
        fault::report(&"there are no keys", &format_args!("the provider names none that can be used{first}"));
    }
    #[cfg(feature = "tracing")]
    contained(|| {
        for skipped in keys.skipped() {
            tracing::debug!(%skipped, "key not used");
        }
        tracing::info!(keys = keys.len(), skipped = keys.skipped().len(), "keys fetched");
    });
}

/// The keys are as before, if there are any: they are good for `left` from now on.
pub(super) fn not_fetched(error: &JwksError, left: Option<Duration>) {
    match left.filter(|left| !left.is_zero()) {
        None => fault::report(&"there are no keys", error),
        #[cfg(feature = "tracing")]
        Some(left) => drop(contained(|| tracing::warn!(%error, ?left, "keys not fetched"))),
        #[cfg(not(feature = "tracing"))]
        Some(_) => {}
    }
}
