//! What threads share, tried in every order in which two or three of them can run, stale reads
//! included: loom runs a model once for each. So a model's name says what never happens otherwise.
//!
//! The sources are the library's own; only what they find in [`sync`] is loom's.

#[expect(dead_code, reason = "gates choose by it")]
#[path = "../../src/revoke/beats.rs"]
mod beats;
#[expect(dead_code, reason = "the layers count the rest")]
#[path = "../../src/counts.rs"]
mod counts;
#[path = "../../src/revoke/holder.rs"]
mod holder;
#[path = "../../src/revoke/registry.rs"]
mod registry;
#[path = "../../src/revoke/revision.rs"]
mod revision;
mod revisions;
#[expect(dead_code, reason = "the door uses the rest")]
#[path = "../../src/revoke/running.rs"]
mod running;
#[expect(dead_code, reason = "gates use the rest")]
#[path = "../../src/revoke/shared_check.rs"]
mod shared_check;
mod shared_checks;
mod subscriptions;
mod sync;
#[allow(dead_code, reason = "a model needs few of it")]
#[path = "../../src/unwind.rs"]
mod unwind;
mod verify;

use tower_reauth::Identity;

/// No model has revocations that others share.
#[derive(Clone)]
enum Revocations {}

impl Revocations {
    fn lease(&self) -> Option<u64> {
        match *self {}
    }

    fn is_unsure(&self) -> bool {
        match *self {}
    }
}
