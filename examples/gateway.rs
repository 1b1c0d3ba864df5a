//! The gateway: a session-history server whose streams end when access ends.

#[path = "gateway/mod.rs"]
mod gateway;

fn main() {}
