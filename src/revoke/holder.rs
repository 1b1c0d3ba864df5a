//! Whose the open streams of a credential are, as the answers named them.

use std::sync::{Arc, OnceLock, PoisonError, Weak};

use crate::{
    Identity,
    counts::Revoking,
    sync::{AtomicBool, Mutex, MutexGuard, Ordering},
    unwind::contained,
};

/// Who holds a credential, as an answer named them.
pub(crate) struct Holder {
    identity: Identity,
    revoked: AtomicBool,
    /// The revocation that was the first, which lasts until the last of the streams has ended.
    revoking: OnceLock<Revoking>,
}

/// The holders of one credential that have open streams. Mostly one, for streams that were opened with one
/// token; but a token may be given another name, and then each stream is known by the name that its own
/// answer gave.
#[derive(Default)]
pub(super) struct Holders(Mutex<Vec<Weak<Holder>>>);

impl Holders {
    /// The holder whom a stream of `identity` belongs to from now on.
    pub(super) fn hold(&self, identity: Identity) -> Arc<Holder> {
        let mut holders = self.list();
        let (mut found, mut known) = (None, Vec::with_capacity(holders.len()));
        holders.retain(|holder| match holder.upgrade() {
            // One whose streams are at their end is not for a stream that starts.
            Some(holder) => {
                if !holder.is_revoked() && holder.stands_for(&identity) {
                    found = Some(Arc::clone(&holder));
                }
                known.push(holder);
                true
            }
            None => false,
        });
        let holder = found.unwrap_or_else(|| {
            let new = Arc::new(Holder { identity, revoked: AtomicBool::new(false), revoking: OnceLock::new() });
            holders.reserve_exact(1);
            holders.push(Arc::downgrade(&new));
            new
        });
        // What was looked at may be left to us alone by now, and holds a user's claims.
        drop(holders);
        contained(|| drop(known));
        holder
    }

    /// Revokes those that `concerns` picks, and those of whom it cannot tell. Whether there was one.
    pub(super) fn revoke(&self, concerns: impl Fn(&Identity) -> bool, revoking: &Revoking) -> bool {
        let holders: Vec<_> = self.list().iter().filter_map(Weak::upgrade).collect();
        let mut any = false;
        for holder in &holders {
            // It reads the clock, which may be a user's own.
            if contained(|| concerns(&holder.identity)).unwrap_or(true) {
                holder.revoking.get_or_init(|| revoking.concerning());
                holder.revoked.store(true, Ordering::Release);
                any = true;
            }
        }
        // With an identity go its claims.
        contained(|| drop(holders));
        any
    }

    // A panic elsewhere leaves it whole: nothing in here calls foreign code.
    fn list(&self) -> MutexGuard<'_, Vec<Weak<Holder>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holder {
    /// Whether a revocation ended the streams of this holder.
    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    /// Whether it is found by whatever `identity` would be found by.
    pub(crate) fn stands_for(&self, identity: &Identity) -> bool {
        self.identity.issuer() == identity.issuer()
            && self.identity.subject() == identity.subject()
            && self.identity.credential_id() == identity.credential_id()
            && self.identity.session_id() == identity.session_id()
            && self.identity.issued_at() == identity.issued_at()
    }
}
