//! Edges: gateways without sessions, which serve those of another one, their origin.
//!
//! ```text
//!              GET .../history, a page;  GET .../join;  GET .../follow (open)
//!   client ──> edge ──────────────────────────────────────────────────────> origin ──> transcripts
//!                ^                                                             │
//!                └── XREAD ── Redis: a stream for each session that is followed <── XADD, once
//! ```
//!
//! 1. An edge says who may call by its own settings, and what is revoked by the log that all share. It asks the origin by a
//!    credential of its own, which has to be an admin's.
//! 2. While an edge has a stream of a session, it follows that at the origin: by one open request, which says where in Redis
//!    the events are. The origin publishes them there once, however many edges follow, and until the last of them goes.
//! 3. A stream begins with what the origin says of that moment (`join`), as it would there, and goes on with what is published
//!    after. By the position that the id of each event says, what both have is sent once ([`entry::Told`]): nothing is
//!    lost or repeated in between.
//! 4. Ids are the origin's. So a client goes on after its last one at any edge, and at the origin.
//! 5. Each run of an origin has streams of its own in Redis. After a restart of the origin all streams of its edges begin
//!    anew, as after a restart of a gateway.
//! 6. An entry of a stream names the one before it. Where there is another one, something was lost, and the streams begin anew.
//! 7. Without the origin, streams stay open, and what a client missed of one that is followed still is known; pages are
//!    503. Without Redis nothing comes, until streams end because nobody knows any more what is revoked.
//!
//! On the origin:
//!
//! - `publish`: what is followed, and sent to Redis; the routes for it
//! - `redis`: streams in Redis
//!
//! On both:
//!
//! - `entry`: what is in such a stream
//!
//! On an edge:
//!
//! - `origin`: what is asked of the origin
//! - `feed`: a session that is followed there, for all streams that show it alike
//! - `pages`: pages that it has
//! - `tail`: reading what is published of all of them
//! - `serve`: the routes

mod entry;
mod feed;
mod origin;
mod pages;
mod publish;
mod redis;
mod serve;
mod tail;

pub use self::{
    pages::unless_known,
    publish::{Publishers, follow, join},
    serve::{Edge, history, kill, sessions},
};
