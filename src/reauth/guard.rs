//! What asks: the gate's decisions carried out, with a timer, the revision and the verifier.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::futures::OwnedNotified,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    EndReason, Revision,
    gate::{Gate, Next, Rules},
};
use crate::{
    Access, Denied,
    access::{Answer, Asking},
    observe,
};

pin_project! {
    /// All that reauth keeps for one stream, whatever it is a stream of.
    pub(super) struct Guard {
        access: Access,
        // The verifier's, at hand: each frame is compared with it.
        revision: Option<Revision>,
        gate: Gate,
        // Kept across polls: a question that is put is not put again because somebody polls.
        asking: Option<Asking>,
        #[pin]
        timer: Option<Sleep>,
        #[pin]
        moved: Option<OwnedNotified>,
        outcome: Outcome,
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
    pub(super) fn new(access: Access, rules: Rules) -> Self {
        // The request is over when the stream begins: what is kept must not keep its buffers.
        access.detach();
        let policy = access.policy();
        let time_left = access.identity().expires_at().map(|expires_at| policy.time_left(expires_at));
        // Followed from here on, and compared with where it stood at the door: a move between the
        // two is seen by the first look.
        let revision = access.revision().cloned();
        let moved = revision.as_ref().map(Revision::moved);
        let gate = Gate::new(rules, Instant::now(), access.confirmed(), time_left);
        Self { access, revision, gate, asking: None, timer: None, moved, outcome: Outcome(None) }
    }

    /// Asks whatever has to be asked. When it is [`Open`](Verdict::Open), the task is woken when it
    /// should look again only after [`rest`](Self::rest).
    pub(super) fn look(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        if self.nothing_is_due() {
            return Verdict::Open;
        }
        let mut this = self.as_mut().project();
        let verdict = loop {
            let (now, revision) = (Instant::now(), this.revision.as_ref().map(Revision::current));
            let next = this.gate.next(now, revision);
            match next {
                Next::Rest => break Verdict::Open,
                Next::Ask => {
                    this.gate.asked(now, revision);
                    *this.asking = Some(this.access.ask());
                }
                Next::Expired => {
                    // Timers are monotonic and an expiry is a date: the wall clock has the last word.
                    let left = this.access.identity().expires_at().map(|at| this.access.policy().time_left(at));
                    match left {
                        Some(left) if !left.is_zero() => this.gate.expires_in(now, left),
                        _ => break Verdict::Ended(EndReason::Expired),
                    }
                }
                Next::AwaitAnswer | Next::GiveUp => {
                    let Some(asking) = this.asking.as_mut() else { break Verdict::Ended(EndReason::Unavailable) };
                    let settled = match Pin::new(asking).poll(cx) {
                        Poll::Pending if next == Next::AwaitAnswer => break Verdict::Open,
                        Poll::Pending if this.gate.unanswered(now, Duration::ZERO) => Ok(()),
                        Poll::Pending => Err(EndReason::TimedOut),
                        Poll::Ready(answer) => settle(this.gate, this.access, this.revision.as_ref(), &answer),
                    };
                    *this.asking = None;
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
    /// which would cost a frame more than all the rest: the revision is where it was, and the timer
    /// runs.
    fn nothing_is_due(&self) -> bool {
        let timer_runs = match (&self.timer, self.gate.deadline()) {
            (Some(timer), Some(deadline)) => timer.deadline() == deadline && !timer.is_elapsed(),
            (_, deadline) => deadline.is_none(),
        };
        timer_runs && self.gate.is_at_rest(self.revision.as_ref().map(Revision::current))
    }

    /// Arms the timer and the watch on the revision: whether one of them has fired already, so that
    /// it is time to look again.
    pub(super) fn rest(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if let (Some(revision), Some(moved)) = (&this.revision, this.moved.as_mut().as_pin_mut()) {
            if moved.poll(cx).is_ready() {
                this.moved.set(Some(revision.moved()));
                return Poll::Ready(());
            }
        }
        let Some(deadline) = this.gate.deadline() else { return Poll::Pending };
        set_timer(this.timer.as_mut(), deadline);
        this.timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
    }

    /// A frame became ready: whether it may pass.
    pub(super) fn frame_ready(self: Pin<&mut Self>) -> bool {
        if self.nothing_is_due() && self.gate.is_timeless() {
            return true;
        }
        let this = self.project();
        this.gate.frame_ready(Instant::now(), this.revision.as_ref().map(Revision::current))
    }

    /// Whether the frame that waits may pass now.
    pub(super) fn takes_frame(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        this.gate.takes_frame(Instant::now(), this.revision.as_ref().map(Revision::current))
    }

    pub(super) fn owes_comment(&self) -> bool {
        self.gate.owes_comment()
    }

    pub(super) fn comment_settled(self: Pin<&mut Self>) {
        self.project().gate.comment_settled();
    }

    /// The stream ended: nothing is waited for any more.
    pub(super) fn ended(self: Pin<&mut Self>, reason: EndReason) {
        let mut this = self.project();
        this.outcome.is(reason);
        *this.asking = None;
        this.timer.set(None);
        this.moved.set(None);
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

fn settle(gate: &mut Gate, access: &Access, revision: Option<&Revision>, answer: &Answer) -> Result<(), EndReason> {
    let now = Instant::now();
    match answer {
        Answer::Confirmed { expires_at } => {
            let time_left = expires_at.map(|expires_at| access.policy().time_left(expires_at));
            gate.confirmed(now, revision.map(Revision::current), time_left);
            Ok(())
        }
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
