//! A stream takes over a fresh credential and outlives the one that opened it.

use std::time::Duration;

use crate::{
    client::{End, PATIENCE, Request, Response},
    house::{ADMIN, House, NEXT, READER},
};

fn house() -> House {
    let house = House::open(&[]);
    house.sessions(&[("a", "")]);
    house
}

/// A stream of the reader's, and the target that renews it.
fn open(house: &House) -> (Response, String) {
    let mut stream = house.events("a", "").send(house.served.address).unwrap();
    assert_eq!(stream.blocks(2, PATIENCE).len(), 2);
    let id = stream.header("x-stream-id").expect("an id").to_owned();
    (stream, format!("/streams/{id}/renew"))
}

/// The status of a request to renew.
fn renew(house: &House, target: &str, token: &str) -> u16 {
    let request = Request::new("POST", target).header("Authorization", &format!("Bearer {token}"));
    request.send(house.served.address).unwrap().status
}

#[test]
fn a_renewed_stream_outlives_the_token_that_opened_it() {
    let house = house();
    let (mut renewed, target) = open(&house);
    let (mut left, _) = open(&house);
    assert_eq!(renew(&house, &target, NEXT), 200);
    house.revoke_reader();
    assert_eq!(left.end_within(PATIENCE), Some(End::Clean));

    house.append("a", "{\"message\":{\"role\":\"user\",\"content\":\"still here\"}}\n");
    let blocks = renewed.blocks(3, PATIENCE);
    assert!(blocks[2].contains("still here"), "{blocks:?}");
    assert_eq!(renewed.end_within(Duration::from_millis(300)), None);
    house.close();
}

#[test]
fn nobody_else_renews_a_stream() {
    let house = house();
    let (mut stream, target) = open(&house);
    assert_eq!(renew(&house, &target, ADMIN), 403);
    assert_eq!(renew(&house, &target, "unknown"), 401);
    assert_eq!(renew(&house, "/streams/00000000000000000000000000000000/renew", NEXT), 404);
    assert_eq!(renew(&house, "/streams/anything/renew", NEXT), 404);
    let get = Request::new("GET", &target).send(house.served.address).unwrap();
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    house.revoke_reader();
    assert_eq!(stream.end_within(PATIENCE), Some(End::Clean));
    house.close();
}

#[test]
fn a_stream_that_is_over_cannot_be_renewed() {
    let house = house();
    let (mut stream, target) = open(&house);
    let (_, other) = open(&house);
    assert_ne!(target, other);
    assert_eq!(renew(&house, &target, READER), 200);
    assert!(house.kill("a"));
    assert_eq!(stream.end_within(PATIENCE), Some(End::Clean));
    assert_eq!(renew(&house, &target, READER), 404);
    house.close();
}
