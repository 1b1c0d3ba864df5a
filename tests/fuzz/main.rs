//! All fuzz targets in one program, so that it is linked once: see the README beside this file.
//!
//! Built with `--cfg fuzzing`, as `.ci/fuzz` does, it is libFuzzer on the target that `FUZZ_TARGET` names. Built as any
//! other program it runs inputs that were found: `cargo run -p fuzz -- TARGET FILE…`. Without a target
//! both print the names of all.

#![cfg_attr(fuzzing, no_main)]

mod gateway;
mod library;
// The example is taken in whole, and of much of it only the process has a use.
#[allow(dead_code)]
#[path = "../../examples/gateway.rs"]
mod server;
mod support;

// The rooms of the example name each other by these paths.
use server::{auth, config, files, http, json, live, measure, nodes, plain, serve, sessions, systemd, tls};

/// A target: what must hold of an input of these bytes. It panics where it does not.
type Target = fn(&[u8]);

const TARGETS: &[(&str, Target)] = &[
    ("branch", gateway::branch::run),
    ("client_address", library::client_address::run),
    ("client_tokens", gateway::client_tokens::run),
    ("compressed_record", gateway::compressed_record::run),
    ("credentials", library::credentials::run),
    ("database", gateway::database::run),
    ("declared_scopes", library::declared_scopes::run),
    ("discovery", library::discovery::run),
    ("event_stream", library::event_stream::run),
    ("failure_store", library::failure_store::run),
    ("grpc_web", library::grpc_web::run),
    ("history_query", gateway::history_query::run),
    ("hosts", library::hosts::run),
    ("introspection", library::introspection::run),
    ("json", gateway::json::run),
    ("json_rpc", library::json_rpc::run),
    ("jwt", library::jwt::run),
    ("key_set", library::key_set::run),
    ("logout_token", library::logout_token::run),
    ("openclaw_json", gateway::openclaw_json::run),
    ("origin", library::origin::run),
    ("projection", gateway::projection::run),
    ("proxied_user", library::proxied_user::run),
    ("request", gateway::request::run),
    ("resume_id", gateway::resume_id::run),
    ("revocation_log", library::revocation_log::run),
    ("scopes", library::scopes::run),
    ("security_event", library::security_event::run),
    ("socket_message", gateway::socket_message::run),
    ("transcript", gateway::transcript::run),
];

/// The target of that name.
fn named(name: &str) -> Option<Target> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

#[cfg(not(fuzzing))]
fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let Some(name) = arguments.next() else {
        return TARGETS.iter().for_each(|(name, _)| println!("{name}"));
    };
    let target = name.to_str().and_then(named).unwrap_or_else(|| panic!("no such target: {}", name.display()));
    for file in arguments {
        target(&std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display())));
        println!("{}: holds", file.display());
    }
}

#[cfg(fuzzing)]
mod by_libfuzzer {
    use std::sync::OnceLock;

    static TARGET: OnceLock<super::Target> = OnceLock::new();

    fn choose() {
        let Ok(name) = std::env::var("FUZZ_TARGET") else {
            super::TARGETS.iter().for_each(|(name, _)| println!("{name}"));
            std::process::exit(0);
        };
        let target = super::named(&name).unwrap_or_else(|| panic!("no such target: {name}"));
        TARGET.get_or_init(|| target);
    }

    libfuzzer_sys::fuzz_target!(init: choose(), |input: &[u8]| TARGET.get().expect("it was chosen")(input));
}
