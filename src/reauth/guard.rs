//! What asks: the gate's decisions carried out, with a timer, the revision and the verifier.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::futures::OwnedNotified,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    EndReason,
    crowd::Asking,
    follow::Followed,
    gate::{Gate, Next, Rules},
};
use crate::{Access, Denied, access::Answer, observe};

/// How many answers are heard in one poll, for a verifier whose answers move its own revision.
const MOST_ANSWERS: u32 = 4;

pin_project! {
    /// All that reauth keeps for one stream, whatever it is a stream of.
    pub(super) struct Guard {
        access: Access,
        gate: Gate,
        // `None` from the moment at which the stream ended.
        followed: Option<Followed>,
        // Kept across polls: a question that is put is not put again because somebody polls.
        asking: Option<Asking>,
        #[pin]
        timer: Option<Sleep>,
        #[pin]
        told: Option<OwnedNotified>,
        outcome: Outcome,
        retry_after: Option<Duration>,
        // A look broke off, and has to go on.
        is_due_again: bool,
    }
}

/// What the guard says of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Access holds, or the answer is on its way.
    Open,
    /// Access is gone.
    Ended(EndReason),
}

/// How the stream ended: reported once, by the first reason.
struct Outcome(Option<EndReason>);

impl Guard {
    pub(super) fn new(access: Access, rules: Arc<Rules>) -> Self {
        // The request is over when the stream begins: what is kept must not keep its buffers.
        access.detach();
        let (followed, standing) = Followed::start(&access);
        let gate = Gate::new(rules, Instant::now(), standing);
        // From here on nothing is missed: what came before shows at the first look.
        let told = Some(followed.told());
        let outcome = Outcome(None);
        let followed = Some(followed);
        Self {
            access,
            gate,
            followed,
            asking: None,
            timer: None,
            told,
            outcome,
            retry_after: None,
            is_due_again: false,
        }
    }

    /// Asks whatever has to be asked. When it is [`Open`](Verdict::Open), the task is woken when it
    /// should look again only after [`rest`](Self::rest).
    pub(super) fn look(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        if self.nothing_is_due() {
            return Verdict::Open;
        }
        let mut this = self.as_mut().project();
        let mut answered = 0;
        let verdict = loop {
            let Some(followed) = this.followed.as_mut() else {
                break Verdict::Ended(this.outcome.0.unwrap_or(EndReason::Finished));
            };
            if followed.is_outdated(this.access) {
                let (renewed, standing) = Followed::start(this.access);
                this.gate.renewed(Instant::now(), standing);
                this.told.set(Some(renewed.told()));
                *this.asking = None;
                *followed = renewed;
                continue;
            }
            if followed.has_news() {
                if followed.is_revoked(this.access) {
                    break Verdict::Ended(EndReason::Revoked);
                }
                this.gate.told(followed.denied());
            }

            let (now, revision) = (Instant::now(), followed.revision());
            let next = this.gate.next(now, revision);
            match next {
                Next::Rest => break Verdict::Open,
                Next::Ask if answered == MOST_ANSWERS => {
                    *this.is_due_again = true;
                    break Verdict::Open;
                }
                Next::Ask => {
                    let (asked, asking) = followed.ask(this.gate.need(now, revision));
                    this.gate.asked(now, asked, followed.put());
                    *this.asking = Some(asking);
                }
                Next::Expired => {
                    // Timers are monotonic and an expiry is a date: the wall clock has the last word.
                    followed.look_up_expiry(this.access);
                    if !this.gate.expires_in(now, followed.time_left()) {
                        break Verdict::Ended(EndReason::Expired);
                    }
                }
                Next::AwaitAnswer | Next::GiveUp => {
                    let Some(asking) = this.asking.as_mut() else { break Verdict::Ended(EndReason::Unavailable) };
                    let settled = match followed.poll(asking, cx) {
                        Poll::Pending if next == Next::AwaitAnswer => break Verdict::Open,
                        Poll::Pending if this.gate.unanswered(now, Duration::ZERO) => Ok(()),
                        Poll::Pending => Err(EndReason::TimedOut),
                        Poll::Ready(reply) => {
                            let answer = followed.settle(this.access, this.gate.heard(), reply);
                            if let Answer::Denied(denied) = &answer {
                                *this.retry_after = denied.retry_after();
                            }
                            settle(this.gate, followed, &answer)
                        }
                    };
                    *this.asking = None;
                    answered += 1;
                    if let Err(reason) = settled {
                        break Verdict::Ended(reason);
                    }
                }
            }
        };
        match (verdict, this.gate.deadline()) {
            (Verdict::Ended(reason), _) => self.ended(reason),
            (Verdict::Open, Some(deadline)) => set_timer(this.timer.as_mut(), deadline),
            (Verdict::Open, None) => {}
        }
        verdict
    }

    /// Whether a look would find nothing to do, as far as that can be told without reading the clock,
    /// which would cost a frame more than all the rest: the revision is where it was, there is no
    /// news, and the timer runs.
    fn nothing_is_due(&self) -> bool {
        let timer_runs = match (&self.timer, self.gate.deadline()) {
            (Some(timer), Some(deadline)) => timer.deadline() == deadline && !timer.is_elapsed(),
            (_, deadline) => deadline.is_none(),
        };
        let is_at_rest = |followed: &Followed| {
            !followed.hears() && !followed.is_outdated(&self.access) && self.gate.is_at_rest(followed.revision())
        };
        timer_runs && self.followed.as_ref().is_some_and(is_at_rest)
    }

    /// Arms the timer and waits for news: whether one of them is there already, so that it is time to
    /// look again.
    pub(super) fn rest(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(followed) = this.followed else { return Poll::Ready(()) };
        if std::mem::take(this.is_due_again) {
            // Whatever its verifier does, a poll comes to its end, and the next one goes on.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.gate.has_moved(followed.revision()) {
            // Quietly, since the look: what waits must not wait for a heartbeat.
            return Poll::Ready(());
        }
        if this.told.as_mut().as_pin_mut().is_some_and(|told| told.poll(cx).is_ready()) {
            this.told.set(Some(followed.told()));
            return Poll::Ready(());
        }
        let Some(deadline) = this.gate.deadline() else { return Poll::Pending };
        set_timer(this.timer.as_mut(), deadline);
        this.timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
    }

    /// A frame became ready: whether it may pass.
    pub(super) fn frame_ready(self: Pin<&mut Self>) -> bool {
        // A timer stands still while the machine sleeps, so the wall clock is compared.
        let has_expired = |followed: &Followed| followed.time_left().is_some_and(|left| left.is_zero());
        if self.gate.goes_by_revision() && self.nothing_is_due() && !self.followed.as_ref().is_some_and(has_expired) {
            return true;
        }
        let this = self.project();
        let Some(followed) = this.followed else { return false };
        let now = Instant::now();
        this.gate.expires_in(now, followed.time_left());
        this.gate.frame_ready(now, followed.revision(), followed.put(), followed.hears())
    }

    /// Whether the frame that waits may pass now.
    pub(super) fn takes_frame(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let followed = this.followed.as_ref();
        followed.is_some_and(|followed| this.gate.takes_frame(Instant::now(), followed.revision()))
    }

    pub(super) fn owes_comment(&self) -> bool {
        self.gate.owes_comment()
    }

    pub(super) fn comment_settled(self: Pin<&mut Self>) {
        self.project().gate.comment_settled();
    }

    /// When to come back, if whoever denied access said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The stream ended: nothing is waited for any more.
    pub(super) fn ended(self: Pin<&mut Self>, reason: EndReason) {
        let mut this = self.project();
        this.outcome.is(reason);
        *this.asking = None;
        *this.followed = None;
        this.timer.set(None);
        this.told.set(None);
    }
}

/// Sets the timer, and starts it: it elapses whether or not it is polled.
fn set_timer(mut timer: Pin<&mut Option<Sleep>>, deadline: Instant) {
    if timer.is_none() {
        timer.set(Some(sleep_until(deadline)));
    } else if timer.as_ref().as_pin_ref().is_some_and(|timer| timer.deadline() == deadline) {
        return;
    }
    if let Some(timer) = timer.as_pin_mut() {
        timer.reset(deadline);
    }
}

fn settle(gate: &mut Gate, followed: &Followed, answer: &Answer) -> Result<(), EndReason> {
    let now = Instant::now();
    match answer {
        Answer::Confirmed { .. } => {
            gate.confirmed(now, followed.revision(), followed.time_left());
            Ok(())
        }
        // The next turn follows the credential that it is about no longer.
        Answer::Outdated => Ok(()),
        Answer::Denied(Denied::Unavailable { retry_after }) if gate.unanswered(now, *retry_after) => Ok(()),
        Answer::Denied(denied) => Err(denied.into()),
        Answer::Panicked => Err(EndReason::CheckPanicked),
    }
}

impl Outcome {
    fn is(&mut self, reason: EndReason) {
        if self.0.is_none() {
            self.0 = Some(reason);
            observe::stream_ended(reason);
        }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        self.is(EndReason::Disconnected);
    }
}
