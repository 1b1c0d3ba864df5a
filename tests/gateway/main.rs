//! The gateway as a real process over real sockets: one file for each thing that it does.
//!
//! Each test starts a process of its own on a port of its own, over a scratch state folder. What must
//! happen at once has [`house::AT_ONCE`], far less than the heartbeat, so that no heartbeat can pass
//! for a push.

#[path = "../client/mod.rs"]
mod client;

mod audit;
mod bad_input;
mod canary;
mod challenges;
mod changed_settings;
mod changed_transcripts;
mod client_tokens;
mod connections;
mod cors;
mod database;
mod demo;
mod forged_lines;
mod headers;
mod house;
mod http2;
mod kill;
mod limits;
mod listing;
mod live;
mod log;
#[cfg(feature = "jemalloc")]
mod memory;
#[cfg(feature = "metrics")]
mod metrics;
mod model;
mod open_streams;
mod openapi;
mod operators;
mod output;
mod page;
mod pages;
mod process;
mod reload;
mod revoked;
mod settings;
mod shutdown;
#[cfg(feature = "websocket")]
mod sockets;
mod spans;
mod start;
mod state;
mod steer;
mod stream;
mod systemd;
#[cfg(feature = "tls")]
mod tls;
mod token_file;
mod told_apart;
#[cfg(feature = "upstream")]
mod upstream;
#[path = "../../examples/gateway/demo/database.rs"]
mod writer;
mod writers;
