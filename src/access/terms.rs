//! What an access has established so far.

use std::sync::{Arc, Weak};

use super::credential::Renewed;
use crate::{
    Denied, Identity, ScopeSet,
    revoke::{Entry, SharedCheck},
    scope::{Requirement, Resolution, ScopeHierarchy},
};

/// Identity, scopes, and by which rules the scopes were found.
pub(super) struct Terms {
    pub(super) identity: Identity,
    pub(super) granted: ScopeSet,
    pub(super) resolution: Option<(Arc<Resolution>, Option<ScopeSet>)>,
    pub(super) requirement: Requirement,
    /// The credential that replaced the first one.
    pub(super) renewed: Option<Arc<Renewed>>,
    /// The check that the open streams of this access share; a renewal wakes its subscribers.
    pub(super) shared_check: Weak<Entry<SharedCheck>>,
    /// The number of the newest check whose answer is in all this.
    pub(super) last_applied: u64,
}

impl Terms {
    pub(super) fn new(identity: Identity) -> Self {
        Self {
            granted: identity.scopes().cloned().unwrap_or_default(),
            identity,
            resolution: None,
            requirement: Requirement::default(),
            renewed: None,
            shared_check: Weak::new(),
            last_applied: 0,
        }
    }

    pub(super) fn hierarchy(&self) -> Option<&ScopeHierarchy> {
        self.resolution.as_ref().map(|(resolution, _)| resolution.hierarchy())
    }

    pub(super) fn resolve(&self, identity: &Identity) -> ScopeSet {
        match &self.resolution {
            None => identity.scopes().cloned().unwrap_or_default(),
            Some((resolution, declared)) => resolution.resolve(identity, declared.as_ref()),
        }
    }

    pub(super) fn check(&self, granted: &ScopeSet, required: &Requirement) -> Result<(), Denied> {
        if self.hierarchy().unwrap_or(&ScopeHierarchy::NONE).satisfies(granted, required) {
            Ok(())
        } else {
            Err(Denied::InsufficientScope { required: required.clone() })
        }
    }
}
