//! Who failed when, and who is locked out: a table that never grows past its capacity.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use super::{FailureLimits, client::Client};

#[derive(Debug, Default)]
pub(super) struct FailureTable {
    records: HashMap<Client, Record>,
    /// The clients that are not locked out, by their last failure.
    failing: BTreeSet<(Instant, Client)>,
    /// The clients that are locked out, by the end of their lock.
    locked: BTreeSet<(Instant, Client)>,
}

#[derive(Debug)]
enum Record {
    Failing {
        /// The oldest first. None where only other nodes counted some.
        failures: Vec<Instant>,
        last: Instant,
    },
    Locked {
        until: Instant,
    },
}

impl FailureTable {
    /// How long the client stays locked out, if it is.
    pub(super) fn lock_left(&self, client: Client, now: Instant) -> Option<Duration> {
        match self.records.get(&client)? {
            Record::Locked { until } => Some(until.duration_since(now)).filter(|left| !left.is_zero()),
            Record::Failing { .. } => None,
        }
    }

    /// Records a failure of a client that is not locked out. How long it is locked out now, if it is.
    pub(super) fn fail(&mut self, client: Client, now: Instant, limits: &FailureLimits) -> Option<Duration> {
        let mut failures = match self.remove(client) {
            Some(Record::Failing { failures, .. }) => failures,
            Some(Record::Locked { .. }) | None => Vec::new(),
        };
        let stale = failures.partition_point(|&failure| now.duration_since(failure) >= limits.window);
        failures.drain(..stale);
        failures.push(now);
        if failures.len() < limits.max_attempts {
            self.insert_failing(client, failures, now, now, limits);
            None
        } else {
            self.lock(client, now, limits.lockout(), limits);
            Some(limits.lockout())
        }
    }

    /// Locks a client out, until then and no other time.
    pub(super) fn lock(&mut self, client: Client, now: Instant, lockout: Duration, limits: &FailureLimits) {
        self.remove(client);
        self.make_room(limits.capacity, now);
        let until = now + lockout.min(limits.lockout());
        self.locked.insert((until, client));
        self.records.insert(client, Record::Locked { until });
    }

    /// Remembers that a client has failed elsewhere, so that there is something to clear. What was counted here stays
    /// for longer.
    pub(super) fn note(&mut self, client: Client, now: Instant, limits: &FailureLimits) {
        let is_known = match self.records.get(&client) {
            Some(Record::Locked { until }) => *until > now,
            Some(Record::Failing { .. }) => true,
            None => false,
        };
        if !is_known {
            self.remove(client);
            let last = now.checked_sub(limits.window).unwrap_or(now);
            self.insert_failing(client, Vec::new(), last, now, limits);
        }
    }

    /// Forgets the failures of a client that is not locked out. Whether there were some, here or elsewhere.
    pub(super) fn clear(&mut self, client: Client) -> bool {
        let has_failed = matches!(self.records.get(&client), Some(Record::Failing { .. }));
        if has_failed {
            self.remove(client);
        }
        has_failed
    }

    fn insert_failing(
        &mut self,
        client: Client,
        failures: Vec<Instant>,
        last: Instant,
        now: Instant,
        limits: &FailureLimits,
    ) {
        self.make_room(limits.capacity, now);
        self.failing.insert((last, client));
        self.records.insert(client, Record::Failing { failures, last });
    }

    pub(super) fn len(&self) -> usize {
        self.records.len()
    }

    fn remove(&mut self, client: Client) -> Option<Record> {
        let record = self.records.remove(&client)?;
        match &record {
            Record::Locked { until } => self.locked.remove(&(*until, client)),
            Record::Failing { last, .. } => self.failing.remove(&(*last, client)),
        };
        Some(record)
    }

    /// Forgets clients until one more can be recorded.
    fn make_room(&mut self, capacity: usize, now: Instant) {
        while self.records.len() >= capacity {
            let over = self.locked.first().filter(|(until, _)| *until <= now);
            let leaves = over.or(self.failing.first()).or(self.locked.first()).copied();
            let Some((_, client)) = leaves else { return };
            self.remove(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;

    const LIMITS: FailureLimits = FailureLimits::new().with_max_attempts(2).with_capacity(3);

    fn client(n: u32) -> Client {
        IpAddr::from(Ipv4Addr::from_bits(n)).into()
    }

    fn lock(table: &mut FailureTable, n: u32, now: Instant) {
        assert_eq!(table.fail(client(n), now, &LIMITS), None);
        assert_eq!(table.fail(client(n), now, &LIMITS), Some(LIMITS.lockout));
    }

    /// Every record stands in the one order that it belongs to, and nothing else does.
    fn assert_whole(table: &FailureTable) {
        assert_eq!(table.failing.len() + table.locked.len(), table.records.len());
        for (client, record) in &table.records {
            match record {
                Record::Locked { until } => assert!(table.locked.contains(&(*until, *client))),
                Record::Failing { last, .. } => assert!(table.failing.contains(&(*last, *client))),
            }
        }
    }

    #[test]
    fn the_oldest_unlocked_client_makes_room_and_a_locked_one_stays() {
        let mut table = FailureTable::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        lock(&mut table, 1, at(0));
        table.fail(client(2), at(1), &LIMITS);
        table.fail(client(3), at(2), &LIMITS);
        table.fail(client(4), at(3), &LIMITS);

        assert_whole(&table);
        assert_eq!(table.len(), 3);
        assert!(table.lock_left(client(1), at(3)).is_some());
        assert!(!table.records.contains_key(&client(2)));
    }

    #[test]
    fn a_lock_that_is_over_makes_room_before_any_other_client() {
        let mut table = FailureTable::default();
        let start = Instant::now();
        lock(&mut table, 1, start);
        let later = start + LIMITS.lockout;
        table.fail(client(2), start, &LIMITS);
        table.fail(client(3), start, &LIMITS);
        table.fail(client(4), later, &LIMITS);

        assert_whole(&table);
        assert!(!table.records.contains_key(&client(1)));
        assert!(table.records.contains_key(&client(2)));
    }

    #[test]
    fn when_all_are_locked_the_lock_that_ends_soonest_ends() {
        let mut table = FailureTable::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for n in 1..=3 {
            lock(&mut table, n, at(n.into()));
        }
        table.fail(client(4), at(4), &LIMITS);

        assert_whole(&table);
        assert_eq!(table.len(), 3);
        assert_eq!(table.lock_left(client(1), at(4)), None);
        assert!(table.lock_left(client(2), at(4)).is_some());
        assert!(table.lock_left(client(3), at(4)).is_some());
    }

    #[test]
    fn a_flood_of_addresses_leaves_the_table_at_its_capacity() {
        let mut table = FailureTable::default();
        let start = Instant::now();
        for n in 0..10_000 {
            // Some fail once, some are locked out, some come back.
            table.fail(client(n % 4_000), start + Duration::from_millis(n.into()), &LIMITS);
            table.fail(client(n / 3), start + Duration::from_millis(n.into()), &LIMITS);
            assert!(table.len() <= 3);
        }
        assert_whole(&table);
    }

    #[test]
    fn a_smaller_capacity_takes_effect_with_the_next_failure() {
        let mut table = FailureTable::default();
        let now = Instant::now();
        for n in 0..3 {
            table.fail(client(n), now, &LIMITS);
        }
        table.fail(client(9), now, &LIMITS.with_capacity(1));
        assert_whole(&table);
        assert_eq!(table.len(), 1);
        assert!(table.records.contains_key(&client(9)));
    }

    #[test]
    fn a_lock_for_ever_is_no_overflow() {
        let mut table = FailureTable::default();
        let now = Instant::now();
        let limits = FailureLimits::new().with_max_attempts(1).with_lockout(Duration::MAX);
        assert!(limits.lockout() > Duration::from_secs(29 * 365 * 24 * 60 * 60));
        assert_eq!(table.fail(client(1), now, &limits), Some(limits.lockout()));
        assert_eq!(table.lock_left(client(1), now), Some(limits.lockout()));
    }

    #[test]
    fn what_others_heard_and_locked_is_bounded_alike() {
        let mut table = FailureTable::default();
        let start = Instant::now();
        for n in 0..10_000 {
            let now = start + Duration::from_millis(n.into());
            table.note(client(n % 7), now, &LIMITS);
            if table.lock_left(client(n % 5), now).is_none() {
                table.lock(client(n % 5), now, Duration::MAX, &LIMITS);
            }
            table.fail(client(n % 11), now, &LIMITS);
            table.clear(client(n % 13));
            assert!(table.len() <= 3);
        }
        assert_whole(&table);
    }
}
