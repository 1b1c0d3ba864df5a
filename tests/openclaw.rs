//! The gateway answers as OpenClaw does.
//!
//! `openclaw/vectors/` holds what OpenClaw 2026.9.6 answers: packs of requests over states of its folder, recorded from
//! a running gateway. They are replayed against ours, over real sockets, one gateway for each profile. The histories
//! are the files that OpenClaw imported, or, where it changed records on the way, those that it had stored, one a line;
//! of its answers they have all but where each record is stored. `openclaw/sample-state/` is a folder that OpenClaw itself
//! wrote, and `openclaw/sample-expected/` what it answered for it; `openclaw/sample-database/` has both for a database. For
//! that `openclaw/sample-sockets/` has what was said over sockets.
//!
//! The last parts need no recording: whatever is in a transcript, reading it keeps the rules, and takes time in proportion.

// Not every test asks everything of it.
#[allow(dead_code)]
mod client;
mod served;

// The example is taken in whole, as its own `main` takes it; what only that needs is unused here.
#[allow(dead_code)]
#[path = "../examples/gateway.rs"]
mod server;
// The rooms of the example name each other by this path.
use server::{auth, config, files, http, json, live, measure, nodes, plain, serve, sessions, systemd, tls};
#[cfg(feature = "edge")]
use server::{edge, upstream};

mod openclaw {
    mod any_transcript;
    mod compare;
    mod disk;
    mod house;
    mod linear;
    mod live;
    mod pack;
    mod profiles;
    mod replay;
    mod sample;
    mod sample_database;
    #[cfg(feature = "websocket")]
    mod sockets;
}
