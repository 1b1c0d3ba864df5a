//! How much room revocations take that go on day after day, of tokens that expire by themselves.

use std::{
    env,
    time::{Duration, SystemTime},
};

use allocation_counter::measure;
use tower_reauth::revoke::Revocations;

use crate::support::Wall;

const HOUR: Duration = Duration::from_secs(3600);

/// How many are revoked a day, unless it is said: `REVOCATIONS_A_DAY=1000000`.
fn a_day() -> usize {
    env::var("REVOCATIONS_A_DAY").map_or(20_000, |text| text.parse().expect("a number"))
}

/// A token is revoked within the hour before it expires, and has an id as long as that of an RFC 9562 UUID.
fn revocation(number: usize, now: SystemTime) -> (String, SystemTime) {
    (format!("{number:036}"), now + HOUR / 60 * u32::try_from(number % 60).expect("less than 60"))
}

/// What is known by a node: its entries, as it says by itself.
fn entries(revocations: &Revocations) -> usize {
    let text = format!("{revocations:?}");
    let digits = text.split_once("credentials: ").expect("it says that").1;
    digits.split_once(',').expect("more follows").0.parse().expect("a number")
}

#[tokio::test(start_paused = true)]
async fn three_days_of_revocations_take_a_node_no_more_room_than_a_day_and_two_sweeps() {
    let (wall, a_day) = (Wall::new(), a_day());
    let revocations = Revocations::with_clock(wall.clock());
    let (mut number, mut bytes) = (0, 0);
    println!("| after | revoked | entries | MB | bytes an entry |\n| --- | --- | --- | --- | --- |");
    for hours in 1..=72 {
        for _ in 0..a_day / 24 {
            let (id, until) = revocation(number, wall.now());
            bytes += measure(|| revocations.revoke_until(&id, until)).bytes_current;
            number += 1;
        }
        wall.set_by(3600);
        let entries = entries(&revocations);
        if hours % 6 == 0 {
            let (megabytes, each) = (bytes as f64 / 1e6, bytes as f64 / entries as f64);
            println!("| {hours} h | {number} | {entries} | {megabytes:.1} | {each:.0} |");
        }
        // They are kept for up to an hour and a day, and swept when there are twice as many as were left.
        assert!(entries <= a_day * 2 * 26 / 24 + 64, "{hours} h: {entries}");
    }
}
