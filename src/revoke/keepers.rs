//! Those who keep what they know of tokens, and are told when that does not hold any more.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::SystemTime,
};

use crate::{unwind::contained, verify::TokenDigest};

/// Who keeps something that is known of tokens: a verifier. It calls nothing that a user wrote under a lock.
pub(crate) trait Keeper: Send + Sync {
    /// A token is revoked until then (`None` for ever), here or on another node.
    fn revoked(&self, token: TokenDigest, until: Option<SystemTime>);

    /// What was answered about this token, or about any, is no answer any more.
    fn void(&self, token: Option<TokenDigest>);
}

#[derive(Default)]
pub(super) struct Keepers(Mutex<Vec<Weak<dyn Keeper>>>);

impl Keepers {
    pub(super) fn add(&self, keeper: &Arc<impl Keeper + 'static>) {
        let keeper = Arc::downgrade(keeper);
        let mut keepers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        keepers.retain(|keeper| keeper.strong_count() > 0);
        keepers.push(keeper);
    }

    pub(super) fn tell(&self, tell: impl Fn(&dyn Keeper)) {
        let keepers = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for keeper in keepers.iter().filter_map(Weak::upgrade) {
            tell(&*keeper);
            // What is in it may be left to us alone by now, and is a user's own.
            contained(|| drop(keeper));
        }
    }
}
