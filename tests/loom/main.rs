//! What threads share, tried in every order in which two or three of them can run, stale reads
//! included: loom runs a model once for each. So a model's name says what never happens otherwise.
//!
//! The sources are the library's own; only what they find in [`sync`] is loom's.

mod bearer;
#[path = "../../src/reauth/crowd.rs"]
mod crowd;
mod holders;
mod moves;
mod questions;
#[path = "../../src/reauth/registry.rs"]
mod registry;
#[path = "../../src/reauth/revision.rs"]
mod revision;
mod sync;

use tower_reauth::Identity;

// By the name that `verify` has for it.
use crate::revision as reauth;
