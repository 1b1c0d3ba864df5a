//! [`Transcripts`]: the transcripts that were looked at last.

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::{Place, Transcript};

/// How many transcripts are remembered. An index takes some 36 bytes for each line.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Transcripts by place, shared by all who look at them.
#[derive(Debug)]
pub struct Transcripts(Mutex<LruCache<Place, Arc<Transcript>>>);

impl Transcripts {
    /// The transcript at this place. Does not read it.
    pub fn at(&self, place: &Place) -> Arc<Transcript> {
        let mut transcripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transcript = transcripts.get_or_insert_mut_ref(place, || Arc::new(Transcript::new(place.clone())));
        Arc::clone(transcript)
    }
}

impl Default for Transcripts {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(REMEMBERED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_look_at_a_place_share_its_transcript_while_it_is_remembered() {
        let transcripts = Transcripts::default();
        let at = |path: &str| transcripts.at(&Place::File(path.into()));
        let first = at("/first");
        assert!(Arc::ptr_eq(&first, &at("/first")));
        for other in 0..REMEMBERED.get() {
            at(&other.to_string());
        }
        assert!(!Arc::ptr_eq(&first, &at("/first")));
    }
}
