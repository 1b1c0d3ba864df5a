//! Carries out the gate's decisions, with a timer, the revision and the verifier.
//!
//! A user's code may panic wherever it is called from here: that is an end like any other. The end is
//! final before anything of the user's is dropped, and it is reported, by [`Guard::report`], only after
//! whatever is guarded is gone too.

use std::{
    future::Future,
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::{
    sync::futures::OwnedNotified,
    time::{Instant, Sleep},
};

use super::{
    EndReason, StreamId, StreamLabel,
    gate::{Gate, Next},
    listed::Listed,
    rules::Rules,
    subscriber::Subscriber,
};
use crate::{
    Access, Denied,
    access::Effect,
    ended::Ended,
    observe::{self, OpenStream},
    revoke::PendingCheck,
    timer,
    unwind::contained,
};

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
        end: End,
        // In milliseconds, in a quarter of the space.
        retry_after: Option<NonZeroU32>,
        // `poll_verdict` broke off, and has to go on.
        is_deferred: bool,
        // The guard of the access of the door further out.
        outer: Option<Pin<Box<Guard>>>,
        // What the registry knows of the stream, until it ends.
        listed: Option<Arc<Listed>>,
    }

    impl PinnedDrop for Guard {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this;
            let reason = this.end.when_dropped;
            this.as_mut().ended(reason);
            this.report();
        }
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

/// What [`Guard::check`] does next.
enum Step {
    Again,
    /// Nothing, until the task is woken.
    Rest,
    End(EndReason),
}

/// How the stream ended: by the first reason.
struct End {
    reason: Option<EndReason>,
    /// Whether it was reported, or is not to be.
    is_reported: bool,
    open: OpenStream,
    /// Whether the access has recorded the end.
    is_recorded: bool,
    /// What it ends with when it is dropped while it is open.
    when_dropped: EndReason,
}

impl Guard {
    /// For a stream that is counted and listed, and whose end is reported.
    pub(super) fn new(
        access: Access,
        rules: Arc<Rules>,
        chosen: Option<StreamId>,
        label: Option<&StreamLabel>,
    ) -> Self {
        let registry = rules.registry.clone();
        let mut guard = Self::uncounted(access, rules);
        (guard.end.open, guard.end.is_reported) = (OpenStream::new(), false);
        guard.listed = registry.map(|registry| registry.enter(&guard.access, chosen, label));
        guard
    }

    /// For what belongs to a stream that is counted already.
    pub(super) fn uncounted(access: Access, rules: Arc<Rules>) -> Self {
        let outer = access.outer().map(|outer| Box::pin(Self::uncounted(outer.clone(), Arc::clone(&rules))));
        // The request is over when the stream begins: what is kept must not keep its buffers.
        access.detach();
        let (subscriber, baseline) = Subscriber::new(&access);
        let gate = Gate::new(rules, Instant::now(), baseline, subscriber.beats());
        access.stream_starts();
        Self {
            // From here on nothing is missed: what came before shows at the first poll.
            notified: Some(subscriber.notified()),
            access,
            gate,
            subscriber: Some(subscriber),
            pending: None,
            timer: None,
            end: End {
                reason: None,
                is_reported: true,
                open: OpenStream::uncounted(),
                is_recorded: false,
                when_dropped: EndReason::Disconnected,
            },
            retry_after: None,
            is_deferred: false,
            outer,
            listed: None,
        }
    }

    /// Checks access where that is due. After [`Open`](Verdict::Open), the task is woken when it should
    /// poll again only if [`poll_wake`](Self::poll_wake) is called.
    pub(super) fn poll_verdict(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        if let Some(reason) = self.end.reason {
            return Verdict::Ended(reason);
        }
        if self.is_idle() {
            return Verdict::Open;
        }
        let mut verdict = contained(|| self.as_mut().check(cx)).unwrap_or_else(|| self.as_mut().panicked());
        if let (Verdict::Open, Some(outer)) = (verdict, self.as_mut().project().outer) {
            verdict = outer.as_mut().poll_verdict(cx);
        }
        if let Verdict::Ended(reason) = verdict {
            self.ended(reason);
        }
        verdict
    }

    /// A user's code panicked while access was checked: that ends access, as a denial does.
    fn panicked(self: Pin<&mut Self>) -> Verdict {
        let reason = EndReason::CheckPanicked;
        let this = self.project();
        let subscriber = this.subscriber.as_ref();
        this.end.is_recorded |= subscriber.is_some_and(|subscriber| subscriber.ends(this.access, reason));
        Verdict::Ended(reason)
    }

    /// Checks access where that is due, but for the door further out.
    fn check(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Verdict {
        let mut answered = 0;
        loop {
            match self.as_mut().step(&mut answered, cx) {
                Step::Again => {}
                Step::Rest => {
                    let this = self.project();
                    arm(this.timer, this.gate.deadline());
                    return Verdict::Open;
                }
                Step::End(reason) => {
                    let this = self.as_mut().project();
                    // A renewal that came in time has the stream go on.
                    if this.subscriber.as_ref().is_none_or(|subscriber| subscriber.ends(this.access, reason)) {
                        this.end.is_recorded = true;
                        return Verdict::Ended(reason);
                    }
                }
            }
        }
    }

    fn step(self: Pin<&mut Self>, answered: &mut u32, cx: &mut Context<'_>) -> Step {
        let mut this = self.project();
        let Some(subscriber) = this.subscriber.as_mut() else { return Step::End(EndReason::Finished) };
        if subscriber.is_outdated(this.access) {
            let (renewed, baseline) = Subscriber::new(this.access);
            this.gate.renewed(Instant::now(), baseline);
            this.notified.set(Some(renewed.notified()));
            let old = (this.pending.take(), std::mem::replace(subscriber, renewed));
            contained(|| drop(old));
            return Step::Again;
        }
        if subscriber.take_new_alerts() {
            if subscriber.is_revoked(this.access) {
                return Step::End(EndReason::Revoked);
            }
            if let Some(reason) = this.access.closed() {
                return Step::End(reason);
            }
            this.gate.note_denial(subscriber.denied());
        }

        let (now, revision) = (Instant::now(), subscriber.revision());
        let next = this.gate.next(now, revision);
        match next {
            Next::Rest => Step::Rest,
            Next::Ask if *answered == MOST_ANSWERS => {
                *this.is_deferred = true;
                Step::Rest
            }
            Next::Ask => {
                let request = this.gate.check_request(now, revision);
                let (start, pending) = subscriber.begin(request);
                this.gate.check_started(request, start, subscriber.begun(), subscriber.beats());
                *this.pending = Some(pending);
                Step::Again
            }
            Next::Expired => {
                // Timers are monotonic and an expiry is a date: the wall clock has the last word.
                subscriber.refresh_expiry(this.access);
                let has_time = this.gate.expires_in(now, subscriber.time_left());
                if has_time { Step::Again } else { Step::End(EndReason::Expired) }
            }
            Next::AwaitAnswer | Next::GiveUp => {
                let Some(pending) = this.pending.as_mut() else { return Step::End(EndReason::Unavailable) };
                let applied = match subscriber.poll(pending, cx) {
                    Poll::Pending if next == Next::AwaitAnswer => return Step::Rest,
                    Poll::Pending => this.gate.unanswered(now, Duration::ZERO, EndReason::TimedOut),
                    Poll::Ready(None) => {
                        let (start, again) = subscriber.begin(this.gate.restart_request(now, revision));
                        this.gate.check_restarted(start);
                        *pending = again;
                        return Step::Again;
                    }
                    Poll::Ready(Some(answer)) => {
                        let effect = subscriber.apply(this.access, this.gate.last_check(), answer);
                        if let Effect::Denied(denied) = &effect {
                            *this.retry_after = denied.retry_after().and_then(milliseconds);
                        }
                        let registry = this.gate.rules().registry.as_ref();
                        if let (Effect::Confirmed { .. }, Some(listed), Some(registry)) =
                            (&effect, &*this.listed, registry)
                        {
                            listed.note_confirmed(registry.now());
                        }
                        apply(this.gate, subscriber, &effect)
                    }
                };
                let answered_check = this.pending.take();
                contained(|| drop(answered_check));
                *answered += 1;
                applied.map_or_else(Step::End, |()| Step::Again)
            }
        }
    }

    /// Whether [`poll_verdict`](Self::poll_verdict) would find nothing to do, as far as that can be said
    /// without reading the clock, which would cost a frame more than all the rest: the revision is what
    /// it was, there are no alerts, and the timer runs.
    fn is_idle(&self) -> bool {
        let timer_runs = match (&self.timer, self.gate.deadline()) {
            (Some(timer), Some(deadline)) => timer.deadline() == deadline && !timer.is_elapsed(),
            (_, deadline) => deadline.is_none(),
        };
        timer_runs
            && self.subscriber.as_ref().is_some_and(|subscriber| self.is_unmoved(subscriber))
            && self.outer.as_ref().is_none_or(|outer| outer.is_idle())
    }

    /// The same here, but for the timer.
    fn is_unmoved(&self, subscriber: &Subscriber) -> bool {
        !subscriber.has_new_alerts()
            && !subscriber.is_outdated(&self.access)
            && self.gate.is_at_rest(subscriber.revision())
    }

    /// Arms the timer and the notification. Ready if one of them has fired already, so that it is time to
    /// call [`poll_verdict`](Self::poll_verdict) again.
    pub(super) fn poll_wake(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let Some(subscriber) = this.subscriber else { return Poll::Ready(()) };
        if let Some(outer) = this.outer {
            if outer.as_mut().poll_wake(cx).is_ready() {
                return Poll::Ready(());
            }
        }
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
        arm(this.timer.as_mut(), this.gate.deadline());
        this.timer.as_pin_mut().map_or(Poll::Pending, |timer| timer.poll(cx))
    }

    /// A frame became ready: whether it may pass. If not, it waits until
    /// [`admit_waiting_frame`](Self::admit_waiting_frame) says so.
    pub(super) fn admit_frame(mut self: Pin<&mut Self>) -> bool {
        let admitted = self.as_mut().admit();
        let this = self.as_mut().project();
        let Some(outer) = this.outer else { return admitted };
        let admitted_by_outer = outer.as_mut().admit_frame();
        // The clock of the door further out is a user's own: what it did to this one counts.
        if admitted && admitted_by_outer && self.holds(Instant::now()) {
            return true;
        }
        // Until both say so the frame waits at both.
        let this = self.project();
        if admitted {
            this.gate.frame_waits_elsewhere();
        }
        if let Some(outer) = this.outer.as_mut().filter(|_| admitted_by_outer) {
            outer.as_mut().frame_waits_elsewhere();
        }
        false
    }

    fn admit(mut self: Pin<&mut Self>) -> bool {
        // Since `poll_verdict` the inner body was polled, and that is a user's code. First the clock, which may be
        // one's too.
        if let (true, Some(subscriber)) = (self.gate.goes_by_revision(), &self.subscriber) {
            match subscriber.is_over() {
                Some(false) if self.is_unmoved(subscriber) => return true,
                Some(_) => {}
                None => {
                    self.clock_panicked();
                    return false;
                }
            }
        }
        let Some(time_left) = self.as_mut().time_left() else { return false };
        let this = self.project();
        let Some(subscriber) = this.subscriber else { return false };
        let now = Instant::now();
        this.gate.expires_in(now, time_left);
        this.gate.admit_frame(now, subscriber.revision(), subscriber.begun(), subscriber.has_new_alerts())
    }

    fn frame_waits_elsewhere(self: Pin<&mut Self>) {
        let this = self.project();
        this.gate.frame_waits_elsewhere();
        if let Some(outer) = this.outer {
            outer.as_mut().frame_waits_elsewhere();
        }
    }

    /// Whether the frame that waits may pass now; it then no longer waits. Since `poll_verdict` a user's code
    /// may have run: the verifier of the door further out, a sink that was asked for room.
    pub(super) fn admit_waiting_frame(mut self: Pin<&mut Self>) -> bool {
        let now = Instant::now();
        let admitted = self.as_mut().has_time(now) && self.lets_pass(now);
        if admitted {
            self.as_mut().frame_passes();
        }
        admitted
    }

    fn lets_pass(&self, now: Instant) -> bool {
        let here = self.subscriber.as_ref().is_some_and(|subscriber| {
            !subscriber.has_new_alerts()
                && !subscriber.is_outdated(&self.access)
                && self.gate.lets_pass(now, subscriber.revision())
        });
        here && self.outer.as_ref().is_none_or(|outer| outer.lets_pass(now))
    }

    /// Whether a frame that was admitted a moment ago would be so again, but for the clock.
    fn holds(&self, now: Instant) -> bool {
        self.subscriber
            .as_ref()
            .is_some_and(|subscriber| !subscriber.has_new_alerts() && self.gate.is_fresh(now, subscriber.revision()))
    }

    /// Whether the wall clock leaves the stream any time.
    fn has_time(mut self: Pin<&mut Self>, now: Instant) -> bool {
        let Some(time_left) = self.as_mut().time_left() else { return false };
        let this = self.project();
        this.gate.expires_in(now, time_left) && this.outer.as_mut().is_none_or(|outer| outer.as_mut().has_time(now))
    }

    /// How long the credential is good for by the wall clock, which is compared for a timer stands still
    /// while the machine sleeps. `None` if that could not be read, which ends the stream.
    fn time_left(self: Pin<&mut Self>) -> Option<Option<Duration>> {
        let time_left = contained(|| self.subscriber.as_ref().and_then(Subscriber::time_left));
        if time_left.is_none() {
            self.clock_panicked();
        }
        time_left
    }

    fn clock_panicked(mut self: Pin<&mut Self>) {
        self.as_mut().panicked();
        self.ended(EndReason::CheckPanicked);
    }

    fn frame_passes(self: Pin<&mut Self>) {
        let this = self.project();
        this.gate.frame_passes();
        if let Some(outer) = this.outer {
            outer.as_mut().frame_passes();
        }
    }

    /// A frame of so many bytes passed.
    pub(super) fn passed(self: Pin<&mut Self>, bytes: usize) {
        if let Some(listed) = self.project().listed {
            listed.passed(bytes);
        }
    }

    pub(super) fn comment_is_due(&self) -> bool {
        self.gate.comment_is_due()
    }

    pub(super) fn comment_written(self: Pin<&mut Self>) {
        self.project().gate.comment_written();
    }

    /// When to come back, if a denial said so.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        let own = self.retry_after.map(|milliseconds| Duration::from_millis(milliseconds.get().into()));
        own.or_else(|| self.outer.as_ref()?.retry_after())
    }

    /// The stream ended: that is final when this returns, whatever a user's code does when it is dropped.
    pub(super) fn ended(self: Pin<&mut Self>, reason: EndReason) {
        let mut this = self.project();
        if this.end.reason.is_none() {
            this.end.reason = Some(reason);
            if !this.end.is_recorded {
                this.access.stream_closes();
            }
            if let (Some(listed), Some(registry)) = (&*this.listed, &this.gate.rules().registry) {
                registry.leave(listed.id());
            }
        }
        if let Some(outer) = this.outer {
            outer.as_mut().ended(reason);
        }
        let dropped = (this.pending.take(), this.subscriber.take());
        contained(|| drop(dropped));
        contained(|| this.timer.set(None));
        contained(|| this.notified.set(None));
    }

    /// What is guarded has come to its own end in one of two directions: when it is dropped, no client
    /// has gone.
    pub(super) fn finishes_when_dropped(self: Pin<&mut Self>) {
        self.project().end.when_dropped = EndReason::Finished;
    }

    /// Counts and logs the end, once. To be called when nothing is left to be done about it: the recorder
    /// and the subscriber are a user's own. Returns whether none of them panicked.
    pub(super) fn report(self: Pin<&mut Self>) -> bool {
        let this = self.project();
        let Some(reason) = this.end.reason.filter(|_| !this.end.is_reported) else { return true };
        this.end.is_reported = true;
        this.end.open = OpenStream::uncounted();
        let listed = this.listed.take();
        let (stream, label) = listed.as_ref().map(|listed| (listed.id(), listed.label())).unzip();
        let ended = Ended { reason, identity: this.access.identity(), stream, label: label.flatten() };
        contained(|| drop(listed));
        let has_returned = this.gate.rules().on_end.call(&ended);
        observe::stream_ended(&ended) && has_returned
    }
}

/// Sets the timer, and starts it: it elapses whether or not it is polled.
///
/// Without a timer a stream is checked when it is polled, and not before.
fn arm(mut timer: Pin<&mut Option<Sleep>>, deadline: Option<Instant>) {
    let Some(deadline) = deadline else { return };
    match timer.as_mut().as_pin_mut() {
        Some(timer) if timer.deadline() == deadline => {}
        Some(timer) => timer.reset(deadline),
        None => {
            timer.set(timer::timer(deadline));
            if let Some(timer) = timer.as_pin_mut() {
                timer.reset(deadline);
            }
        }
    }
}

/// Rounded up, so that nobody comes back too early; at most 49 days.
fn milliseconds(duration: Duration) -> Option<NonZeroU32> {
    NonZeroU32::new(duration.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u32::MAX))
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
        Effect::Denied(Denied::Unavailable { retry_after }) => {
            gate.unanswered(now, *retry_after, EndReason::Unavailable)
        }
        Effect::Denied(denied) => Err(denied.into()),
        Effect::Panicked => Err(EndReason::CheckPanicked),
    }
}
