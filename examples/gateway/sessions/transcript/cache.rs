//! [`Transcripts`]: the transcripts that were looked at last.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use lru::LruCache;

use super::Transcript;

/// How many transcripts are remembered. An index takes some 36 bytes for each line.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Transcripts by path, shared by all who look at them.
#[derive(Debug)]
pub struct Transcripts(Mutex<LruCache<PathBuf, Arc<Transcript>>>);

impl Transcripts {
    /// The transcript at this path. Does not read it.
    pub fn at(&self, path: &Path) -> Arc<Transcript> {
        let mut transcripts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let transcript = transcripts.get_or_insert_mut_ref(path, || Arc::new(Transcript::new(path)));
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
    fn all_who_look_at_a_path_share_its_transcript_while_it_is_remembered() {
        let transcripts = Transcripts::default();
        let first = transcripts.at(Path::new("/first"));
        assert!(Arc::ptr_eq(&first, &transcripts.at(Path::new("/first"))));
        for other in 0..REMEMBERED.get() {
            transcripts.at(Path::new(&other.to_string()));
        }
        assert!(!Arc::ptr_eq(&first, &transcripts.at(Path::new("/first"))));
    }
}
