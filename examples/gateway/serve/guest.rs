//! Who has a place among the connections that may be open, and for what it is waited.
//!
//! A guest is a stranger until somebody was let in over its connection ([`known`]). Anybody can be one, as often as there
//! are places, so a stranger is waited for only where it moves, and not for long.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Duration,
};

use axum::body::Body;
use http::Request;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// How long a guest has had nothing to be answered before it may have to go: one that asks again and again is not cut
/// off in between.
const RESTING: Duration = Duration::from_secs(1);
/// How long a stranger has its place that moves, however little, before it may have to go.
const STRANGE: Duration = Duration::from_secs(10);

/// A connection, as others know it.
#[derive(Clone, Debug)]
pub struct Guest(Arc<State>);

#[derive(Debug)]
struct State {
    /// How long nothing may be taken.
    deadline: Duration,
    came: Instant,
    is_known: AtomicBool,
    /// When something was last asked, taken or ended.
    last: Mutex<Instant>,
    /// Requests whose answers have not ended.
    asking: AtomicUsize,
    /// How many requests there were.
    asked: AtomicUsize,
    /// What the gateway has to do before there is an answer.
    doing: AtomicUsize,
    /// Pieces of answers that are given and wait to be sent.
    given: AtomicUsize,
    /// Whether the socket takes nothing of what is to be written.
    is_full: AtomicBool,
    /// Whether it is answered by what serves HTTP, which ends as HTTP ends when it has to leave.
    speaks_http: AtomicBool,
    leave: CancellationToken,
}

/// Why one may have to go, and for how long that has been so. The greatest has to go first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Why {
    /// It asks nothing, and may ask again.
    Known(Duration),
    /// A stranger that does something still.
    StaysLong(Duration),
    /// A stranger that does nothing, or takes nothing.
    Stranger(Duration),
}

/// One of those that are counted, until it is dropped.
#[derive(Debug)]
pub struct Count {
    guest: Guest,
    of: fn(&State) -> &AtomicUsize,
}

impl Guest {
    pub fn new(deadline: Duration) -> Self {
        Self(Arc::new(State {
            deadline,
            came: Instant::now(),
            is_known: AtomicBool::new(false),
            last: Mutex::new(Instant::now()),
            asking: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            doing: AtomicUsize::new(0),
            given: AtomicUsize::new(0),
            is_full: AtomicBool::new(false),
            speaks_http: AtomicBool::new(false),
            leave: CancellationToken::new(),
        }))
    }

    /// How long nothing may be taken.
    pub fn deadline(&self) -> Duration {
        self.0.deadline
    }

    /// Asks for what is not answered until the count is dropped.
    pub fn asks(&self) -> Count {
        self.0.asked.fetch_add(1, Relaxed);
        self.count(|state| &state.asking)
    }

    /// Waits for the gateway, until the count is dropped.
    pub fn waits(&self) -> Count {
        self.count(|state| &state.doing)
    }

    /// Is given a piece of an answer, which is taken when the count is dropped.
    pub fn is_given(&self) -> Count {
        self.count(|state| &state.given)
    }

    fn count(&self, of: fn(&State) -> &AtomicUsize) -> Count {
        of(&self.0).fetch_add(1, Relaxed);
        self.moves();
        Count { guest: self.clone(), of }
    }

    /// How many requests there were until now.
    pub fn asked(&self) -> usize {
        self.0.asked.load(Relaxed)
    }

    pub fn is_asking(&self) -> bool {
        self.0.asking.load(Acquire) > 0
    }

    /// It asks, or takes something of what it is sent.
    pub fn moves(&self) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    /// Whether the socket takes nothing of what is to be written.
    pub fn set_full(&self, is_full: bool) {
        if self.0.is_full.swap(is_full, Relaxed) && !is_full {
            self.moves();
        }
    }

    pub fn rests_for(&self) -> Duration {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }

    /// Somebody was let in over its connection.
    pub fn becomes_known(&self) {
        self.0.is_known.store(true, Relaxed);
    }

    /// Whether somebody was.
    pub fn is_known(&self) -> bool {
        self.0.is_known.load(Relaxed)
    }

    /// Why it may have to go for another, if it may.
    pub fn may_go(&self) -> Option<Why> {
        if self.0.leave.is_cancelled() {
            return None;
        }
        let (waits, rests) = (self.0.doing.load(Acquire) > 0, self.rests_for());
        if self.is_known() {
            if waits || self.is_asking() {
                return None;
            }
            // An answer is made long before the last of it is sent.
            let is_sent = self.0.given.load(Acquire) == 0 && !self.0.is_full.load(Relaxed);
            let patience = if is_sent { RESTING } else { self.0.deadline };
            return (rests >= patience).then_some(Why::Known(rests));
        }
        if !waits && rests >= RESTING {
            return Some(Why::Stranger(rests));
        }
        Some(self.0.came.elapsed()).filter(|stays| *stays >= STRANGE).map(Why::StaysLong)
    }

    /// Has it leave.
    pub fn leave(&self) {
        self.0.leave.cancel();
    }

    /// Waits until it has to leave.
    pub fn leaves(&self) -> WaitForCancellationFutureOwned {
        self.0.leave.clone().cancelled_owned()
    }

    /// Whether it is answered by what serves HTTP, which sees to it that it leaves.
    pub fn speaks_http(&self) -> bool {
        self.0.speaks_http.load(Relaxed)
    }

    pub fn set_speaks_http(&self, speaks: bool) {
        self.0.speaks_http.store(speaks, Relaxed);
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.guest.moves();
        (self.of)(&self.guest.0).fetch_sub(1, Release);
    }
}

/// The request, for which somebody was let in.
pub fn known(request: Request<Body>) -> Request<Body> {
    if let Some(guest) = request.extensions().get::<Guest>() {
        guest.becomes_known();
    }
    request
}

/// All who have a place.
#[derive(Clone, Debug, Default)]
pub struct Guests(Arc<Mutex<Present>>);

#[derive(Debug, Default)]
struct Present {
    guests: HashMap<u64, Guest>,
    next: u64,
}

/// A guest among all the others, for as long as this is there.
#[derive(Debug)]
pub struct Entered {
    pub guest: Guest,
    number: u64,
    guests: Guests,
}

impl Guests {
    fn present(&self) -> MutexGuard<'_, Present> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn enter(&self, guest: Guest) -> Entered {
        let mut present = self.present();
        let number = present.next;
        present.next += 1;
        present.guests.insert(number, guest.clone());
        Entered { guest, number, guests: self.clone() }
    }

    /// Those who may have to go, the first of them last.
    pub fn that_may_go(&self) -> Vec<Guest> {
        let mut those: Vec<_> =
            self.present().guests.values().filter_map(|guest| Some((guest.may_go()?, guest.clone()))).collect();
        those.sort_unstable_by_key(|(why, _)| *why);
        those.into_iter().map(|(_, guest)| guest).collect()
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Whoever remembers it sees that it has gone.
        self.guest.leave();
        let gone = self.guests.present().guests.remove(&self.number);
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn who_asks_nothing_may_have_to_go() {
        let guest = Guest::new(DEADLINE);
        guest.becomes_known();
        assert_eq!(guest.may_go(), None, "it has only come");
        let asks = guest.asks();
        sleep(2 * DEADLINE).await;
        assert_eq!(guest.may_go(), None, "it is answered");
        drop(asks);
        assert_eq!(guest.may_go(), None, "it may ask again");
        sleep(RESTING).await;
        assert!(guest.may_go().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_being_sent_an_answer_does_not_rest() {
        let guest = Guest::new(DEADLINE);
        guest.becomes_known();
        let ways: [fn(&Guest) -> Option<Count>; 2] = [
            |guest| Some(guest.is_given()),
            |guest| {
                guest.set_full(true);
                None
            },
        ];
        for begin in ways {
            for _ in 0..3 {
                let given = begin(&guest);
                sleep(DEADLINE / 2).await;
                assert_eq!(guest.may_go(), None);
                drop(given);
                guest.set_full(false);
                assert_eq!(guest.may_go(), None, "it has just taken something");
            }
            let _given = begin(&guest);
            sleep(DEADLINE).await;
            assert!(guest.may_go().is_some(), "it takes nothing");
            guest.moves();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_takes_nothing_may_have_to_go() {
        let guest = Guest::new(DEADLINE);
        let _asks = guest.asks();
        let waits = guest.waits();
        sleep(STRANGE - RESTING).await;
        assert_eq!(guest.may_go(), None, "the gateway is at it");
        drop(waits);
        assert_eq!(guest.may_go(), None);
        let _given = guest.is_given();
        guest.set_full(true);
        sleep(RESTING).await;
        assert_eq!(guest.may_go(), Some(Why::Stranger(RESTING)));
        guest.becomes_known();
        assert_eq!(guest.may_go(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_goes_on_and_on_may_have_to_go() {
        let guest = Guest::new(DEADLINE);
        let (_asks, _waits) = (guest.asks(), guest.waits());
        while guest.0.came.elapsed() < STRANGE {
            assert_eq!(guest.may_go(), None);
            sleep(RESTING / 2).await;
            guest.moves();
        }
        assert_eq!(guest.may_go(), Some(Why::StaysLong(STRANGE)));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_have_to_go_first() {
        let guests = Guests::default();
        let enter = || guests.enter(Guest::new(DEADLINE));
        let (rests, moves) = (enter(), enter());
        rests.guest.becomes_known();
        sleep(STRANGE).await;
        let silent = enter();
        sleep(RESTING).await;
        moves.guest.moves();
        let why: Vec<_> = guests.that_may_go().iter().filter_map(Guest::may_go).collect();
        assert_eq!(why, [Why::Known(STRANGE + RESTING), Why::StaysLong(STRANGE + RESTING), Why::Stranger(RESTING)]);
        drop(silent);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_rested_for_the_longest_time_has_to_go_first_and_who_is_gone_has_not() {
        let guests = Guests::default();
        let mut entered = Vec::new();
        for _ in 0..3 {
            entered.push(guests.enter(Guest::new(DEADLINE)));
            sleep(RESTING).await;
        }
        entered[0].guest.moves();
        sleep(RESTING).await;
        let rested: Vec<_> = guests.that_may_go().iter().map(Guest::rests_for).collect();
        assert_eq!(rested, [RESTING, 2 * RESTING, 3 * RESTING]);
        let first = entered.remove(1);
        let known = first.guest.clone();
        drop(first);
        assert_eq!((guests.that_may_go().len(), known.may_go()), (2, None));
    }
}
