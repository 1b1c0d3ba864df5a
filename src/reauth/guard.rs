//! Carries out the gate's decisions, with a timer, the revision and the verifier.

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
    gate::{Gate, Next, Rules},
    subscriber::Subscriber,
};
use crate::{Access, Denied, access::Effect, observe::OpenStream, revoke::PendingCheck};

/// How many answers are taken in one poll, for a verifier whose answers move its own revision.
const MOST_ANSWERS: u32 = 4;

pin_project! {
    /// All that reauth keeps for one stream, whatever it is a stream of.
    pub(super) struct Guard {
        access: Access,
        gate: Gate,
        // `None` from the moment at which the stream ended.
        subscriber: Option<Subscriber>,
        // Kept across polls: a check is not begun again because somebody polls.
        pending: Option<PendingCheck>,
        #[pin]
        timer: Option<Sleep>,
        #[pin]
        notified: Option<OwnedNotified>,
        open: OpenStream,
        retry_after: Option<Duration>,
        // `poll_verdict` broke off, and has to go on.
        is_deferred: bool,
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

impl Guard {
    pub(super) fn new(access: Access, rules: Arc<Rules>) -> Self {
        // The request is over when the stream begins: what is kept must not keep its buffers.
        access.detach();
        let (subscriber, baseline) = Subscriber::new(&access);
        let gate = Gate::new(rules, Instant::now(), baseline);
        // From here on nothing is missed: what came before shows at the first poll.
        let notified = Some(subscriber.notified());
        let open = OpenStream::new(access.clone());
        let subscriber = Some(subscriber);
        Self {
            access,
            gate,
            subscriber,
            pending: None,
            timer: None,
            notified,
            open,
            retry_after: None,
            is_deferred: false,
        }
    }

    /// Checks access where that is due. After [`Open`](Verdict::Open), the task is woken when it should
    /// poll again only if [`poll_wake`](Self::poll_wake) is called.
    pub(super) fn poll_verdict(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        if self.is_idle() {
            return Verdict::Open;
        }
        let mut this = self.as_mut().project();
        let mut answered = 0;
        let verdict = loop {
            let Some(subscriber) = this.subscriber.as_mut() else {
                break Verdict::Ended(this.open.reason().unwrap_or(EndReason::Finished));
            };
            if subscriber.is_outdated(this.access) {
                let (renewed, baseline) = Subscriber::new(this.access);
                this.gate.renewed(Instant::now(), baseline);
                this.notified.set(Some(renewed.notified()));
                *this.pending = None;
                *subscriber = renewed;
                continue;
            }
            if subscriber.take_new_alerts() {
                if subscriber.is_revoked(this.access) {
                    break Verdict::Ended(EndReason::Revoked);
                }
                this.gate.note_denial(subscriber.denied());
            }

            let (now, revision) = (Instant::now(), subscriber.revision());
            let next = this.gate.next(now, revision);
            match next {
                Next::Rest => break Verdict::Open,
                Next::Ask if answered == MOST_ANSWERS => {
                    *this.is_deferred = true;
                    break Verdict::Open;
                }
                Next::Ask => {
                    let request = this.gate.check_request(now, revision);
                    let (start, pending) = subscriber.begin(request);
                    this.gate.check_started(request, start, subscriber.begun());
                    *this.pending = Some(pending);
                }
                Next::Expired => {
                    // Timers are monotonic and an expiry is a date: the wall clock has the last word.
                    subscriber.refresh_expiry(this.access);
                    if !this.gate.expires_in(now, subscriber.time_left()) {
                        break Verdict::Ended(EndReason::Expired);
                    }
                }
                Next::AwaitAnswer | Next::GiveUp => {
                    let Some(pending) = this.pending.as_mut() else { break Verdict::Ended(EndReason::Unavailable) };
                    let applied = match subscriber.poll(pending, cx) {
                        Poll::Pending if next == Next::AwaitAnswer => break Verdict::Open,
                        Poll::Pending if this.gate.unanswered(now, Duration::ZERO) => Ok(()),
                        Poll::Pending => Err(EndReason::TimedOut),
                        Poll::Ready(None) => {
                            let (start, again) = subscriber.begin(this.gate.restart_request(now, revision));
                            this.gate.check_restarted(start);
                            *pending = again;
                            continue;
                        }
                        Poll::Ready(Some(answer)) => {
                            let effect = subscriber.apply(this.access, this.gate.last_check(), answer);
                            if let Effect::Denied(denied) = &effect {
                                *this.retry_after = denied.retry_after();
                            }
                            apply(this.gate, subscriber, &effect)
                        }
                    };
                    *this.pending = None;
                    answered += 1;
                    if let Err(reason) = applied {
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

    /// Whether [`poll_verdict`](Self::poll_verdict) would find nothing to do, as far as that can be said
    /// without reading the clock, which would cost a frame more than all the rest: the revision is what
    /// it was, there are no alerts, and the timer runs.
    fn is_idle(&self) -> bool {
        let timer_runs = match (&self.timer, self.gate.deadline()) {
            (Some(timer), Some(deadline)) => timer.deadline() == deadline && !timer.is_elapsed(),
            (_, deadline) => deadline.is_none(),
        };
        let is_at_rest = |subscriber: &Subscriber| {
            !subscriber.has_new_alerts()
                && !subscriber.is_outdated(&self.access)
                && self.gate.is_at_rest(subscriber.revision())
        };
        timer_runs && self.subscriber.as_ref().is_some_and(is_at_rest)
    }

    /// Arms the timer and the notification. Ready if one of them has fired already, so that it is time to
    /// call [`poll_verdict`](Self::poll_verdict) again.
    pub(super) fn poll_wake(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(subscriber) = this.subscriber else { return Poll::Ready(()) };
        if std::mem::take(this.is_deferred) {
            // Whatever its verifier does, a poll comes to its end, and the next one goes on.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.gate.has_moved(subscriber.revision()) {
            // Without a wakeup, since `poll_verdict`: a frame that waits must not wait for a heartbeat.
            return Poll::Ready(());
        }
        if this.notified.as_mut().as_pin_mut().is_some_and(|notified| notified.poll(cx).is_ready()) {
            this.notified.set(Some(subscriber.notified()));
            return Poll::Ready(());
        }
        let Some(deadline) = this.gate.deadline() else { return Poll::Pending };
        set_timer(this.timer.as_mut(), deadline);
        this.timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
    }

    /// A frame became ready: whether it may pass.
    pub(super) fn admit_frame(self: Pin<&mut Self>) -> bool {
        // A timer stands still while the machine sleeps, so the wall clock is compared.
        let has_expired = |subscriber: &Subscriber| subscriber.time_left().is_some_and(|left| left.is_zero());
        if self.gate.goes_by_revision() && self.is_idle() && !self.subscriber.as_ref().is_some_and(has_expired) {
            return true;
        }
        let this = self.project();
        let Some(subscriber) = this.subscriber else { return false };
        let now = Instant::now();
        this.gate.expires_in(now, subscriber.time_left());
        this.gate.admit_frame(now, subscriber.revision(), subscriber.begun(), subscriber.has_new_alerts())
    }

    /// Whether the frame that waits may pass now.
    pub(super) fn admit_waiting_frame(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let subscriber = this.subscriber.as_ref();
        subscriber.is_some_and(|subscriber| this.gate.admit_waiting_frame(Instant::now(), subscriber.revision()))
    }

    pub(super) fn comment_is_due(&self) -> bool {
        self.gate.comment_is_due()
    }

    pub(super) fn comment_written(self: Pin<&mut Self>) {
        self.project().gate.comment_written();
    }

    /// When to come back, if whoever denied access said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The stream ended: nothing is waited for any more.
    pub(super) fn ended(self: Pin<&mut Self>, reason: EndReason) {
        let mut this = self.project();
        *this.pending = None;
        *this.subscriber = None;
        this.timer.set(None);
        this.notified.set(None);
        this.open.ended(reason);
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

fn apply(gate: &mut Gate, subscriber: &Subscriber, effect: &Effect) -> Result<(), EndReason> {
    let now = Instant::now();
    match effect {
        Effect::Confirmed { .. } => {
            gate.confirmed(now, subscriber.revision(), subscriber.time_left());
            Ok(())
        }
        // The next turn subscribes to the credential that replaced it.
        Effect::Outdated => Ok(()),
        Effect::Denied(Denied::Unavailable { retry_after }) if gate.unanswered(now, *retry_after) => Ok(()),
        Effect::Denied(denied) => Err(denied.into()),
        Effect::Panicked => Err(EndReason::CheckPanicked),
    }
}
