//! Pages of a history: limit and cursor.

use serde_json::{Value, json};

use crate::{
    house::House,
    state::State,
    stream::{ids, numbered},
};

#[test]
fn a_limit_takes_the_newest_and_a_cursor_those_before() {
    let house = House::over(State::of_messages(5));
    let page = house.page("?limit=2");
    assert_eq!(ids(&page), ["m4", "m5"]);
    assert_eq!((&page["hasMore"], &page["nextCursor"]), (&json!(true), &json!("4")));
    assert_eq!(page["items"], page["messages"]);
    assert_eq!(page["messages"][0]["__openclaw"]["seq"], 4);

    let page = house.page("?limit=2&cursor=4");
    assert_eq!(ids(&page), ["m2", "m3"]);
    let page = house.page("?limit=2&cursor=seq:2");
    assert_eq!(ids(&page), ["m1"]);
    assert_eq!((&page["hasMore"], &page["nextCursor"]), (&json!(false), &Value::Null));
}

#[test]
fn pages_walk_back_to_the_first_message() {
    let house = House::over(State::of_messages(57));
    let mut shown = Vec::new();
    let mut query = "?limit=10".to_owned();
    loop {
        let page = house.page(&query);
        shown.splice(0..0, ids(&page));
        match page["nextCursor"].as_str() {
            Some(cursor) => query = format!("?limit=10&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(shown, numbered(57));
}

#[test]
fn what_was_appended_is_on_the_next_page() {
    let house = House::over(State::of_messages(2));
    assert_eq!(ids(&house.page("?limit=1")), ["m2"]);
    house.state.append(&crate::state::message(3));
    assert_eq!(ids(&house.page("?limit=1")), ["m3"]);
    assert_eq!(ids(&house.page("")), numbered(3));
}
