//! What an access has established so far.

use std::sync::{Arc, Weak};

use super::credential::Renewed;
use crate::{
    Denied, Identity,
    ended::EndReason,
    revoke::{Entry, SharedCheck},
    scope::{Few, Grant, Granted, Requirement, ScopeHierarchy},
};

/// Identity, scopes, and by which layers the scopes were granted.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) identity: Identity,
    /// One for each layer that resolved scopes, the outermost first.
    pub(super) grants: Few<Grant>,
    pub(super) requirement: Requirement,
    /// The credential that replaced the first one.
    pub(super) renewed: Option<Arc<Renewed>>,
    /// The check that the open streams of this access share; a renewal wakes its subscribers.
    pub(super) shared_check: Weak<Entry<SharedCheck>>,
    /// The number of the newest check whose answer is in all this.
    pub(super) last_applied: u64,
    /// The number of streams that are open.
    pub(super) streams: u32,
    /// Why the last of the streams ended, where that was for want of access.
    pub(super) ended: Option<EndReason>,
    /// Why all of the streams are to end, where that was decided by hand.
    pub(super) closed: Option<EndReason>,
    /// A layer watches the response, which learns in this way of doors further in.
    pub(super) is_watched: bool,
}

impl Terms {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            identity,
            grants: Few::None,
            requirement: Requirement::default(),
            renewed: None,
            shared_check: Weak::new(),
            last_applied: 0,
            streams: 0,
            ended: None,
            closed: None,
            is_watched: false,
        }
    }

    pub(super) fn granted(&self) -> Granted {
        let mut grants = self.grants.as_slice().iter().map(Grant::granted);
        match grants.next() {
            Some(outermost) => grants.fold(outermost, |outer, inner| inner.and(outer)),
            None => Granted::new(self.identity.scopes().cloned().unwrap_or_default(), ScopeHierarchy::new()),
        }
    }

    /// What is granted once another layer has decided: that of a request that is tried again decides anew.
    pub(super) fn grants_and(&self, grant: Grant) -> Few<Grant> {
        let is_known = self.grants.as_slice().iter().any(|known| known.is_by_the_layer_of(&grant));
        if is_known {
            self.grants.map(|known| if known.is_by_the_layer_of(&grant) { grant.clone() } else { known.clone() })
        } else {
            self.grants.clone().and(grant)
        }
    }

    /// Adds to what is required, if the caller was granted all that is required by then.
    pub(super) fn require(&mut self, requirement: Requirement) -> Result<(), Denied> {
        let both = self.requirement.clone().and(requirement);
        Self::check(&self.identity, &self.grants, &both)?;
        self.requirement = both;
        Ok(())
    }

    /// Whether nothing has happened yet that a verdict of the door does not know of.
    pub(super) fn are_as_at_the_door(&self) -> bool {
        self.renewed.is_none() && self.ended.is_none() && self.closed.is_none()
    }

    /// Whether `identity`, with these grants, has all that is `required`.
    pub(super) fn check(identity: &Identity, grants: &Few<Grant>, required: &Requirement) -> Result<(), Denied> {
        let grants = grants.as_slice();
        let is_met = match grants {
            [] => required.is_met_by(|scope| identity.scopes().is_some_and(|own| own.contains(scope))),
            grants => required.is_met_by(|scope| grants.iter().all(|grant| grant.allows(scope))),
        };
        if is_met { Ok(()) } else { Err(Denied::InsufficientScope { required: required.clone() }) }
    }
}
