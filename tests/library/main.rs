//! The library's specification, through its public API: one file for each promise or subject, one
//! test, named by a sentence, for each thing that is promised.
//!
//! Time is tokio's paused clock, and the wall clock follows it; only what goes over a socket (in `grpc`,
//! `ndjson`, `sockets`, `supervised`, `uploads`, `watched_sockets` and `websocket`) or blocks a thread runs in real time.

mod answers;
mod axum;
mod bearer_syntax;
mod bounded_door;
mod cached;
mod code_of_users;
mod cookies;
mod door;
mod endings;
mod expiry;
mod fail_closed;
mod grpc;
mod heartbeat;
mod hostile;
mod http_client;
mod introspection;
mod json_rpc;
mod layers_add_up;
mod live_scopes;
mod ndjson;
mod no_race_at_the_door;
mod no_stale_byte;
mod observed;
mod only_streams;
mod open_streams;
mod places;
mod refusals;
mod release;
mod renewal;
mod required_scopes;
mod resolved_scopes;
mod revocation;
mod revocations;
mod revoked_tokens;
mod secrets;
mod security_events;
mod shared_check;
mod shared_limiter;
mod shared_revocations;
mod simulation;
mod small;
mod sockets;
mod streams_and_sinks;
mod supervised;
mod support;
mod tokens;
mod transparent;
mod uploads;
mod watched_sockets;
mod websocket;
