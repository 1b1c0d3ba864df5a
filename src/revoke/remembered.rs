//! What was revoked, to be looked up by an identity.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    time::{Duration, SystemTime},
};

use super::{Revocation, Subject, shared::Topic};
use crate::{Identity, verify::TokenDigest};

/// How much longer than asked for an entry is kept: for clocks that disagree, and for a layer's leeway.
pub(super) const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);

/// What is revoked, of which tokens, credentials, sessions and subjects, and by date.
#[derive(Default)]
pub(super) struct Remembered {
    tokens: Ids<TokenDigest>,
    credentials: Ids<Box<str>>,
    /// By issuer.
    sessions: HashMap<Option<Box<str>>, Ids<Box<str>>>,
    /// What was issued to them before: by issuer, and by subject.
    subjects: HashMap<Option<Box<str>>, HashMap<Box<str>, SystemTime>>,
    /// What was issued to anybody before.
    issued_before: Option<SystemTime>,
}

/// What is revoked by its id.
struct Ids<K> {
    /// Until when, if not for ever.
    until: HashMap<K, Option<SystemTime>>,
    /// How many there were when those that are over were removed last.
    swept: usize,
}

impl Remembered {
    /// Remembers a revocation. Whether it says more than what was known: of two dates the later one holds.
    pub(super) fn revoke(&mut self, revocation: &Revocation, now: Option<SystemTime>) -> bool {
        match revocation {
            Revocation::Token { digest, until } => self.tokens.revoke(*digest, *until, now),
            Revocation::Credential { id, until } => self.credentials.revoke(id.as_str().into(), *until, now),
            Revocation::Session { issuer, id, until } => {
                self.sessions.entry(boxed(issuer.as_deref())).or_default().revoke(id.as_str().into(), *until, now)
            }
            Revocation::Subject { issuer, subject, issued_before } => {
                let subjects = self.subjects.entry(boxed(issuer.as_deref())).or_default();
                // A clock may have been set back: what was revoked stays so.
                match subjects.get_mut(&**subject) {
                    Some(known) if *known >= *issued_before => false,
                    Some(known) => {
                        *known = *issued_before;
                        true
                    }
                    None => subjects.insert(subject.as_str().into(), *issued_before).is_none(),
                }
            }
            Revocation::IssuedBefore(time) => {
                let is_more = self.issued_before.is_none_or(|known| known < *time);
                self.issued_before = self.issued_before.max(Some(*time));
                is_more
            }
        }
    }

    /// Forgets what was revoked, if that can be. Whether it was.
    pub(super) fn forget(&mut self, topic: &Topic) -> bool {
        match topic {
            Topic::Token(token) => self.tokens.until.remove(token).is_some(),
            Topic::Credential(id) => self.credentials.until.remove(&**id).is_some(),
            Topic::Session { issuer, id } => {
                let issuer = boxed(issuer.as_deref());
                let Some(sessions) = self.sessions.get_mut(&issuer) else { return false };
                let was_revoked = sessions.until.remove(&**id).is_some();
                if sessions.until.is_empty() {
                    self.sessions.remove(&issuer);
                }
                was_revoked
            }
            Topic::Subject { issuer, subject } => {
                let issuer = boxed(issuer.as_deref());
                let Some(subjects) = self.subjects.get_mut(&issuer) else { return false };
                let was_revoked = subjects.remove(&**subject).is_some();
                if subjects.is_empty() {
                    self.subjects.remove(&issuer);
                }
                was_revoked
            }
            Topic::Answers(_) | Topic::IssuedBefore | Topic::All => false,
        }
    }

    /// All that is revoked, in no order.
    pub(super) fn list(&self) -> Vec<Revocation> {
        let owned = |issuer: &Option<Box<str>>| issuer.as_deref().map(str::to_owned);
        let tokens = self.tokens.until.iter().map(|(digest, until)| Revocation::of_token(*digest, *until));
        let credentials = self.credentials.until.iter();
        let credentials = credentials.map(|(id, until)| Revocation::of_credential(&**id, *until));
        let sessions = self.sessions.iter().flat_map(|(issuer, ids)| {
            ids.until.iter().map(move |(id, until)| Revocation::of_session(owned(issuer), &**id, *until))
        });
        let subjects = self.subjects.iter().flat_map(|(issuer, subjects)| {
            let issuer = issuer.as_deref();
            subjects.iter().map(move |(subject, time)| Revocation::of_subject(Subject { issuer, subject }, *time))
        });
        let by_date = self.issued_before.map(Revocation::IssuedBefore);
        tokens.chain(credentials).chain(sessions).chain(subjects).chain(by_date).collect()
    }

    /// For how many tokens, credentials, sessions and subjects there are entries, and the date for all.
    pub(super) fn counts(&self) -> ([usize; 4], Option<SystemTime>) {
        let sessions = self.sessions.values().map(|ids| ids.until.len()).sum();
        let subjects = self.subjects.values().map(HashMap::len).sum();
        ([self.tokens.until.len(), self.credentials.until.len(), sessions, subjects], self.issued_before)
    }

    /// Until when the credential of an identity is revoked, and its session: `Some(None)` for ever.
    pub(super) fn until(&self, identity: &Identity) -> [Option<Option<SystemTime>>; 2] {
        [self.credential(identity), self.session(identity)]
    }

    /// Whether any token is revoked by its digest.
    pub(super) fn has_tokens(&self) -> bool {
        !self.tokens.until.is_empty()
    }

    /// Until when a token is revoked, if it is.
    pub(super) fn token(&self, token: &TokenDigest) -> Option<Option<SystemTime>> {
        self.tokens.until.get(token).copied()
    }

    /// Until when the credential of an identity is revoked, if it is.
    fn credential(&self, identity: &Identity) -> Option<Option<SystemTime>> {
        self.credentials.until.get(identity.credential_id()?).copied()
    }

    /// The same of its session.
    fn session(&self, identity: &Identity) -> Option<Option<SystemTime>> {
        if self.sessions.is_empty() {
            return None;
        }
        let session_id = identity.session_id()?;
        self.sessions.get(&boxed(identity.issuer()))?.until.get(session_id).copied()
    }

    /// Whether what was issued then, or to that subject then, is revoked.
    pub(super) fn denies_by_date(&self, identity: &Identity) -> bool {
        let is_before = |time: &SystemTime| identity.issued_at().is_some_and(|issued_at| is_before(issued_at, *time));
        let subject_denied = || {
            if self.subjects.is_empty() {
                return None;
            }
            self.subjects.get(&boxed(identity.issuer()))?.get(identity.subject())
        };
        self.issued_before.as_ref().is_some_and(is_before)
            || subject_denied().is_some_and(|time| identity.issued_at().is_none() || is_before(time))
    }
}

impl<K: Eq + Hash> Ids<K> {
    /// Whether it says more than what was known.
    fn revoke(&mut self, id: K, until: Option<SystemTime>, now: Option<SystemTime>) -> bool {
        // Twice as many as were left the last time: so each entry is looked at a few times in all.
        if let Some(now) = now.filter(|_| self.until.len() > 2 * self.swept + 64) {
            let is_over = |until: SystemTime| until.checked_add(MARGIN).is_some_and(|end| end <= now);
            self.until.retain(|_, until| !until.is_some_and(is_over));
            self.swept = self.until.len();
        }
        let mut known = match self.until.entry(id) {
            Entry::Occupied(known) => known,
            Entry::Vacant(unknown) => {
                unknown.insert(until);
                return true;
            }
        };
        // `None` is for ever.
        let longer = known.get().zip(until).map(|(known, until)| known.max(until));
        known.insert(longer) != longer
    }
}

impl<K> Default for Ids<K> {
    fn default() -> Self {
        Self { until: HashMap::new(), swept: 0 }
    }
}

/// Whether a credential that was issued at `issued_at` was issued before `time`, to the precision of its
/// date.
pub(super) fn is_before(issued_at: SystemTime, time: SystemTime) -> bool {
    let fraction = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Duration::from_nanos(since.subsec_nanos().into())
    };
    let time = if fraction(issued_at).is_zero() { time - fraction(time) } else { time };
    issued_at < time
}

fn boxed(issuer: Option<&str>) -> Option<Box<str>> {
    issuer.map(Into::into)
}
