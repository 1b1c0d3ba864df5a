//! A fresh credential for an open stream, and why it is not taken.

use std::{
    error::Error,
    fmt,
    sync::{Arc, atomic::Ordering},
};

use super::{Access, credential::Renewed};
use crate::{Denied, Identity};

impl Access {
    /// Goes by the credential of `fresh` from now on, in place of the one that opened the stream, so
    /// that a stream outlives a token that is renewed. `fresh` is the access of a later request of the
    /// same caller, which came through the door.
    ///
    /// The stream ends at the fresh credential's expiry, and when that is revoked; what becomes of the
    /// old one no longer matters. Scopes are resolved for it as they were for the stream's own request,
    /// and must be enough for what that required.
    ///
    /// # Errors
    ///
    /// See [`RenewError`]; all then stays as it was.
    pub fn renew(&self, fresh: &Self) -> Result<(), RenewError> {
        let (identity, renewed) = {
            let terms = fresh.terms();
            (terms.identity.clone(), terms.renewed.clone())
        };
        let renewed = renewed.unwrap_or_else(|| {
            Arc::new(Renewed { confirmed: fresh.0.confirmed, epoch: fresh.0.epoch, source: fresh.0.source.detached() })
        });
        let policy = renewed.source.policy();
        if policy.epoch() != renewed.epoch {
            return Err(RenewError::Denied(Denied::Rejected));
        }
        let identity = policy.admit(identity).map_err(|error| RenewError::Denied(error.into()))?;

        let mut terms = self.terms();
        if !identity.is_same_caller(&terms.identity) {
            return Err(RenewError::OtherSubject);
        }
        if age(&identity) < age(&terms.identity) {
            return Err(RenewError::Older);
        }
        let granted = terms.resolve(&identity);
        terms.check(&granted, &terms.requirement).map_err(RenewError::Denied)?;
        (terms.identity, terms.granted, terms.renewed) = (identity, granted, Some(renewed));
        self.0.renewals.fetch_add(1, Ordering::Release);
        let shared_check = std::mem::take(&mut terms.shared_check).upgrade();
        drop(terms);
        if let Some(shared_check) = shared_check {
            shared_check.wake();
        }
        Ok(())
    }
}

/// Orders two credentials by age: one that never expires is newer than all others.
fn age(identity: &Identity) -> impl PartialOrd + use<> {
    (identity.expires_at().is_none(), identity.expires_at(), identity.issued_at())
}

/// Why [`Access::renew`] left an access as it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RenewError {
    /// The fresh credential belongs to another subject.
    OtherSubject,
    /// The fresh credential is older than the one that is in use: it expires earlier or, where both
    /// expire at the same time, was issued earlier.
    Older,
    /// The fresh credential is no longer good, or its scopes are not enough for what was required.
    Denied(Denied),
}

impl fmt::Display for RenewError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OtherSubject => f.write_str("the fresh credential belongs to another subject"),
            Self::Older => f.write_str("the fresh credential is older than the one in use"),
            Self::Denied(denied) => write!(f, "the fresh credential does not do: {denied}"),
        }
    }
}

impl Error for RenewError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Denied(denied) => Some(denied),
            Self::OtherSubject | Self::Older => None,
        }
    }
}
