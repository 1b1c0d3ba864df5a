//! What the gateway promises of its streams beyond what OpenClaw does, over real sockets.

// Not every test asks everything of it.
#[allow(dead_code)]
#[path = "../client/mod.rs"]
mod client;
mod faults;
mod house;
mod renew;
mod resume;
mod scopes;
#[path = "../served/mod.rs"]
mod served;
mod stalled;

// The example is taken in whole, as its own `main` takes it; what only that needs is unused here.
#[allow(dead_code)]
#[path = "../../examples/gateway.rs"]
mod server;
// The rooms of the example name each other by this path.
use server::{auth, config, files, http, json, live, measure, nodes, plain, serve, sessions, systemd, tls};
#[cfg(feature = "edge")]
use server::{edge, upstream};
