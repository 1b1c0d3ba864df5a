//! A fresh credential for an open stream, and why it is not taken.

use std::{
    error::Error,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::{Access, CredentialInUse, credential::Renewed, terms::Terms};
use crate::{
    Denied, Identity,
    scope::{Few, Grant},
    unwind::contained,
};

impl Access {
    /// Goes by the credential of `fresh` from now on, in place of the one that opened the stream, so
    /// that a stream outlives a token that is renewed. `fresh` is the access of a later request of the
    /// same caller, which came through the door.
    ///
    /// The stream ends at the fresh credential's expiry, and when that is revoked; what becomes of the old
    /// one no longer matters. It is the fresh request's door that is asked from then on, with the clock, the
    /// leeway and the revocations that this one has. Scopes are resolved for it as they were for the stream's
    /// own request, from what the fresh request declared where its route reads the same header, and must be
    /// enough for what the stream's own route required. Behind two doors, the outer credential is renewed
    /// with that of the fresh request's outer door, if it came through one.
    ///
    /// # Errors
    ///
    /// See [`RenewError`]; all then stays as it was.
    pub fn renew(&self, fresh: &Self) -> Result<(), RenewError> {
        loop {
            let outer = match (self.outer(), fresh.outer()) {
                (_, None) => None,
                (None, Some(_)) => return Err(RenewError::OtherDoors),
                (Some(outer), Some(fresh)) => Some((outer, outer.prepare(fresh)?)),
            };
            let renewal = self.prepare(fresh)?;
            let outer_is_done = outer.map_or(Ok(true), |(outer, renewal)| outer.commit(renewal))?;
            // Another renewal came in between: this one is compared with what that left.
            if outer_is_done && self.commit(renewal)? {
                return Ok(());
            }
        }
    }

    /// All that can refuse a renewal, and all that calls a user's code.
    fn prepare(&self, fresh: &Self) -> Result<Renewal, RenewError> {
        let (fresh_credential, identity, fresh_grants) = {
            let terms = fresh.terms();
            (fresh.credential(&terms), terms.identity.clone(), terms.grants.clone())
        };
        fresh.judge().map_err(RenewError::Denied)?;
        let renewed = match &fresh_credential.renewed {
            Some(renewed) => Arc::clone(renewed),
            None => Arc::new(Renewed {
                confirmed: fresh_credential.confirmed(),
                epoch: fresh_credential.epoch(),
                source: fresh_credential.source().detached(),
            }),
        };

        let (replaced, known, grants, requirement) = {
            let terms = self.terms();
            if terms.ended.is_some() || terms.closed.is_some() {
                return Err(RenewError::Ended);
            }
            (self.credential(&terms), terms.identity.clone(), terms.grants.clone(), terms.requirement.clone())
        };
        if !identity.is_same_caller(&known) {
            return Err(RenewError::OtherSubject);
        }
        if age(&identity) < age(&known) {
            return Err(RenewError::Older);
        }
        let grants = grants.map(|grant| {
            let again = fresh_grants.as_slice().iter().find(|fresh| fresh.reads_the_header_of(grant));
            again.map_or_else(|| grant.clone(), |again| grant.with_declared_of(again)).renewed(&identity)
        });
        Terms::check(&identity, &grants, &requirement).map_err(RenewError::Denied)?;
        Ok(Renewal { replaced, identity, grants, renewed })
    }

    /// `false` if the credential was replaced since the renewal was prepared.
    fn commit(&self, renewal: Renewal) -> Result<bool, RenewError> {
        let Renewal { replaced, identity, grants, renewed } = renewal;
        let mut terms = self.terms();
        if terms.ended.is_some() || terms.closed.is_some() {
            return Err(RenewError::Ended);
        }
        if !replaced.is_current(self) {
            return Ok(false);
        }
        Terms::check(&identity, &grants, &terms.requirement).map_err(RenewError::Denied)?;
        let old = (
            std::mem::replace(&mut terms.identity, identity),
            std::mem::replace(&mut terms.grants, grants),
            terms.renewed.replace(renewed),
        );
        self.0.renewals.fetch_add(1, Ordering::Release);
        let shared_check = std::mem::take(&mut terms.shared_check).upgrade();
        drop(terms);
        if let Some(shared_check) = shared_check {
            shared_check.wake();
        }
        // The renewal behind two doors is not done yet.
        contained(|| drop(old));
        Ok(true)
    }
}

/// A renewal that nothing speaks against.
struct Renewal {
    /// The credential that it was compared with.
    replaced: CredentialInUse,
    identity: Identity,
    grants: Few<Grant>,
    renewed: Arc<Renewed>,
}

/// Orders two credentials by age: one that never expires is newer than all others, and of two that
/// expire together the date of issue decides, where one that has none is the older.
fn age(identity: &Identity) -> impl PartialOrd + use<> {
    (identity.expires_at().is_none(), identity.expires_at(), identity.issued_at())
}

/// Why [`Access::renew`] left an access as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenewError {
    /// The fresh credential belongs to another subject, or to that of another issuer.
    OtherSubject,
    /// The fresh request came through a door outside of its own, and the stream's request did not.
    OtherDoors,
    /// Access has ended, and its streams with it.
    Ended,
    /// The fresh credential is older than the one that is in use: it expires earlier or, where both
    /// expire at the same time, was issued earlier. One that never expires is the newest, and one without a
    /// date of issue the oldest of those that expire together.
    Older,
    /// The fresh credential is no longer good, or its scopes are not enough for what was required.
    Denied(Denied),
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSubject => f.write_str("the fresh credential belongs to another subject"),
            Self::OtherDoors => f.write_str("the fresh credential holds behind another door only"),
            Self::Ended => f.write_str("access has ended already"),
            Self::Older => f.write_str("the fresh credential is older than the one in use"),
            Self::Denied(denied) => write!(f, "the fresh credential does not do: {denied}"),
        }
    }
}

impl Error for RenewError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::OtherSubject | Self::OtherDoors | Self::Ended | Self::Older => None,
        }
    }
}
