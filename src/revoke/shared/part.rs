//! What [`Revocations`] are, besides, that other nodes share.

use std::{
    sync::PoisonError,
    time::{Duration, SystemTime},
};

use tokio::{sync::Notify, time::Instant};

use super::{Entry, Lease, Outbox, RevocationLog, Said, SharedRevocations, Topic, voids::Voids};
use crate::{
    revoke::{Revocation, Revocations, revocations::Extent},
    sync::Mutex,
    unwind::contained,
    verify::TokenDigest,
};

/// By how much later everything is revoked once more, at least.
const TICK: Duration = Duration::from_millis(1);

/// The part of a node in the log.
pub(in super::super) struct Part {
    lease: Lease,
    /// Rung when the lease begins.
    begun: Notify,
    outbox: Outbox,
    /// Whether what is known counts when the lease is over, too.
    prefers_availability: bool,
    /// What the log's clock showed, and when that was heard.
    clock: Mutex<Option<(SystemTime, Instant)>>,
    /// When everything was revoked the last time, as the log has it.
    all: Mutex<Option<SystemTime>>,
    voids: Mutex<Voids>,
}

impl Part {
    pub(in super::super) fn new(prefers_availability: bool) -> Self {
        Self {
            lease: Lease::new(),
            begun: Notify::new(),
            outbox: Outbox::default(),
            prefers_availability,
            clock: Mutex::default(),
            all: Mutex::default(),
            voids: Mutex::default(),
        }
    }

    /// Another number whenever this node began to vouch, or stopped to.
    pub(in super::super) fn lease(&self) -> u64 {
        if self.prefers_availability { 0 } else { self.lease.number() }
    }

    pub(in super::super) fn is_unsure(&self) -> bool {
        !self.prefers_availability && self.lease.is_over()
    }

    /// Whether something may have been let in by now.
    fn has_let_in(&self) -> bool {
        self.prefers_availability || self.lease.has_begun()
    }

    pub(in super::super) fn push(&self, entry: Entry) {
        self.outbox.push(entry);
    }

    /// The time by the log's clock, once it is known: what the node's own shows may be set at any time.
    pub(in super::super) fn time(&self) -> Option<SystemTime> {
        let (shown, heard) = (*self.clock.lock().unwrap_or_else(PoisonError::into_inner))?;
        shown.checked_add(heard.elapsed())
    }

    /// When everything was revoked the last time.
    fn all(&self) -> Option<SystemTime> {
        *self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether that is later than it was before.
    fn take_all(&self, time: SystemTime) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let is_more = all.is_none_or(|all| all < time);
        *all = all.max(Some(time));
        is_more
    }
}

impl Revocations {
    /// Shares what is revoked with all nodes that share `log`: see [`shared`](super).
    pub fn shared<L: RevocationLog>(log: L) -> SharedRevocations<L> {
        SharedRevocations::new(log)
    }

    /// Completes when all that was revoked here before this was called is in the log that other nodes read; at once
    /// where there is none. While the log is away it does not complete: give it a time limit.
    pub async fn written(&self) {
        if let Some(part) = self.part() {
            part.outbox.written().await;
        }
    }

    /// Whether this node has not heard for too long what others revoked, so that it vouches for nothing: see
    /// [`shared`](super). It is always sure of what is revoked here alone.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        self.part().is_some_and(Part::is_unsure)
    }

    pub(super) fn outbox(&self) -> Option<&Outbox> {
        self.part().map(|part| &part.outbox)
    }

    pub(super) fn prefers_availability(&self) -> bool {
        self.part().is_some_and(|part| part.prefers_availability)
    }

    /// Learns what time it is by the log's clock.
    pub(super) fn set_clock(&self, now: SystemTime) {
        if let Some(part) = self.part() {
            *part.clock.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, Instant::now()));
        }
    }

    /// Takes over an entry that comes after all those before.
    pub(super) fn take_next(&self, entry: Entry) {
        let Some(outbox) = self.outbox() else { return };
        if entry.rank().is_some() {
            outbox.reads(&entry);
            self.take(entry);
            return;
        }
        // What is revoked meanwhile is in the outbox first, and then remembered.
        let mut remembered = self.remember();
        if !outbox.reads(&entry) {
            remembered.forget(entry.about());
        }
    }

    /// It is asked where the log ends, the time with this number.
    pub(super) fn asks(&self) -> u64 {
        self.outbox().map_or(0, Outbox::asks)
    }

    /// This node has read as far as the log went when it was asked the time with this number.
    pub(super) fn read_as_of(&self, asked: u64) {
        let Some(outbox) = self.outbox() else { return };
        let now = contained(|| self.now());
        let mut remembered = self.remember();
        for (topic, since) in outbox.read_as_of(asked) {
            remembered.forget(&topic);
            if let Some(Said::Revoked(revocation)) = since.map(Entry::said) {
                remembered.revoke(&revocation, now);
            }
        }
    }

    /// This node goes by all that is in the log as of the time with this number, in place of what came after what.
    pub(super) fn begin_anew(&self, asked: u64) {
        let Some(outbox) = self.outbox() else { return };
        outbox.begin_anew();
        self.read_as_of(asked);
    }

    /// Takes over an entry, whenever it came.
    pub(super) fn take(&self, entry: Entry) {
        match entry.said() {
            Said::Revoked(revocation) => self.take_revocation(&revocation),
            Said::All(time) => self.take_all(time),
            Said::Void(token, time) => self.take_void(token, time),
            Said::Forgotten(topic) => _ = self.remember().forget(&topic),
        }
    }

    fn take_all(&self, time: SystemTime) {
        let Some(part) = self.part() else { return };
        if !part.take_all(time) {
            if part.all() == Some(time) {
                part.outbox.has(&Topic::All);
            }
            return;
        }
        // A node that has let nobody in yet has nothing open that was opened before.
        if part.has_let_in() {
            self.end_all(time);
        } else {
            self.take_revocation(&Revocation::IssuedBefore(time));
        }
        // The log passes over what this node has said meanwhile, by a clock that is behind.
        if part.outbox.is_about(&Topic::All) {
            self.share_all(self.time_for_all(time));
        }
    }

    /// Goes by what the log has of a topic, which is less than what this node knows of it: it was forgotten, and revoked
    /// again perhaps.
    pub(super) fn take_less(&self, known: Entry, there: Option<Entry>) {
        let now = contained(|| self.now());
        let mut remembered = self.remember();
        if self.outbox().is_some_and(|outbox| outbox.reads_less(known.about(), there.as_ref())) {
            return;
        }
        remembered.forget(known.about());
        if let Some(Said::Revoked(revocation)) = there.map(Entry::said) {
            remembered.revoke(&revocation, now);
        }
    }

    fn take_void(&self, token: Option<TokenDigest>, time: SystemTime) {
        let now = contained(|| self.now());
        let take = |part: &Part| part.voids.lock().unwrap_or_else(PoisonError::into_inner).take(token, time, now);
        if self.part().is_some_and(take) {
            self.tell_void(token);
        }
    }

    /// What was answered about this token, or about any, is no answer any more, here and on other nodes.
    #[cfg(feature = "cached")]
    pub(crate) fn void(&self, token: Option<TokenDigest>) {
        if let Some(part) = self.part() {
            let now = contained(|| self.now()).unwrap_or(SystemTime::UNIX_EPOCH);
            let mut voids = part.voids.lock().unwrap_or_else(PoisonError::into_inner);
            let entry = Entry::void(token, voids.later(token, now));
            if let Said::Void(token, time) = entry.clone().said() {
                voids.take(token, time, Some(now));
            }
            drop(voids);
            part.push(entry);
        }
        self.tell_void(token);
    }

    /// What of it this node knows, as entries.
    fn voids(&self) -> Vec<Entry> {
        self.part().map(|part| part.voids.lock().unwrap_or_else(PoisonError::into_inner).entries()).unwrap_or_default()
    }

    fn take_revocation(&self, revocation: &Revocation) {
        if self.remember_one(revocation) {
            self.end_concerned(revocation, Extent::Open);
            self.tell_revoked(revocation);
        }
    }

    /// All that this node knows, as entries.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let all = self.part().and_then(Part::all);
        self.list().into_iter().map(Entry::from).chain(all.map(Entry::all)).chain(self.voids())
    }

    /// When everything is revoked that is revoked now: later than it was before, whatever the clock says.
    pub(in super::super) fn time_for_all(&self, now: SystemTime) -> SystemTime {
        self.part().and_then(|part| part.all()).map_or(now, |known| now.max(known + TICK))
    }

    /// Notes that everything was revoked here, so that it is not done again when the log says so.
    pub(in super::super) fn share_all(&self, time: SystemTime) {
        if let Some(part) = self.part() {
            let entry = Entry::all(time);
            if let Said::All(time) = entry.clone().said() {
                part.take_all(time);
            }
            part.push(entry);
        }
    }

    /// This node knows all that was in the log as of a moment ago, and vouches for it until `end`. Whether it does so
    /// again, after a time in which it did not.
    pub(super) fn vouch_until(&self, end: Instant) -> bool {
        let Some(part) = self.part() else { return false };
        let has_begun = part.lease.has_begun();
        let begins = part.lease.extend(end);
        if begins {
            part.begun.notify_one();
            self.wake();
        }
        begins && has_begun
    }

    /// This node vouches for nothing any more.
    pub(super) fn doubt(&self) {
        let Some(part) = self.part() else { return };
        if !part.lease.is_over() {
            part.lease.end();
            self.wake();
        }
    }

    /// Until when this node vouches, as soon as it does.
    pub(super) async fn vouched_for(&self) -> Instant {
        let Some(part) = self.part() else { return std::future::pending().await };
        loop {
            match part.lease.ends() {
                Some(end) => return end,
                None => part.begun.notified().await,
            }
        }
    }
}
