//! When to ask again, and what the answer means: time and revisions in, decisions out.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    EndReason,
    rules::{FAR, Rules, at, random_unit},
};
use crate::revoke::{Beats, CheckRequest, CheckStart};

/// As of when access is confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Baseline {
    pub(super) at: Instant,
    /// The verifier's revision then; `None` for a verifier that has none.
    pub(super) revision: Option<u64>,
    /// Whether access is confirmed for as long as the revision stands still.
    pub(super) vouches: bool,
    /// How long the credential is good for.
    pub(super) time_left: Option<Duration>,
    /// The number of checks begun by then.
    pub(super) begun: u64,
}

/// The gate of one stream.
///
/// It never reads a clock and never calls a verifier: it is given the time and the verifier's revision,
/// and says what to do.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Arc<Rules>,
    /// As of when access was last confirmed.
    confirmed_at: Instant,
    /// The verifier's revision then; `None` for a verifier that has none.
    confirmed_revision: Option<u64>,
    /// Whether a revision that stands still is a confirmation.
    vouches: bool,
    expires_at: Option<Instant>,
    /// By how much this stream ends before its expiry.
    early: Milliseconds,
    next_heartbeat: Option<Instant>,
    awaited: Option<Awaited>,
    /// Boxed: it is rare, and each stream has room for one.
    grace: Option<Box<Grace>>,
    frame: FrameState,
    comment_due: bool,
    /// The number of the check whose answer this stream got last, or waits for.
    last_check: u64,
    /// The number of checks begun when the last heartbeat was due, and when the waiting frame was ready.
    begun_by_heartbeat: u64,
    begun_by_frame: u64,
    /// A check that this stream did not wait for was answered with a denial.
    denied_elsewhere: bool,
}

/// A duration of up to 49 days, in a quarter of the space.
#[derive(Clone, Copy, Debug)]
struct Milliseconds(u32);

impl From<Duration> for Milliseconds {
    fn from(duration: Duration) -> Self {
        Self(duration.as_millis().try_into().unwrap_or(u32::MAX))
    }
}

impl From<Milliseconds> for Duration {
    fn from(Milliseconds(milliseconds): Milliseconds) -> Self {
        Self::from_millis(milliseconds.into())
    }
}

/// A check that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Awaited {
    started_at: Instant,
    revision: Option<u64>,
    /// Only one with a higher number than this will do.
    after: u64,
    /// A heartbeat is why it was begun.
    is_heartbeat: bool,
    /// A frame was waiting when it was begun.
    for_frame: bool,
}

/// The verifier could not tell, and the stream goes on all the same.
#[derive(Clone, Copy, Debug)]
struct Grace {
    /// It is asked again at this time, or when the revision moves.
    retry_at: Instant,
    /// The revision when it was asked.
    revision: Option<u64>,
    ends: Instant,
    /// Why it could not be answered.
    reason: EndReason,
}

/// A frame that became ready and may not pass yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameState {
    None,
    Waits,
    Cleared,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until [`Gate::deadline`]: access holds.
    Rest,
    /// Begin a check, or join one.
    Ask,
    /// Wait for the answer.
    AwaitAnswer,
    /// The answer is overdue: if it is not there now, it is not waited for.
    GiveUp,
    /// The expiry was reached, as far as a monotonic clock can tell.
    Expired,
}

impl Gate {
    /// The gate of a stream that begins now, its access confirmed at the door.
    pub(super) fn new(rules: Arc<Rules>, now: Instant, baseline: Baseline, beats: &Beats) -> Self {
        let next_heartbeat = rules.next_heartbeat(now, now, beats);
        let mut gate = Self {
            rules,
            confirmed_at: baseline.at,
            confirmed_revision: baseline.revision,
            vouches: baseline.vouches,
            expires_at: None,
            early: Milliseconds(0),
            next_heartbeat,
            awaited: None,
            grace: None,
            frame: FrameState::None,
            comment_due: false,
            last_check: 0,
            begun_by_heartbeat: 0,
            begun_by_frame: 0,
            denied_elsewhere: false,
        };
        gate.renewed(now, baseline);
        gate
    }

    /// The stream goes by another credential from now on. A check of the old one is void.
    pub(super) fn renewed(&mut self, now: Instant, baseline: Baseline) {
        self.confirmed_at = baseline.at;
        self.confirmed_revision = baseline.revision;
        self.vouches = baseline.vouches;
        // A short-lived credential loses at most half of what is left of it.
        let early = self.rules.early_close.min(FAR).mul_f64(random_unit());
        self.early = baseline.time_left.map_or(Milliseconds(0), |left| early.min(left / 2).into());
        self.expires_at = self.expiry(now, baseline.time_left);
        self.awaited = None;
        self.grace = None;
        if self.frame == FrameState::Cleared {
            self.frame = FrameState::Waits;
        }
        self.last_check = baseline.begun;
        self.begun_by_heartbeat = baseline.begun;
        self.begun_by_frame = baseline.begun;
        self.denied_elsewhere = false;
    }

    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Says what to do at `now`, with the verifier's revision at `revision`.
    pub(super) fn next(&self, now: Instant, revision: Option<u64>) -> Next {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Next::Expired;
        }
        if let Some(awaited) = &self.awaited {
            return if now >= self.answer_due(awaited) { Next::GiveUp } else { Next::AwaitAnswer };
        }
        if let Some(grace) = &self.grace {
            return if now >= grace.retry_at || revision != grace.revision || self.denied_elsewhere {
                Next::Ask
            } else {
                Next::Rest
            };
        }
        let heartbeat_due = self.is_heartbeat_due(now);
        let moved = revision != self.confirmed_revision;
        let frame_waits = self.frame != FrameState::None && !self.lets_pass(now, revision);
        if heartbeat_due || moved || frame_waits || self.denied_elsewhere { Next::Ask } else { Next::Rest }
    }

    /// Whether [`next`](Self::next) is [`Rest`](Next::Rest) at any time before [`deadline`](Self::deadline).
    pub(super) fn is_at_rest(&self, revision: Option<u64>) -> bool {
        self.awaited.is_none()
            && self.grace.is_none()
            && self.frame == FrameState::None
            && !self.denied_elsewhere
            && revision == self.confirmed_revision
    }

    /// Whether a revision vouches for frames, so that the time has no say in it while the gate is at
    /// rest, but for the expiry.
    pub(super) fn goes_by_revision(&self) -> bool {
        self.vouches
    }

    /// When to call [`next`](Self::next) again, if nothing else happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = match (&self.awaited, &self.grace) {
            (Some(awaited), _) => Some(self.answer_due(awaited)),
            (None, Some(grace)) => Some(grace.retry_at),
            (None, None) => self.next_heartbeat,
        };
        match (next, self.expires_at) {
            (Some(next), Some(expires_at)) => Some(next.min(expires_at)),
            (next, expires_at) => next.or(expires_at),
        }
    }

    /// Which check will do, when it is time to check.
    pub(super) fn check_request(&self, now: Instant, revision: Option<u64>) -> CheckRequest {
        let beat = if self.is_heartbeat_due(now) { self.begun_by_heartbeat } else { 0 };
        let frame = if self.frame == FrameState::Waits { self.begun_by_frame } else { 0 };
        CheckRequest { now, revision, after: self.last_check.max(beat).max(frame), timeout: self.rules.check_timeout }
    }

    /// The stream waits for a check, begun by itself or by another. `begun` is the number begun by now.
    pub(super) fn check_started(&mut self, request: CheckRequest, start: CheckStart, begun: u64, beats: &Beats) {
        let is_heartbeat = self.is_heartbeat_due(request.now);
        if is_heartbeat {
            // Another stream may have begun it a while ago.
            self.next_heartbeat = self.rules.next_heartbeat(start.at, request.now, beats);
            self.begun_by_heartbeat = begun;
        }
        let for_frame = self.frame != FrameState::None;
        self.denied_elsewhere = false;
        let after = request.after;
        self.awaited = Some(Awaited { started_at: start.at, revision: start.revision, after, is_heartbeat, for_frame });
        self.last_check = start.number;
    }

    /// Which check will do in place of the awaited one, which a newer one replaced.
    pub(super) fn restart_request(&self, now: Instant, revision: Option<u64>) -> CheckRequest {
        let after = self.awaited.as_ref().map_or(self.last_check, |awaited| awaited.after);
        CheckRequest { now, revision, after, timeout: self.rules.check_timeout }
    }

    /// The stream waits for this check in place of the awaited one, for the same reasons.
    pub(super) fn check_restarted(&mut self, start: CheckStart) {
        if let Some(awaited) = &mut self.awaited {
            (awaited.started_at, awaited.revision) = (start.at, start.revision);
        }
        self.last_check = start.number;
    }

    /// A check was answered with a denial: this stream checks too, unless it has that answer.
    pub(super) fn note_denial(&mut self, denied: u64) {
        self.denied_elsewhere |= denied > self.last_check;
    }

    /// The check was answered: access holds, for `time_left`. `revision` is what it is now.
    pub(super) fn confirmed(&mut self, now: Instant, revision: Option<u64>, time_left: Option<Duration>) {
        let Some(awaited) = self.awaited.take() else { return };
        // As of its start: the verifier may have read its state at any time since.
        self.confirmed_at = awaited.started_at;
        self.confirmed_revision = awaited.revision;
        self.grace = None;
        self.expires_at = self.expiry(now, time_left);
        self.comment_due |= awaited.is_heartbeat;
        if awaited.for_frame && awaited.revision == revision {
            self.frame = FrameState::Cleared;
        }
    }

    /// The check could not be answered, for `reason`. The stream may go on for now: within the grace,
    /// counted from the last time that access was confirmed.
    ///
    /// # Errors
    ///
    /// Why the stream ends, when the grace is over. What the verifier said before counts for more than
    /// that it is silent now.
    pub(super) fn unanswered(
        &mut self,
        now: Instant,
        retry_after: Duration,
        reason: EndReason,
    ) -> Result<(), EndReason> {
        let Some(awaited) = self.awaited.take() else { return Err(reason) };
        let reason = match &self.grace {
            Some(grace) if reason == EndReason::TimedOut => grace.reason,
            _ => reason,
        };
        let ends = at(self.confirmed_at, self.rules.grace);
        // Never at once: a verifier that is down must not be asked in a loop.
        let retry_at = at(now, retry_after.max(Duration::from_millis(100))).min(ends);
        self.grace = Some(Box::new(Grace { retry_at, revision: awaited.revision, ends, reason }));
        if now < ends { Ok(()) } else { Err(reason) }
    }

    /// The wall clock says that the credential is good for another `time_left`. Whether that leaves the
    /// stream any time.
    pub(super) fn expires_in(&mut self, now: Instant, time_left: Option<Duration>) -> bool {
        self.expires_at = self.expiry(now, time_left);
        self.expires_at.is_none_or(|at| at > now)
    }

    /// A frame became ready: whether it may pass. If not, it waits until
    /// [`lets_pass`](Self::lets_pass) says so.
    /// `begun` is the number of checks begun by now; `has_alerts` that there are alerts which were not
    /// acted on.
    pub(super) fn admit_frame(&mut self, now: Instant, revision: Option<u64>, begun: u64, has_alerts: bool) -> bool {
        let holds = !has_alerts && matches!(self.next(now, revision), Next::Rest | Next::AwaitAnswer);
        let passes = holds && self.is_fresh(now, revision);
        if !passes {
            self.frame = FrameState::Waits;
            self.begun_by_frame = begun;
        }
        passes
    }

    /// A frame that may pass here waits for another gate.
    pub(super) fn frame_waits_elsewhere(&mut self) {
        self.frame = FrameState::Cleared;
    }

    /// The frame that waited passes.
    pub(super) fn frame_passes(&mut self) {
        self.frame = FrameState::None;
    }

    /// Whether the frame that waits may pass. One that was cleared and found no room may pass later too:
    /// for as long as its answer could have been on its way.
    pub(super) fn lets_pass(&self, now: Instant, revision: Option<u64>) -> bool {
        let is_recent = || {
            !self.vouches
                && revision == self.confirmed_revision
                && now <= at(self.confirmed_at, self.rules.check_timeout)
        };
        match self.frame {
            FrameState::None => false,
            FrameState::Cleared => self.awaited.is_none() && (self.is_fresh(now, revision) || is_recent()),
            FrameState::Waits => self.is_fresh(now, revision),
        }
    }

    /// Whether the revision has moved since the last check.
    pub(super) fn has_moved(&self, revision: Option<u64>) -> bool {
        let known = self.grace.as_ref().map_or(self.confirmed_revision, |grace| grace.revision);
        self.awaited.is_none() && revision != known
    }

    /// The number of the check whose answer this stream got last, or waits for.
    pub(super) fn last_check(&self) -> u64 {
        self.last_check
    }

    /// Whether a comment is owed for a heartbeat that was confirmed.
    pub(super) fn comment_is_due(&self) -> bool {
        self.comment_due
    }

    /// The comment was written, or there is nowhere to write it.
    pub(super) fn comment_written(&mut self) {
        self.comment_due = false;
    }

    /// Whether what was confirmed last, or the grace, vouches for a frame at `now`.
    pub(super) fn is_fresh(&self, now: Instant, revision: Option<u64>) -> bool {
        let is_recent = || !self.rules.max_age.is_zero() && now <= at(self.confirmed_at, self.rules.max_age);
        match &self.grace {
            Some(grace) => revision == grace.revision,
            None => revision == self.confirmed_revision && (self.vouches || is_recent()),
        }
    }

    fn is_heartbeat_due(&self, now: Instant) -> bool {
        self.next_heartbeat.is_some_and(|at| at <= now)
    }

    fn expiry(&self, now: Instant, time_left: Option<Duration>) -> Option<Instant> {
        time_left.map(|left| at(now, left.saturating_sub(self.early.into()).min(LOOK_AT_THE_WALL)))
    }

    /// When the awaited check must be answered. One that is begun again in the grace has no longer than that.
    fn answer_due(&self, awaited: &Awaited) -> Instant {
        let due = at(awaited.started_at, self.rules.check_timeout);
        self.grace.as_ref().map_or(due, |grace| due.min(grace.ends))
    }
}

/// How long a stream with an expiry goes without a look at the wall clock: a timer stands still while the
/// machine sleeps, and a clock may be set right.
const LOOK_AT_THE_WALL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::rules::OnEnd, *};

    /// What happens to a stream.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// The inner body has a frame.
        Frame,
        /// The stream is polled: it does what the gate says.
        Poll,
        /// The check of this stream is answered: access holds, or the verifier cannot tell.
        Answer(bool),
        /// Another stream of the credential begins a check.
        Other,
        /// The verifier's revision moves.
        Move,
        /// Seconds go by.
        Wait(u8),
        /// The credential is swapped for one that was confirmed just now.
        Renew,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            3 => Just(Event::Frame),
            6 => Just(Event::Poll),
            4 => any::<bool>().prop_map(Event::Answer),
            1 => Just(Event::Other),
            2 => Just(Event::Move),
            2 => (0..20_u8).prop_map(Event::Wait),
            1 => Just(Event::Renew),
        ]
    }

    /// The gate in ten lines: every confirmation there ever was, and which of them let a frame pass.
    struct Model {
        revision: Option<u64>,
        /// Whether a revision that stands still is a confirmation.
        vouches: bool,
        begun: u64,
        /// Number and revision of each awaited that was answered well, the door's first.
        confirmations: Vec<(u64, Option<u64>)>,
    }

    impl Model {
        /// Whether a frame may pass that became ready when `begun_by` checks had begun.
        fn lets_pass(&self, begun_by: u64) -> bool {
            let is_one = |number| self.vouches || number > begun_by;
            self.confirmations.iter().any(|&(number, revision)| revision == self.revision && is_one(number))
        }
    }

    fn rules() -> Arc<Rules> {
        Arc::new(Rules {
            heartbeat: Some(Duration::from_secs(15)),
            jitter: 0.2,
            max_age: Duration::ZERO,
            check_timeout: Duration::from_secs(5),
            grace: Duration::ZERO,
            early_close: Duration::ZERO,
            since: Instant::now(),
            on_end: OnEnd::default(),
            registry: None,
        })
    }

    proptest! {
        #[test]
        fn no_frame_passes_that_the_model_holds_back(
            has_revision: bool,
            is_partial: bool,
            events in prop::collection::vec(event(), 0..100),
        ) {
            let (mut now, beats) = (Instant::now(), Beats::default());
            let (revision, vouches) = (has_revision.then_some(7), has_revision && !is_partial);
            let mut model = Model { revision, vouches, begun: 0, confirmations: Vec::new() };
            model.confirmations.push((0, model.revision));
            let baseline = |now, model: &Model| {
                let Model { revision, vouches, begun, .. } = *model;
                Baseline { at: now, revision, vouches, time_left: None, begun }
            };
            let mut gate = Gate::new(rules(), now, baseline(now, &model), &beats);
            let mut running: Option<CheckStart> = None;
            let mut frame: Option<u64> = None;
            for event in events {
                match event {
                    Event::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                    Event::Move => model.revision = model.revision.map(|revision| revision + 1),
                    Event::Other => model.begun += 1,
                    Event::Renew => {
                        // Another credential, whose checks are numbered anew: none has begun yet.
                        model.confirmations.push((model.begun, model.revision));
                        frame = frame.map(|_| model.begun);
                        running = None;
                        gate.renewed(now, baseline(now, &model));
                    }
                    Event::Frame if frame.is_none() => {
                        if gate.admit_frame(now, model.revision, model.begun, false) {
                            prop_assert!(model.lets_pass(model.begun));
                        } else {
                            frame = Some(model.begun);
                        }
                    }
                    Event::Frame => {}
                    Event::Answer(holds) => {
                        let Some(check) = running.take() else { continue };
                        if holds {
                            model.confirmations.push((check.number, check.revision));
                            gate.confirmed(now, model.revision, None);
                        } else if gate.unanswered(now, Duration::ZERO, EndReason::Unavailable).is_err() {
                            return Ok(());
                        }
                    }
                    Event::Poll => match gate.next(now, model.revision) {
                        Next::Ask => {
                            let request = gate.check_request(now, model.revision);
                            prop_assert!(running.is_none(), "one check at a time");
                            prop_assert!(request.after <= model.begun, "a check can always be begun that will do");
                            model.begun += 1;
                            let start = CheckStart { number: model.begun, at: now, revision: model.revision };
                            gate.check_started(request, start, model.begun, &beats);
                            running = Some(start);
                        }
                        Next::GiveUp => return Ok(()),
                        Next::Expired => prop_assert!(false, "it never expires"),
                        next @ (Next::AwaitAnswer | Next::Rest) => {
                            let rests = next == Next::Rest;
                            prop_assert!(rests || running.is_some());
                            if let Some(begun_by) = frame {
                                let passes = gate.lets_pass(now, model.revision);
                                if passes {
                                    gate.frame_passes();
                                }
                                prop_assert!(passes || !rests, "a gate at rest holds back no frame");
                                prop_assert!(!passes || model.lets_pass(begun_by));
                                frame = frame.filter(|_| !passes);
                            }
                        }
                    },
                }
            }
        }
    }
}
