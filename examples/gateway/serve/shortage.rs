//! When as many connections are open as may be.
//!
//! Whoever only connects, or has asked long ago, would keep others out then. So a connection on which nothing is asked, and
//! nothing was for a moment, is closed for the next one, whatever its own time limits are. While there is room for all,
//! nobody notices.

use std::{sync::Arc, time::Duration};

use tokio::sync::Notify;

/// How long a connection has had nothing to answer before it may be closed for another: a client that asks again and
/// again is not cut off in between.
const RESTING: Duration = Duration::from_secs(1);

/// What all connections hear of, whether or not there is a shortage.
#[derive(Clone, Debug, Default)]
pub struct Shortage(Arc<Notify>);

impl Shortage {
    /// There is no room for the next connection.
    pub fn announce(&self) {
        self.0.notify_waiters();
    }

    /// Waits until there is a shortage while a connection rests: `rests_for` says how long it does by now, if it does.
    pub async fn needs_room_of(&self, rests_for: impl Fn() -> Option<Duration>) {
        loop {
            self.0.notified().await;
            if rests_for().is_some_and(|rests| rests >= RESTING) {
                return;
            }
        }
    }
}
