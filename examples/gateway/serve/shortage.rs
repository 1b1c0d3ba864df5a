//! When as many connections are open as may be.
//!
//! Whoever only connects, or has asked long ago, would keep others out then. So for each client that comes, one
//! connection is closed, whatever its own time limits are:
//!
//! 1. that of a stranger that has asked nothing and taken nothing for a moment, for the longest time of all;
//! 2. or that of a stranger that has been there for long, whatever it does;
//! 3. or one on which nothing is asked of the gateway, and nothing was for a moment, for the longest time of all.
//!
//! While there is room for all, nobody notices.

use std::time::Duration;

use tokio::time::Instant;

use super::guest::{Guest, Guests};

/// How often it is looked who may have to go.
pub const SHORTAGE: Duration = Duration::from_millis(250);

/// Who has to go, and in which order.
#[derive(Default)]
pub struct Shortage {
    pub guests: Guests,
    /// When it was looked last, and who of them is left, the first of them last.
    looked: Option<Instant>,
    may_go: Vec<Guest>,
}

impl Shortage {
    /// There is no room for the next connection: has one leave, if there is one that may have to.
    pub fn make_room(&mut self) {
        if self.looked.is_none_or(|looked| looked.elapsed() >= SHORTAGE) {
            self.may_go = self.guests.that_may_go();
            self.looked = Some(Instant::now());
        }
        while let Some(guest) = self.may_go.pop() {
            if guest.may_go().is_some() {
                guest.leave();
                return;
            }
        }
    }
}
