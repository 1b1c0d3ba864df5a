//! What the requests of one connection share.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::IDLE;

/// How many bytes of pages may be on their way over one connection, in units of [`UNIT`].
const PAGES: u32 = 64 * 1024;
const UNIT: usize = 1024;

/// Room for bytes of pages that are made and not yet sent.
#[derive(Clone, Debug)]
pub struct PageBytes {
    room: Arc<Semaphore>,
    units: u32,
}

impl PageBytes {
    /// Room for so many units of 1 KiB.
    pub fn new(units: u32) -> Self {
        Self { room: Arc::new(Semaphore::new(units as usize)), units }
    }

    /// The page, which takes room until the last of it is dropped; `None` if there is too little. A page that
    /// is larger than all the room may have all of it.
    pub fn hold(&self, page: Bytes) -> Option<Bytes> {
        let room = self.take(page.len())?;
        Some(Bytes::from_owner(Held { page, _room: room }))
    }

    /// The bytes, which take this room until the last of them is dropped.
    #[cfg(feature = "upstream")]
    pub fn held(page: Bytes, room: Option<OwnedSemaphorePermit>) -> Bytes {
        match room {
            Some(room) => Bytes::from_owner(Held { page, _room: room }),
            None => page,
        }
    }

    /// Room for so many bytes.
    pub fn take(&self, bytes: usize) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX).min(self.units);
        Arc::clone(&self.room).try_acquire_many_owned(units).ok()
    }
}

struct Held {
    page: Bytes,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}

/// A connection, as its requests know it.
#[derive(Debug)]
pub struct Connection {
    speaks_http_2: bool,
    /// How long nothing may be taken.
    deadline: Duration,
    pages: PageBytes,
    /// Requests over HTTP/2 whose answers have not ended.
    asking: AtomicUsize,
    /// When something was last asked, taken or ended.
    last: Mutex<Instant>,
    stalled: CancellationToken,
}

/// A request over HTTP/2, and its answer until that has ended.
#[derive(Debug)]
pub struct Asking(Arc<Connection>);

impl Connection {
    pub fn new(speaks_http_2: bool, deadline: Duration) -> Self {
        Self {
            speaks_http_2,
            deadline,
            pages: PageBytes::new(PAGES),
            asking: AtomicUsize::new(0),
            last: Mutex::new(Instant::now()),
            stalled: CancellationToken::new(),
        }
    }

    pub fn pages(&self) -> PageBytes {
        self.pages.clone()
    }

    /// A request, if it shares the socket with others.
    pub fn ask(self: &Arc<Self>) -> Option<Asking> {
        self.speaks_http_2.then(|| {
            self.asking.fetch_add(1, Relaxed);
            self.moves();
            Asking(Arc::clone(self))
        })
    }

    /// Waits until the client takes nothing of what it asked for, or asks nothing for long. Over HTTP/1 the
    /// timers of the protocol and of the socket are enough.
    pub async fn is_done_for(&self) {
        if !self.speaks_http_2 {
            return std::future::pending().await;
        }
        tokio::select! {
            () = self.stalled.cancelled() => {}
            () = self.is_idle() => {}
        }
    }

    async fn is_idle(&self) {
        loop {
            sleep(IDLE).await;
            if self.asking.load(Relaxed) == 0 && self.rests_for() >= IDLE {
                return;
            }
        }
    }

    fn moves(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn rests_for(&self) -> Duration {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Asking {
    /// How long nothing may be taken.
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// The client has taken something.
    pub fn takes(&self) {
        self.0.moves();
    }

    /// The client has not taken this answer in time.
    pub fn stalls(&self) {
        if self.0.rests_for() >= self.0.deadline {
            self.0.stalled.cancel();
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.moves();
        self.0.asking.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[test]
    fn a_page_takes_room_until_the_last_of_it_is_dropped() {
        let room = PageBytes::new(4);
        let page = room.hold(Bytes::from(vec![0; 2 * UNIT + 1])).unwrap();
        assert!(room.hold(Bytes::from(vec![0; 2 * UNIT])).is_none());
        let rest = page.slice(1..);
        drop(page);
        assert!(room.hold(Bytes::from(vec![0; 2 * UNIT])).is_none());
        drop(rest);
        assert!(room.hold(Bytes::from(vec![0; 100 * UNIT])).is_some(), "a large page may have all of it");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_is_done_for() {
        let connection = Arc::new(Connection::new(true, Duration::from_secs(30)));
        let asking = connection.ask().unwrap();
        assert!(timeout(10 * IDLE, connection.is_done_for()).await.is_err());
        drop(asking);
        assert!(timeout(3 * IDLE, connection.is_done_for()).await.is_ok());

        let http_1 = Arc::new(Connection::new(false, Duration::from_secs(30)));
        assert!(http_1.ask().is_none());
        assert!(timeout(10 * IDLE, http_1.is_done_for()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_which_nothing_is_taken_is_done_for() {
        let deadline = Duration::from_secs(30);
        let connection = Arc::new(Connection::new(true, deadline));
        let (one, other) = (connection.ask().unwrap(), connection.ask().unwrap());
        sleep(deadline / 2).await;
        other.takes();
        sleep(deadline / 2).await;
        one.stalls();
        assert!(timeout(deadline, connection.is_done_for()).await.is_err());
        one.stalls();
        assert!(timeout(Duration::ZERO, connection.is_done_for()).await.is_ok());
    }
}
