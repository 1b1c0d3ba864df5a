//! One stream's subscription to the credential that it goes by.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use tokio::sync::futures::OwnedNotified;

use super::{EndReason, gate::Baseline};
use crate::{
    Access, Identity,
    access::{CredentialInUse, Effect},
    observe::{self, Occasion},
    revoke::{Answer, Beats, CheckRequest, CheckStart, Confirmed, Holder, PendingCheck, SharedCheck, Subscription},
    unwind::contained,
};

pub(super) struct Subscriber {
    // Declared before the credential, to be dropped first: without a key the check is named by the
    // address of the access that the credential holds.
    shared_check: Subscription<SharedCheck>,
    credential: CredentialInUse,
    /// Whose stream this is: what a revocation finds it by.
    holder: Arc<Holder>,
    /// When the credential is no longer good, if ever.
    ends_at: Option<SystemTime>,
    /// The alerts that were acted on.
    seen_alerts: u64,
}

impl Subscriber {
    /// Subscribes to the credential of `access`. The baseline is what was confirmed at the door; what
    /// has happened since shows at the first poll.
    pub(super) fn new(access: &Access) -> (Self, Baseline) {
        let (credential, shared_check) = access.subscribe();
        let Confirmed { at, revision, .. } = credential.confirmed();
        let revision = shared_check.revision_at(revision);
        let identity = access.identity();
        let ends_at = ends_at(&credential, identity.expires_at());
        let holder = shared_check.hold(identity);
        // One less than there are, so that the first poll looks at what came before.
        let seen_alerts = shared_check.alerts().wrapping_sub(1);
        let subscriber = Self { shared_check, credential, holder, ends_at, seen_alerts };
        let vouches = subscriber.shared_check.vouches();
        let (time_left, begun) = (subscriber.time_left(), subscriber.begun());
        let baseline = Baseline { at, revision, vouches, time_left, begun };
        (subscriber, baseline)
    }

    /// Whether `access` goes by another credential by now.
    pub(super) fn is_outdated(&self, access: &Access) -> bool {
        !self.credential.is_current(access)
    }

    /// Whether there are alerts that were not acted on.
    pub(super) fn has_new_alerts(&self) -> bool {
        self.seen_alerts != self.shared_check.alerts()
    }

    /// The same; they count as acted on from now on.
    pub(super) fn take_new_alerts(&mut self) -> bool {
        let alerts = self.shared_check.alerts();
        std::mem::replace(&mut self.seen_alerts, alerts) != alerts
    }

    pub(super) fn is_revoked(&self, access: &Access) -> bool {
        self.holder.is_revoked() || self.credential.is_revoked(&access.identity())
    }

    /// The number of the newest check of this credential that was answered with a denial.
    pub(super) fn denied(&self) -> u64 {
        self.shared_check.denied()
    }

    /// The number of checks of this credential begun so far.
    pub(super) fn begun(&self) -> u64 {
        self.shared_check.begun()
    }

    /// When the streams of this credential have their heartbeats.
    pub(super) fn beats(&self) -> &Beats {
        self.shared_check.beats()
    }

    pub(super) fn revision(&self) -> Option<u64> {
        self.shared_check.revision()
    }

    /// Completes when the revision moves, at an alert, and at a renewal.
    pub(super) fn notified(&self) -> OwnedNotified {
        self.shared_check.notified()
    }

    pub(super) fn begin(&self, request: CheckRequest) -> (CheckStart, PendingCheck) {
        let mut is_shared = true;
        let begun = self.shared_check.begin(request, || {
            is_shared = false;
            observe::check(Occasion::Stream, request.now, || self.credential.verify())
        });
        if is_shared {
            observe::check_shared(Occasion::Stream);
        }
        begun
    }

    pub(super) fn poll(&self, pending: &mut PendingCheck, cx: &mut Context<'_>) -> Poll<Option<Answer>> {
        self.shared_check.poll(pending, cx)
    }

    /// What the answer to the check with this number means for `access`.
    pub(super) fn apply(&mut self, access: &Access, number: u64, answer: Answer) -> Effect {
        let effect = match answer {
            Answer::Panicked => Effect::Panicked,
            // A resolver can panic too.
            Answer::Said(answer) => {
                if let Ok(identity) = &answer {
                    self.rename(identity);
                }
                contained(|| access.apply(&self.credential, number, answer)).unwrap_or(Effect::Panicked)
            }
        };
        if let Effect::Confirmed { expires_at } = effect {
            self.ends_at = ends_at(&self.credential, expires_at);
        }
        effect
    }

    /// Is found as `identity` from now on: before that is compared with what is revoked, so that no
    /// revocation falls between the two.
    fn rename(&mut self, identity: &Identity) {
        if !self.holder.stands_for(identity) {
            let old = std::mem::replace(&mut self.holder, self.shared_check.hold(identity.clone()));
            contained(|| drop(old));
        }
    }

    /// Whether access to this credential ends for `reason`; `false` if it was replaced in time.
    pub(super) fn ends(&self, access: &Access, reason: EndReason) -> bool {
        access.stream_ends(&self.credential, reason)
    }

    /// Takes over an expiry that another stream of the access learned of.
    pub(super) fn refresh_expiry(&mut self, access: &Access) {
        self.ends_at = ends_at(&self.credential, access.identity().expires_at());
    }

    /// How long the credential is good for, by the wall clock.
    pub(super) fn time_left(&self) -> Option<Duration> {
        self.ends_at.map(|end| end.duration_since(self.credential.policy().clock.now()).unwrap_or_default())
    }

    /// Whether that is no time at all; `None` if the clock, which may be a user's own, panics.
    pub(super) fn is_over(&self) -> Option<bool> {
        match self.ends_at {
            None => Some(false),
            Some(end) => contained(|| self.credential.policy().clock.now() >= end),
        }
    }
}

fn ends_at(credential: &CredentialInUse, expires_at: Option<SystemTime>) -> Option<SystemTime> {
    expires_at.and_then(|expires_at| credential.policy().end(expires_at))
}
