//! [`Proof`]: that a session is still found where it was, and its transcript has the same content.

use std::sync::Arc;

use crate::{files::Stamps, sessions::sqlite::Lookup};

/// All that had a say in finding a session: files and folders, and rows of databases.
#[derive(Clone, Debug, Default)]
pub struct Proof {
    pub stamps: Stamps,
    /// What databases were asked, and answered.
    pub lookups: Vec<Arc<Lookup>>,
}

impl Proof {
    /// Whether it can be told later at all.
    pub fn is_conclusive(&self) -> bool {
        self.stamps.is_conclusive()
    }

    /// Whether everything is as it was.
    pub fn is_unchanged(&self) -> bool {
        self.stamps.is_unchanged() && self.lookups.iter().all(|lookup| lookup.is_unchanged())
    }
}
