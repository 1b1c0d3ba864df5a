//! A stream whose scopes shrink goes on, and tells who asked.

use std::time::Duration;

use crate::{client::PATIENCE, house::House};

#[test]
fn a_client_that_asks_is_told_when_its_scopes_shrink() {
    let house = House::open(&[]);
    house.sessions(&[("a", "")]);
    let mut asked = house.events("a", "?scopes").send(house.served.address).unwrap();
    let mut other = house.events("a", "").send(house.served.address).unwrap();
    let told = asked.blocks(3, PATIENCE);
    assert_eq!(told[0], "event: scopes\ndata: {\"scopes\":[\"operator.read\",\"operator.write\"]}");
    assert_eq!(told[1], "retry: 1000");

    house.narrow_reader();
    let told = asked.blocks(4, PATIENCE);
    assert_eq!(told[3], "event: scopes\ndata: {\"scopes\":[\"operator.read\"]}");
    // Both go on, and who did not ask was told nothing.
    house.append("a", "{\"message\":{\"role\":\"user\",\"content\":\"on\"}}\n");
    assert!(asked.blocks(5, PATIENCE)[4].starts_with("event: message\n"));
    assert!(other.blocks(3, PATIENCE)[2].starts_with("event: message\n"));
    assert_eq!(asked.end_within(Duration::from_millis(100)), None);
    house.close();
}
