//! What takes an earlier answer back: [`Revision`], a verifier's counter that moves when its answers may have
//! changed, and [`Revocations`], for verifiers that cannot revoke, such as those of signed tokens.

// - `revision`, `revocations`: these two; `revocation`: what is revoked, as a value; `remembered`: many of them.
// - `shared`: revocations that other nodes share.
// - `shared_check`: the recheck that all streams of one credential share.
// - `running`: a check on its way, and its answer; `confirmed`: as of when it holds.
// - `flight`: one check for equal credentials that arrive together.
// - `holder`: whose the streams of a credential are.
// - `keepers`: verifiers that keep what they know of tokens.
// - `events`: revocations that an identity provider sends.
// - `beats`: when the streams of a credential have their heartbeats.
// - `registry`: values by credential, each kept for as long as a stream subscribes to it.
//
// # How an idle stream is woken and ended
//
// 1. A verifier changes its mind and calls `Revision::bump` or `Revision::bump_for`, or somebody calls a
//    method of `Revocations`.
// 2. Both find the credentials concerned in a `Registry` and wake their streams by `unwind::wake_all`: for a
//    revision in `Inner::wake` and `Inner::wake_for`, for revocations in `SharedCheck::revoke`. A revocation
//    is an alert, and so is a denial that any stream of the credential receives.
// 3. The stream's task was parked by `Guard::poll_wake` (in `reauth/guard.rs`), on that notification and one
//    timer. Woken, it polls its body, and that runs `Guard::poll_verdict`.
// 4. `Guard::step` ends a stream whose holder was revoked, without a check. Else `Gate::next` compares
//    the revision with the one that was confirmed last, and says `Ask`.
// 5. `SharedCheck::begin` asks the verifier, once for all streams of the credential, and
//    `Access::apply` says what the answer means for this stream.
// 6. `Guard::ended` makes the end final. `WatchedProj::end` (in `reauth/body.rs`) drops the inner body and
//    writes the ending.

mod beats;
mod confirmed;
#[cfg(feature = "security-events")]
pub mod events;
mod flight;
mod holder;
mod keepers;
mod registry;
mod remembered;
mod revision;
mod revocation;
mod revocations;
mod running;
pub mod shared;
mod shared_check;

pub(crate) use self::{
    beats::Beats,
    confirmed::Confirmed,
    flight::{AsOf, Flights, Waiting},
    holder::Holder,
    keepers::Keeper,
    registry::{Entry, Registry, Subscription},
    running::Answer,
    shared_check::{CheckRequest, CheckStart, PendingCheck, SharedCheck},
};
pub use self::{
    revision::Revision,
    revocation::{Revocation, Subject},
    revocations::Revocations,
};
