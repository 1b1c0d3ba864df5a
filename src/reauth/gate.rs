//! When to ask again, and what the answer means: time and revisions in, decisions out.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::crowd::{Asked, Need};

/// What a stream's gate goes by.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) heartbeat: Option<Duration>,
    /// The part of an interval by which a heartbeat may come early, 0 to 1.
    pub(super) jitter: f64,
    pub(super) max_age: Duration,
    pub(super) check_timeout: Duration,
    pub(super) grace: Duration,
    /// By how much a stream may end before its expiry, at most.
    pub(super) early_close: Duration,
}

/// As of when access is confirmed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) at: Instant,
    /// Where the revision stood; `None` for a verifier that has none.
    pub(super) revision: Option<u64>,
    /// How long the credential is good for.
    pub(super) time_left: Option<Duration>,
    /// How many questions were put by then.
    pub(super) put: u64,
}

/// The gate of one stream.
///
/// It never reads a clock and never asks: it is told the time and where the verifier's revision
/// stands, and says what to do.
#[derive(Debug)]
pub(super) struct Gate {
    rules: Arc<Rules>,
    /// As of when access was last confirmed.
    confirmed_at: Instant,
    /// Where the revision stood when it was; `None` for a verifier that has none.
    confirmed_revision: Option<u64>,
    expires_at: Option<Instant>,
    /// By how much this stream ends before its expiry.
    early: Duration,
    next_beat: Option<Instant>,
    question: Option<Question>,
    /// Boxed: it is rare, and each stream has room for one.
    grace: Option<Box<Grace>>,
    frame: Waiting,
    comment_due: bool,
    /// The last question that this stream heard the answer to, or waits for.
    heard: u64,
    /// How many had been put when the last heartbeat was due, and when the frame that waits was ready.
    put_by_beat: u64,
    put_by_frame: u64,
    /// Another stream's question was answered with a denial.
    was_told: bool,
}

/// A question that is not answered yet.
#[derive(Clone, Copy, Debug)]
struct Question {
    asked_at: Instant,
    revision: Option<u64>,
    /// A heartbeat is why it was put.
    is_beat: bool,
    /// A frame was waiting when it was put.
    for_frame: bool,
}

/// The verifier could not tell, and the stream goes on all the same.
#[derive(Clone, Copy, Debug)]
struct Grace {
    /// It is asked again at this time, or when the revision moves.
    retry_at: Instant,
    /// Where the revision stood when it was asked.
    revision: Option<u64>,
    ends: Instant,
}

/// A frame that became ready and may not pass yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    None,
    ForAnswer,
    Cleared,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing until [`Gate::deadline`]: access holds.
    Rest,
    /// Put the question.
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
    pub(super) fn new(rules: Arc<Rules>, now: Instant, standing: Standing) -> Self {
        let next_beat = rules.next_beat(now);
        let mut gate = Self {
            rules,
            confirmed_at: standing.at,
            confirmed_revision: standing.revision,
            expires_at: None,
            early: Duration::ZERO,
            next_beat,
            question: None,
            grace: None,
            frame: Waiting::None,
            comment_due: false,
            heard: 0,
            put_by_beat: 0,
            put_by_frame: 0,
            was_told: false,
        };
        gate.renewed(now, standing);
        gate
    }

    /// The stream goes by another credential from now on. What was asked about the old one is void.
    pub(super) fn renewed(&mut self, now: Instant, standing: Standing) {
        self.confirmed_at = standing.at;
        self.confirmed_revision = standing.revision;
        // A short-lived credential loses at most half of what is left of it.
        let early = self.rules.early_close.min(FAR).mul_f64(random_unit());
        self.early = standing.time_left.map_or(Duration::ZERO, |left| early.min(left / 2));
        self.expires_at = self.expiry(now, standing.time_left);
        self.question = None;
        self.grace = None;
        if self.frame == Waiting::Cleared {
            self.frame = Waiting::ForAnswer;
        }
        self.heard = standing.put;
        self.put_by_beat = standing.put;
        self.put_by_frame = standing.put;
        self.was_told = false;
    }

    /// Says what to do at `now`, with the revision standing at `revision`.
    pub(super) fn next(&self, now: Instant, revision: Option<u64>) -> Next {
        if self.expires_at.is_some_and(|at| at <= now) {
            return Next::Expired;
        }
        if let Some(question) = &self.question {
            return if now >= self.answer_due(question) { Next::GiveUp } else { Next::AwaitAnswer };
        }
        if let Some(grace) = &self.grace {
            return if now >= grace.retry_at || revision != grace.revision || self.was_told {
                Next::Ask
            } else {
                Next::Rest
            };
        }
        let beat_due = self.is_beat_due(now);
        let moved = revision != self.confirmed_revision;
        let frame_waits = self.frame != Waiting::None && !self.lets_pass(now, revision);
        if beat_due || moved || frame_waits || self.was_told { Next::Ask } else { Next::Rest }
    }

    /// Whether [`next`](Self::next) is [`Rest`](Next::Rest) at any time before [`deadline`](Self::deadline).
    pub(super) fn is_at_rest(&self, revision: Option<u64>) -> bool {
        self.question.is_none()
            && self.grace.is_none()
            && self.frame == Waiting::None
            && !self.was_told
            && revision == self.confirmed_revision
    }

    /// Whether a revision vouches for frames, so that the time has no say in it while the gate is at
    /// rest, but for the expiry.
    pub(super) fn goes_by_revision(&self) -> bool {
        self.confirmed_revision.is_some()
    }

    /// When to look again, if nothing else happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let next = match (&self.question, &self.grace) {
            (Some(question), _) => Some(self.answer_due(question)),
            (None, Some(grace)) => Some(grace.retry_at),
            (None, None) => self.next_beat,
        };
        match (next, self.expires_at) {
            (Some(next), Some(expires_at)) => Some(next.min(expires_at)),
            (next, expires_at) => next.or(expires_at),
        }
    }

    /// What an answer must be to count, when it is time to ask.
    pub(super) fn need(&self, now: Instant, revision: Option<u64>) -> Need {
        let beat = if self.is_beat_due(now) { self.put_by_beat } else { 0 };
        let frame = if self.frame == Waiting::ForAnswer { self.put_by_frame } else { 0 };
        Need { now, revision, after: self.heard.max(beat).max(frame), timeout: self.rules.check_timeout }
    }

    /// The stream waits for a question, its own or another's. `put` is how many were put by now.
    pub(super) fn asked(&mut self, now: Instant, asked: Asked, put: u64) {
        let is_beat = self.is_beat_due(now);
        if is_beat {
            // Another stream may have put it a while ago.
            self.next_beat = self.rules.next_beat(asked.at);
            self.put_by_beat = put;
        }
        let for_frame = self.frame != Waiting::None;
        self.heard = asked.number;
        self.was_told = false;
        self.question = Some(Question { asked_at: asked.at, revision: asked.revision, is_beat, for_frame });
    }

    /// A question was answered with a denial, by which this stream has to ask unless it heard of it.
    pub(super) fn told(&mut self, denied: u64) {
        self.was_told |= denied > self.heard;
    }

    /// The question was answered: access holds, for `time_left`. `revision` is where it stands now.
    pub(super) fn confirmed(&mut self, now: Instant, revision: Option<u64>, time_left: Option<Duration>) {
        let Some(question) = self.question.take() else { return };
        // As of when it was asked: the verifier may have looked at any time since.
        self.confirmed_at = question.asked_at;
        self.confirmed_revision = question.revision;
        self.grace = None;
        self.expires_at = self.expiry(now, time_left);
        self.comment_due |= question.is_beat;
        if question.for_frame && question.revision == revision {
            self.frame = Waiting::Cleared;
        }
    }

    /// The question could not be answered. Says whether the stream may go on for now: within the
    /// grace, counted from the last time that access was confirmed.
    pub(super) fn unanswered(&mut self, now: Instant, retry_after: Duration) -> bool {
        let Some(question) = self.question.take() else { return false };
        let ends = at(self.confirmed_at, self.rules.grace);
        // Never at once: a verifier that is down must not be asked in a loop.
        let retry_at = at(now, retry_after.max(Duration::from_millis(100))).min(ends);
        self.grace = Some(Box::new(Grace { retry_at, revision: question.revision, ends }));
        now < ends
    }

    /// The wall clock says that the credential is good for another `time_left`. Whether that leaves the
    /// stream any time.
    pub(super) fn expires_in(&mut self, now: Instant, time_left: Option<Duration>) -> bool {
        self.expires_at = self.expiry(now, time_left);
        self.expires_at.is_none_or(|at| at > now)
    }

    /// A frame became ready: whether it may pass. If not, it waits until [`takes_frame`](Self::takes_frame) says so.
    /// `put` is how many questions were put by now, and there may be news that was not looked at.
    pub(super) fn frame_ready(&mut self, now: Instant, revision: Option<u64>, put: u64, is_news: bool) -> bool {
        let holds = !is_news && matches!(self.next(now, revision), Next::Rest | Next::AwaitAnswer);
        let passes = holds && self.is_fresh(now, revision);
        if !passes {
            self.frame = Waiting::ForAnswer;
            self.put_by_frame = put;
        }
        passes
    }

    /// Whether the frame that waits may pass now; it then no longer waits.
    pub(super) fn takes_frame(&mut self, now: Instant, revision: Option<u64>) -> bool {
        let passes = self.lets_pass(now, revision);
        if passes {
            self.frame = Waiting::None;
        }
        passes
    }

    /// Whether the frame that waits may pass. One that was cleared and found no room may pass later too:
    /// for as long as its answer could have been on its way.
    fn lets_pass(&self, now: Instant, revision: Option<u64>) -> bool {
        let is_recent = || revision.is_none() && now <= at(self.confirmed_at, self.rules.check_timeout);
        match self.frame {
            Waiting::None => false,
            Waiting::Cleared => self.question.is_none() && (self.is_fresh(now, revision) || is_recent()),
            Waiting::ForAnswer => self.is_fresh(now, revision),
        }
    }

    /// Whether the revision has moved since anything was asked.
    pub(super) fn has_moved(&self, revision: Option<u64>) -> bool {
        let known = self.grace.as_ref().map_or(self.confirmed_revision, |grace| grace.revision);
        self.question.is_none() && revision != known
    }

    /// The number of the question that this stream heard the answer to last, or waits for.
    pub(super) fn heard(&self) -> u64 {
        self.heard
    }

    /// Whether a comment is owed for a heartbeat that was confirmed.
    pub(super) fn owes_comment(&self) -> bool {
        self.comment_due
    }

    /// The comment was written, or there is nowhere to write it.
    pub(super) fn comment_settled(&mut self) {
        self.comment_due = false;
    }

    /// Whether what was confirmed last, or the grace, vouches for a frame at `now`.
    fn is_fresh(&self, now: Instant, revision: Option<u64>) -> bool {
        match (&self.grace, revision) {
            (Some(grace), _) => revision == grace.revision,
            (None, Some(_)) => revision == self.confirmed_revision,
            (None, None) => !self.rules.max_age.is_zero() && now <= at(self.confirmed_at, self.rules.max_age),
        }
    }

    fn is_beat_due(&self, now: Instant) -> bool {
        self.next_beat.is_some_and(|at| at <= now)
    }

    fn expiry(&self, now: Instant, time_left: Option<Duration>) -> Option<Instant> {
        time_left.map(|left| at(now, left.saturating_sub(self.early)))
    }

    /// When a question must be answered. One that is put again in the grace has no longer than that.
    fn answer_due(&self, question: &Question) -> Instant {
        let due = at(question.asked_at, self.rules.check_timeout);
        self.grace.as_ref().map_or(due, |grace| due.min(grace.ends))
    }
}

impl Rules {
    fn next_beat(&self, now: Instant) -> Option<Instant> {
        let early = self.jitter * random_unit();
        self.heartbeat.map(|interval| at(now, interval.min(FAR).mul_f64(1.0 - early)))
    }
}

/// Timers need not reach further: the wall clock is read again when one fires.
const FAR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// `from + after`, at most a month ahead.
fn at(from: Instant, after: Duration) -> Instant {
    from + after.min(FAR)
}

/// A number from 0 to 1 that need not be hard to guess: it only keeps streams out of step.
fn random_unit() -> f64 {
    let bits = RandomState::new().hash_one(0_u8);
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What happens to a stream.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        /// The inner body has a frame.
        Frame,
        /// The stream is polled: it does what the gate says.
        Poll,
        /// The question of this stream is answered: access holds, or the verifier cannot tell.
        Answer(bool),
        /// Another stream of the credential puts a question.
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
        put: u64,
        /// Number and revision of each question that was answered well, the door's first.
        confirmations: Vec<(u64, Option<u64>)>,
    }

    impl Model {
        /// Whether a frame may pass that became ready when `put_by` questions had been put.
        fn lets_pass(&self, put_by: u64) -> bool {
            self.confirmations.iter().any(|&(number, revision)| match self.revision {
                Some(now) => revision == Some(now),
                None => number > put_by,
            })
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
        })
    }

    proptest! {
        #[test]
        fn no_frame_passes_that_the_model_holds_back(
            has_revision: bool,
            events in prop::collection::vec(event(), 0..100),
        ) {
            let mut now = Instant::now();
            let mut model = Model { revision: has_revision.then_some(7), put: 0, confirmations: Vec::new() };
            model.confirmations.push((0, model.revision));
            let standing = |now, model: &Model| {
                Standing { at: now, revision: model.revision, time_left: None, put: model.put }
            };
            let mut gate = Gate::new(rules(), now, standing(now, &model));
            let mut asked: Option<Asked> = None;
            let mut frame: Option<u64> = None;
            for event in events {
                match event {
                    Event::Wait(seconds) => now += Duration::from_secs(seconds.into()),
                    Event::Move => model.revision = model.revision.map(|revision| revision + 1),
                    Event::Other => model.put += 1,
                    Event::Renew => {
                        // Another credential, another count of questions: none has been put about it.
                        model.confirmations.push((model.put, model.revision));
                        frame = frame.map(|_| model.put);
                        asked = None;
                        gate.renewed(now, standing(now, &model));
                    }
                    Event::Frame if frame.is_none() => {
                        if gate.frame_ready(now, model.revision, model.put, false) {
                            prop_assert!(model.lets_pass(model.put));
                        } else {
                            frame = Some(model.put);
                        }
                    }
                    Event::Frame => {}
                    Event::Answer(holds) => {
                        let Some(question) = asked.take() else { continue };
                        if holds {
                            model.confirmations.push((question.number, question.revision));
                            gate.confirmed(now, model.revision, None);
                        } else if !gate.unanswered(now, Duration::ZERO) {
                            return Ok(());
                        }
                    }
                    Event::Poll => match gate.next(now, model.revision) {
                        Next::Ask => {
                            let need = gate.need(now, model.revision);
                            prop_assert!(asked.is_none(), "one question at a time");
                            prop_assert!(need.after <= model.put, "a question can always be put that serves");
                            model.put += 1;
                            let question = Asked { number: model.put, at: now, revision: model.revision };
                            gate.asked(now, question, model.put);
                            asked = Some(question);
                        }
                        Next::GiveUp => return Ok(()),
                        Next::Expired => prop_assert!(false, "it never expires"),
                        next @ (Next::AwaitAnswer | Next::Rest) => {
                            let rests = next == Next::Rest;
                            prop_assert!(rests || asked.is_some());
                            if let Some(put_by) = frame {
                                let passes = gate.takes_frame(now, model.revision);
                                prop_assert!(passes || !rests, "who rests owes no frame");
                                prop_assert!(!passes || model.lets_pass(put_by));
                                frame = frame.filter(|_| !passes);
                            }
                        }
                    },
                }
            }
        }
    }
}
