//! `GET /openapi.json`: every route is described, and nothing else is.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::{
    client::Request,
    house::House,
    operators::{ADMIN, house, start},
    state::{SESSION, State},
};

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"];

/// The methods of each path, in upper case.
fn described(description: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = description["paths"].as_object().expect("paths").iter();
    let methods = |operations: &Value| operations.as_object().expect("operations").keys().cloned().collect::<Vec<_>>();
    let upper = |path: &Value| methods(path).iter().map(|method| method.to_ascii_uppercase()).collect();
    paths.map(|(path, operations)| (path.clone(), upper(operations))).collect()
}

fn served(house: &House) -> Value {
    let response = house.send(Request::new("GET", "/openapi.json"));
    assert_eq!((response.status, response.header("content-type")), (200, Some("application/json; charset=utf-8")));
    serde_json::from_str(&response.text()).expect("JSON")
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let source = include_str!("../../examples/gateway.rs");
    let routes: BTreeSet<String> =
        source.split(".route(\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.replace('*', ""))).collect();
    let written = serde_json::from_str(include_str!("../../examples/gateway/http/openapi.json")).expect("JSON");
    let described: BTreeSet<String> = described(&written).into_keys().collect();
    assert!(routes.len() >= 11);
    assert_eq!(described, routes);
}

#[test]
fn every_method_is_described_and_no_other_is_allowed() {
    let state = State::of_messages(1);
    let upstream: &[&str] = if cfg!(feature = "upstream") { &["--upstream", "http://127.0.0.1:9"] } else { &[] };
    let gateway = start(&state, upstream).run();
    let house = House { state, gateway };
    for (path, methods) in described(&served(&house)) {
        let id = if path.starts_with("/v1/") { "m" } else { "0000000000000001" };
        let target = path.replace("{key}", SESSION).replace("{id}", id);
        for method in METHODS {
            let response = house.ask(method, &target, ADMIN);
            if methods.contains(method) {
                assert!(response.status != 405, "{method} {path}");
                // A route that finds nothing says so in JSON.
                let is_text = response.header("content-type").is_some_and(|kind| kind.starts_with("text/plain"));
                assert!(response.status != 404 || !is_text, "{method} {path}");
            } else {
                let allowed: BTreeSet<_> = response.header("allow").unwrap_or_default().split(", ").collect();
                let expected = methods.iter().map(String::as_str).collect();
                assert_eq!((response.status, allowed), (405, expected), "{method} {path}");
            }
        }
    }
}

#[test]
fn what_is_not_there_is_not_described() {
    let house = house(&[]);
    let description = served(&house);
    assert!(described(&description).keys().all(|path| !path.starts_with("/v1/")), "{description}");
    assert_eq!(house.send(Request::new("HEAD", "/openapi.json")).status, 200);
}

#[test]
fn each_operation_says_who_may_ask_and_what_refusals_there_are() {
    let house = house(&[]);
    let description = served(&house);
    assert_eq!(description["openapi"], "3.1.0");
    let open = ["/", "/health", "/healthz", "/ready", "/readyz", "/openapi.json"];
    for (path, methods) in described(&description) {
        for method in methods {
            let operation = &description["paths"][&path][method.to_ascii_lowercase()];
            let is_open = operation["security"].as_array().expect("it is said who may ask").is_empty();
            assert_eq!(is_open, open.contains(&&*path), "{method} {path}");
            let refusals =
                ["401", "403", "429", "503"].iter().filter(|status| !operation["responses"][**status].is_null());
            assert_eq!(refusals.count(), if is_open { 0 } else { 4 }, "{method} {path}");
        }
    }
}
