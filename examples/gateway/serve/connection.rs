//! What the requests of one connection share.

use std::{future::poll_fn, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{
    IDLE,
    guest::{Count, Guest},
    turns::Said,
};

/// How many bytes of pages may be on their way over one connection, in units of [`UNIT`].
const PAGES: u32 = 64 * 1024;
const UNIT: usize = 1024;

/// Room for bytes of pages that are made and not yet sent.
#[derive(Clone, Debug)]
pub struct PageBytes {
    room: Arc<Semaphore>,
    /// How much of it one page may have at most.
    largest: u32,
    is_shared: bool,
}

impl PageBytes {
    /// Room for so many units of 1 KiB.
    pub fn new(units: u32) -> Self {
        Self { room: Arc::new(Semaphore::new(units as usize)), largest: units, is_shared: false }
    }

    /// The same for pages of many clients, none of which may have more than half of what is left: those who take large pages and
    /// do not read them leave room for small ones.
    pub fn shared(units: u32) -> Self {
        Self { largest: units / 2, is_shared: true, ..Self::new(units) }
    }

    /// Whether there can ever be room for so many bytes.
    pub fn can_hold(&self, bytes: usize) -> bool {
        !self.is_shared || bytes.div_ceil(UNIT) <= self.largest as usize
    }

    /// The page, which takes room until the last of it is dropped; `None` if there is too little. Of room that is not shared
    /// a page that is larger than all takes all.
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
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        if self.is_shared && units as usize > self.room.available_permits() / 2 {
            return None;
        }
        Arc::clone(&self.room).try_acquire_many_owned(units.min(self.largest)).ok()
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
    guest: Guest,
    /// Only where there can be several at once.
    pages: Option<PageBytes>,
    /// Whose request begins to be answered.
    turn: Semaphore,
    said: Arc<Said>,
}

/// A request, and its answer until that has ended.
#[derive(Debug)]
pub struct Asking {
    connection: Arc<Connection>,
    _count: Count,
}

impl Connection {
    pub fn new(speaks_http_2: bool, guest: Guest) -> Self {
        let pages = speaks_http_2.then(|| PageBytes::new(PAGES));
        Self { speaks_http_2, guest, pages, turn: Semaphore::new(1), said: Arc::default() }
    }

    pub fn guest(&self) -> &Guest {
        &self.guest
    }

    pub fn said(&self) -> Arc<Said> {
        Arc::clone(&self.said)
    }

    pub fn pages(&self) -> Option<PageBytes> {
        self.pages.clone()
    }

    pub fn ask(self: &Arc<Self>) -> Asking {
        Asking { connection: Arc::clone(self), _count: self.guest.asks() }
    }

    /// Waits until the client takes nothing of what it asked for, or asks nothing for long; or another one needs its place.
    /// Over HTTP/1 the timers of the protocol and of the socket are enough for the rest.
    pub async fn is_done_for(&self) {
        tokio::select! {
            () = self.guest.leaves() => {}
            () = self.is_idle(), if self.speaks_http_2 => {}
        }
    }

    async fn is_idle(&self) {
        loop {
            sleep(IDLE).await;
            if !self.guest.is_asking() && self.guest.rests_for() >= IDLE {
                return;
            }
        }
    }
}

impl Asking {
    /// Whether others may ask over the same connection meanwhile.
    pub fn shares(&self) -> bool {
        self.connection.speaks_http_2
    }

    /// What answers the request. As many as a client likes can be there at once, and those of other connections would wait
    /// until each of them was looked at: so those of one connection begin one after the other.
    pub async fn in_turn<F: Future>(&self, answer: F) -> F::Output {
        let mut answer = pin!(answer);
        // It is never closed.
        let mut turn = self.connection.turn.acquire().await.ok();
        poll_fn(|cx| {
            let answered = answer.as_mut().poll(cx);
            turn = None;
            answered
        })
        .await
    }

    /// Waits until the request may be answered where those of a connection come one after the other.
    pub async fn comes(&self) {
        self.connection.said.request().await;
    }

    /// The piece of an answer, which is being sent until it is dropped.
    pub fn gives(&self, piece: Vec<u8>) -> Bytes {
        Bytes::from_owner(Given { piece, _count: self.connection.guest.is_given() })
    }

    /// How long nothing may be taken.
    pub fn deadline(&self) -> Duration {
        self.connection.guest.deadline()
    }

    /// The client has taken something.
    pub fn takes(&self) {
        self.connection.guest.moves();
    }

    /// The client has not taken this answer in time.
    pub fn stalls(&self) {
        if self.connection.guest.rests_for() >= self.deadline() {
            self.connection.guest.leave();
        }
    }
}

struct Given {
    piece: Vec<u8>,
    _count: Count,
}

impl AsRef<[u8]> for Given {
    fn as_ref(&self) -> &[u8] {
        &self.piece
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    fn connected(speaks_http_2: bool) -> Arc<Connection> {
        Arc::new(Connection::new(speaks_http_2, Guest::new(Duration::from_secs(30))))
    }

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

    #[test]
    fn large_pages_that_nobody_takes_leave_room_for_small_ones() {
        let room = PageBytes::shared(1024);
        let large: Vec<_> = std::iter::from_fn(|| room.hold(Bytes::from(vec![0; 100 * UNIT]))).collect();
        assert_eq!(large.len(), 9);
        assert!(room.hold(Bytes::from(vec![0; 40 * UNIT])).is_some());
        drop(large);
        assert!(room.hold(Bytes::from(vec![0; 512 * UNIT])).is_some(), "the largest may have half of it");
        assert!(room.hold(Bytes::from(vec![0; 513 * UNIT])).is_none(), "and none may have more");
        assert_eq!([512, 513].map(|units| room.can_hold(units * UNIT)), [true, false]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nothing_is_asked_is_done_for() {
        let connection = connected(true);
        let asking = connection.ask();
        assert!(timeout(10 * IDLE, connection.is_done_for()).await.is_err());
        drop(asking);
        assert!(timeout(3 * IDLE, connection.is_done_for()).await.is_ok());
        assert!(timeout(10 * IDLE, connected(false).is_done_for()).await.is_err());
    }

    #[tokio::test]
    async fn requests_of_one_connection_begin_one_after_the_other_and_none_waits_for_an_answer() {
        let connection = connected(true);
        let held = connection.turn.acquire().await.unwrap();
        let asks = [connection.ask(), connection.ask()];
        let mut slow = tokio_test::task::spawn(asks[0].in_turn(std::future::pending::<()>()));
        let mut fast = tokio_test::task::spawn(asks[1].in_turn(async {}));
        assert!(slow.poll().is_pending() && fast.poll().is_pending());
        drop(held);
        assert!(slow.is_woken() && !fast.is_woken());
        assert!(slow.poll().is_pending());
        assert!(fast.is_woken() && fast.poll().is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_of_which_nothing_is_taken_is_done_for() {
        let connection = connected(true);
        let deadline = connection.guest.deadline();
        let (one, other) = (connection.ask(), connection.ask());
        sleep(deadline / 2).await;
        other.takes();
        sleep(deadline / 2).await;
        one.stalls();
        assert!(timeout(deadline, connection.is_done_for()).await.is_err());
        one.stalls();
        assert!(timeout(Duration::ZERO, connection.is_done_for()).await.is_ok());
    }
}
