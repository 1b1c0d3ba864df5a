//! Who began which session: a table that never grows past its capacity.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use tokio::time::Instant;

use crate::{AuthMethod, Denied, Identity, verify::TokenDigest};

/// How many sessions are remembered, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) capacity: usize,
    pub(super) per_caller: usize,
    pub(super) idle: Duration,
}

/// A subject of an issuer, by its digest.
pub(super) type Caller = TokenDigest;

/// The id of a session, by its digest.
pub(super) type Id = TokenDigest;

#[derive(Debug, Default)]
pub(super) struct Table {
    sessions: HashMap<Id, Session>,
    /// The sessions by when they were named last.
    by_use: BTreeMap<u64, Id>,
    /// Those of each caller, in the same order.
    by_caller: HashMap<Caller, BTreeMap<u64, Id>>,
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    caller: Caller,
    used_at: Instant,
    /// The number of its last use.
    used: u64,
}

/// Who is calling. As for a stream, a caller is not who holds some token, but a subject of an issuer.
pub(super) fn caller(identity: &Identity) -> Caller {
    let class = match identity.method() {
        AuthMethod::SharedSecret => 1,
        AuthMethod::Anonymous => 2,
        _ => 0,
    };
    let issuer = identity.issuer();
    let length = issuer.map_or(u64::MAX, |issuer| issuer.len() as u64);
    let parts: [&[u8]; 4] =
        [&[class], &length.to_be_bytes(), issuer.unwrap_or_default().as_bytes(), identity.subject().as_bytes()];
    TokenDigest::of(parts.concat())
}

impl Table {
    /// Uses a session.
    ///
    /// # Errors
    ///
    /// [`Denied::UnknownSession`] and [`Denied::ForeignSession`].
    pub(super) fn claim(&mut self, id: Id, caller: Caller, now: Instant, limits: &Limits) -> Result<(), Denied> {
        let session = self.sessions.get(&id).copied().ok_or(Denied::UnknownSession)?;
        if session.is_over(now, limits) {
            self.forget(id);
            return Err(Denied::UnknownSession);
        }
        if session.caller != caller {
            return Err(Denied::ForeignSession);
        }
        self.forget(id);
        self.insert(id, caller, now);
        Ok(())
    }

    /// The session is this caller's, unless it is somebody's already.
    pub(super) fn bind(&mut self, id: Id, caller: Caller, now: Instant, limits: &Limits) {
        while let Some((_, &oldest)) = self.by_use.first_key_value() {
            if !self.sessions.get(&oldest).is_some_and(|session| session.is_over(now, limits)) {
                break;
            }
            self.forget(oldest);
        }
        match self.sessions.get(&id) {
            Some(session) if session.caller != caller => return,
            Some(_) => self.forget(id),
            None => {}
        }
        while self.by_caller.get(&caller).is_some_and(|own| own.len() >= limits.per_caller) {
            let Some((_, &oldest)) = self.by_caller.get(&caller).and_then(BTreeMap::first_key_value) else { break };
            self.forget(oldest);
        }
        while self.sessions.len() >= limits.capacity {
            let Some((_, &oldest)) = self.by_use.first_key_value() else { return };
            self.forget(oldest);
        }
        self.insert(id, caller, now);
    }

    /// The caller's session is over. By now it may be somebody else's.
    pub(super) fn release(&mut self, id: Id, caller: Caller) {
        if self.sessions.get(&id).is_some_and(|session| session.caller == caller) {
            self.forget(id);
        }
    }

    fn forget(&mut self, id: Id) {
        let Some(Session { caller, used, .. }) = self.sessions.remove(&id) else { return };
        self.by_use.remove(&used);
        if let Some(own) = self.by_caller.get_mut(&caller) {
            own.remove(&used);
            if own.is_empty() {
                self.by_caller.remove(&caller);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    fn insert(&mut self, id: Id, caller: Caller, now: Instant) {
        self.uses += 1;
        self.sessions.insert(id, Session { caller, used_at: now, used: self.uses });
        self.by_use.insert(self.uses, id);
        self.by_caller.entry(caller).or_default().insert(self.uses, id);
    }
}

impl Session {
    fn is_over(&self, now: Instant, limits: &Limits) -> bool {
        now.saturating_duration_since(self.used_at) >= limits.idle
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { capacity: 6, per_caller: 3, idle: Duration::from_secs(10) };

    fn digest(n: u8) -> TokenDigest {
        TokenDigest::from_bytes([n; 32])
    }

    fn assert_whole(table: &Table) {
        assert_eq!(table.by_use.len(), table.sessions.len());
        assert_eq!(table.by_caller.values().map(BTreeMap::len).sum::<usize>(), table.sessions.len());
        assert!(table.by_caller.values().all(|own| !own.is_empty() && own.len() <= LIMITS.per_caller));
        assert!(table.sessions.len() <= LIMITS.capacity);
        for (id, session) in &table.sessions {
            assert_eq!(table.by_use.get(&session.used), Some(id));
            assert_eq!(table.by_caller[&session.caller].get(&session.used), Some(id));
        }
    }

    #[test]
    fn callers_differ_as_those_of_streams_do() {
        use AuthMethod::{Anonymous, SharedSecret, Token, TrustedProxy};
        let of = |issuer: Option<&'static str>, subject: &'static str, method| {
            issuer.into_iter().fold(Identity::new(subject, method), |identity, issuer| identity.with_issuer(issuer))
        };
        let all: Vec<_> = [Token, TrustedProxy, SharedSecret, Anonymous]
            .into_iter()
            .flat_map(|method| {
                [(None, "alice"), (None, "bob"), (Some(""), "alice"), (Some("a"), "lice"), (Some("al"), "ice")]
                    .map(|(issuer, subject)| of(issuer, subject, method))
            })
            .collect();
        for one in &all {
            for other in &all {
                assert_eq!(caller(one) == caller(other), one.is_same_caller(other), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn a_session_takes_less_than_300_bytes() {
        let limits = Limits { capacity: 10_000, per_caller: 10, ..LIMITS };
        let named = |n: u32| TokenDigest::of(n.to_be_bytes());
        let mut table = Table::default();
        let kept = allocation_counter::measure(|| {
            for n in 0..10_000 {
                table.bind(named(n), named(n / 10), Instant::now(), &limits);
            }
        });
        assert_eq!(table.len(), 10_000);
        let each = kept.bytes_current / 10_000;
        println!("{each} bytes");
        assert!((1..300).contains(&each), "{each}");
    }

    proptest! {
        #[test]
        fn the_table_stays_whole_and_a_session_is_its_first_callers(
            steps in prop::collection::vec((0..4u8, 0..10u8, 0..4u8, 0..4u64), 0..200),
        ) {
            let mut table = Table::default();
            let mut now = Instant::now();
            for (step, id, by, later) in steps {
                now += Duration::from_secs(later);
                let (id, by) = (digest(id), digest(by));
                let before = table.sessions.get(&id).filter(|session| !session.is_over(now, &LIMITS)).copied();
                match step {
                    0 => {
                        table.bind(id, by, now, &LIMITS);
                        let owner = table.sessions.get(&id).map(|session| session.caller);
                        prop_assert_eq!(owner, Some(before.map_or(by, |before| before.caller)));
                    }
                    1 => {
                        table.release(id, by);
                        let owner = table.sessions.get(&id).map(|session| session.caller);
                        prop_assert_ne!(owner, Some(by));
                    }
                    _ => {
                        let expected = match before {
                            None => Err(Denied::UnknownSession),
                            Some(session) if session.caller == by => Ok(()),
                            Some(_) => Err(Denied::ForeignSession),
                        };
                        prop_assert_eq!(table.claim(id, by, now, &LIMITS), expected);
                    }
                }
                assert_whole(&table);
            }
        }
    }
}
