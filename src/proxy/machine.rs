//! Which addresses are this machine's own.

use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::revoke::Revision;

/// How long a look holds before somebody looks again.
const FRESH: Duration = Duration::from_secs(5);
/// How long it holds while every later one fails.
const LIMIT: Duration = Duration::from_secs(60);

/// The addresses of this machine's interfaces, as they were at the last look.
///
/// Once a look is older than [`FRESH`], the next request looks again while the others go by the old
/// one. A look that fails is repeated after [`RETRY`](Self::RETRY). What was seen more than [`LIMIT`]
/// ago counts no more: until a look succeeds each request looks for itself.
#[derive(Debug, Default)]
pub(super) struct Machine {
    state: Mutex<State>,
    revision: Revision,
}

/// Nobody can say which addresses are this machine's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unknown;

#[derive(Debug, Default)]
struct State {
    seen: Option<Seen>,
    next_look: Option<Instant>,
}

#[derive(Clone, Debug)]
struct Seen {
    /// In order.
    addresses: Arc<[IpAddr]>,
    at: Instant,
}

impl Machine {
    /// When to ask again where nothing is known.
    pub(super) const RETRY: Duration = Duration::from_secs(1);

    /// Whether `address` belongs to an interface of this machine.
    pub(super) fn owns(&self, address: IpAddr) -> Result<bool, Unknown> {
        let addresses = self.addresses(of_interfaces)?;
        Ok(addresses.binary_search(&address.to_canonical()).is_ok())
    }

    /// Moves when a look shows other addresses than the one before, without waking anybody.
    pub(super) fn revision(&self) -> &Revision {
        &self.revision
    }

    fn addresses(&self, look: impl FnOnce() -> io::Result<Vec<IpAddr>>) -> Result<Arc<[IpAddr]>, Unknown> {
        let now = Instant::now();
        let last = {
            let mut state = self.state();
            let last = state.seen.clone().filter(|seen| now.duration_since(seen.at) < LIMIT);
            if let Some(seen) = last.as_ref().filter(|_| state.next_look.is_some_and(|next| now < next)) {
                return Ok(Arc::clone(&seen.addresses));
            }
            state.next_look = Some(now + Self::RETRY);
            last
        };
        // The lock is not held while the system is asked, which may take its time.
        match look() {
            Ok(addresses) => Ok(self.saw(addresses, now)),
            Err(_) => last.map(|seen| seen.addresses).ok_or(Unknown),
        }
    }

    fn saw(&self, mut addresses: Vec<IpAddr>, at: Instant) -> Arc<[IpAddr]> {
        addresses.iter_mut().for_each(|address| *address = address.to_canonical());
        addresses.sort_unstable();
        let addresses: Arc<[IpAddr]> = addresses.into();

        let mut state = self.state();
        let before = state.seen.take();
        let differs = before.as_ref().is_some_and(|before| before.addresses != addresses);
        // Of two looks at once the one that began later stays.
        let newer = before.filter(|before| before.at > at);
        state.seen = Some(newer.unwrap_or_else(|| Seen { addresses: Arc::clone(&addresses), at }));
        state.next_look = Some(at + FRESH);
        drop(state);
        if differs {
            self.revision.bump_quietly();
        }
        addresses
    }

    // A panic elsewhere leaves the state whole: nothing in here calls foreign code under the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn of_interfaces() -> io::Result<Vec<IpAddr>> {
    Ok(if_addrs::get_if_addrs()?.iter().map(if_addrs::Interface::ip).collect())
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn seen(address: [u8; 4]) -> io::Result<Vec<IpAddr>> {
        Ok(vec![address.into()])
    }

    fn fails() -> io::Result<Vec<IpAddr>> {
        Err(io::Error::other("short of descriptors"))
    }

    fn never() -> io::Result<Vec<IpAddr>> {
        panic!("nobody needs to look")
    }

    fn list(address: [u8; 4]) -> Result<Arc<[IpAddr]>, Unknown> {
        Ok([address.into()].into())
    }

    #[test]
    fn an_address_of_this_machine_is_told_from_a_foreign_one() {
        let machine = Machine::default();
        assert_eq!(machine.owns([127, 0, 0, 1].into()), Ok(true));
        assert_eq!(machine.owns("::ffff:127.0.0.1".parse().unwrap()), Ok(true));
        // 192.0.2.0/24 is for documentation (RFC 5737): nobody has it.
        assert_eq!(machine.owns([192, 0, 2, 1].into()), Ok(false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_holds_for_five_seconds() {
        let machine = Machine::default();
        assert_eq!(machine.addresses(|| seen([10, 0, 0, 1])), list([10, 0, 0, 1]));
        advance(FRESH - Duration::from_millis(1)).await;
        assert_eq!(machine.addresses(never), list([10, 0, 0, 1]));
        advance(Duration::from_millis(1)).await;
        assert_eq!(machine.addresses(|| seen([10, 0, 0, 2])), list([10, 0, 0, 2]));
        assert_eq!(machine.addresses(never), list([10, 0, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn while_looks_fail_the_last_one_holds_for_a_minute_and_is_tried_again_each_second() {
        let machine = Machine::default();
        machine.addresses(|| seen([10, 0, 0, 1])).unwrap();
        advance(LIMIT - Duration::from_millis(1)).await;
        assert_eq!(machine.addresses(fails), list([10, 0, 0, 1]));
        assert_eq!(machine.addresses(never), list([10, 0, 0, 1]));
        advance(Duration::from_millis(1)).await;
        assert_eq!(machine.addresses(fails), Err(Unknown));
        // Right at once when the system answers again.
        assert_eq!(machine.addresses(|| seen([10, 0, 0, 1])), list([10, 0, 0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_known_before_a_look_succeeds() {
        let machine = Machine::default();
        assert_eq!(machine.addresses(fails), Err(Unknown));
        assert_eq!(machine.addresses(fails), Err(Unknown));
        assert_eq!(machine.addresses(|| seen([10, 0, 0, 1])), list([10, 0, 0, 1]));
    }

    #[tokio::test(start_paused = true)]
    async fn while_one_looks_the_others_go_by_the_last_look() {
        let machine = Machine::default();
        machine.addresses(|| seen([10, 0, 0, 1])).unwrap();
        advance(FRESH).await;
        let slow = || {
            assert_eq!(machine.addresses(never), list([10, 0, 0, 1]));
            seen([10, 0, 0, 2])
        };
        assert_eq!(machine.addresses(slow), list([10, 0, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_panics_is_repeated_after_a_second() {
        let machine = Machine::default();
        machine.addresses(|| seen([10, 0, 0, 1])).unwrap();
        advance(FRESH).await;
        let panics = std::panic::AssertUnwindSafe(|| machine.addresses(|| panic!("a look")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(machine.addresses(never), list([10, 0, 0, 1]));
        advance(Machine::RETRY).await;
        assert_eq!(machine.addresses(|| seen([10, 0, 0, 2])), list([10, 0, 0, 2]));
    }

    #[tokio::test(start_paused = true)]
    async fn the_revision_moves_when_the_addresses_do() {
        let machine = Machine::default();
        let start = machine.revision().current();
        for (address, moves) in [([10, 0, 0, 1], 0), ([10, 0, 0, 1], 0), ([10, 0, 0, 2], 1)] {
            machine.addresses(|| seen(address)).unwrap();
            assert_eq!(machine.revision().current() - start, moves);
            advance(FRESH).await;
        }
    }
}
