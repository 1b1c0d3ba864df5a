//! Promise 8 for lines of JSON over a real connection: a client that trusts a clean end must be able
//! to tell a stream that was cut from one that is whole.

use tower_reauth::{
    StaticToken,
    reauth::{CutBody, Ending},
};

use crate::{
    sockets::{Read, Version, read_as},
    support::Feed,
};

async fn read(version: Version, ending: Ending, script_it: impl FnOnce(&Feed, StaticToken)) -> Read {
    read_as("application/x-ndjson", version, ending, script_it).await
}

/// Lines, and then a rotation with the next line already there.
fn lines_and_a_rotation(feed: &Feed, secret: StaticToken) {
    for line in 0..3 {
        feed.data(format!("{{\"line\":{line}}}\n"));
    }
    feed.aside(move || secret.rotate("another"));
    feed.data("{\"line\":\"stale\"}\n");
}

/// What a client reads: a value a line.
fn values(read: &Read) -> Vec<serde_json::Value> {
    let text = std::str::from_utf8(&read.bytes).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn lines() -> Vec<serde_json::Value> {
    (0..3).map(|line| serde_json::json!({ "line": line })).collect()
}

#[tokio::test]
async fn lines_that_were_aborted_are_visibly_incomplete() {
    for version in [Version::Http1, Version::Http2] {
        let seen = read(version, Ending::Abort, lines_and_a_rotation).await;
        assert_eq!((values(&seen), seen.is_complete), (lines(), false), "{version:?}");
    }
}

#[tokio::test]
async fn lines_may_end_with_a_last_line_that_says_why() {
    let last_line = |cut: &CutBody<'_>| format!("{{\"ended\":\"{}\"}}\n", cut.reason.as_str()).into();
    for version in [Version::Http1, Version::Http2] {
        let seen = read(version, Ending::last_bytes(last_line), lines_and_a_rotation).await;
        let mut expected = lines();
        expected.push(serde_json::json!({ "ended": "revoked" }));
        assert_eq!((values(&seen), seen.is_complete), (expected, true), "{version:?}");
    }
}

#[tokio::test]
async fn lines_that_came_to_their_own_end_have_no_last_line() {
    for version in [Version::Http1, Version::Http2] {
        let whole = |feed: &Feed, _: StaticToken| {
            (0..3).for_each(|line| feed.data(format!("{{\"line\":{line}}}\n")));
            feed.end();
        };
        let seen = read(version, Ending::last_bytes(|_| "{\"ended\":true}\n".into()), whole).await;
        assert_eq!((values(&seen), seen.is_complete), (lines(), true), "{version:?}");
    }
}
