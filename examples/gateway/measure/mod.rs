//! What operators measure: metrics to scrape, and a span of each request for the log.
//!
//! - `names`: what is counted, and by which names
//! - `request`: the span of a request, and its time
//! - `traceparent`: the trace that a request is part of
//! - `scrape`: `GET /metrics`
//! - `nearby`: who may scrape without saying who they are
//! - `process`: what the operating system says of this process
//!
//! What the layers count is the library's to say ([`tower_reauth::observe`]).

mod names;
#[cfg(feature = "metrics")]
mod nearby;
#[cfg(feature = "metrics")]
mod process;
mod request;
#[cfg(feature = "metrics")]
mod scrape;
mod traceparent;

pub use self::{
    names::{Counted, HeldBack, PageFrom, accepted, caught_up, held_back, page},
    request::{RequestLayer, note_matched, note_route},
};
#[cfg(feature = "metrics")]
pub use self::{
    nearby::NearbyLayer,
    scrape::{Exporter, route},
};
