//! What is revoked by hand, in a file: a restart forgets none of it.
//!
//! 1. A revocation holds before it is kept, and its order is answered after it is kept. Where it cannot be kept it
//!    holds all the same, until the process ends, and the answer says so.
//! 2. What is kept is all that is revoked, [replaced as a whole](crate::files::replace).
//! 3. A file that is there and cannot be read stops the start: nothing must be let in again by a broken disk.
//! 4. One process has the folder. Another reads at its start what is there, and can keep nothing.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use serde_json::Value;
use tower_reauth::revoke::Revocations;

use super::{Order, revoked};
use crate::files::{
    disk::is_missing,
    replace::{Folder, make_folder},
};

const NAME: &str = "revocations.json";

/// The revocations, and where they are kept. Clones are handles on the same.
#[derive(Clone)]
pub struct Kept(Arc<Shared>);

struct Shared {
    revocations: Revocations,
    path: Option<PathBuf>,
    /// Ours, from the first order on. Also lets one order be written after the other.
    folder: Mutex<Option<Folder>>,
}

/// Why a revocation holds for as long as the process runs, and no longer.
#[derive(Debug)]
pub enum KeptError {
    NoFolder,
    InUse(PathBuf),
    Failed(PathBuf, io::Error),
}

impl Kept {
    /// Revokes what this folder says, if there is one.
    pub fn open(path: Option<&Path>, revocations: Revocations) -> Result<Self, String> {
        if let Some(path) = path {
            let file = path.join(NAME);
            let broken = |error: &dyn fmt::Display| {
                format!("{}: {error}: what is revoked must be known before anybody is let in", file.display())
            };
            match fs::read(&file) {
                Ok(json) => revocations.restore(revoked::read(&json).map_err(|error| broken(&error))?),
                Err(error) if is_missing(&error) => {}
                Err(error) => return Err(broken(&error)),
            }
        }
        Ok(Self(Arc::new(Shared { revocations, path: path.map(Path::to_owned), folder: Mutex::default() })))
    }

    pub fn revocations(&self) -> &Revocations {
        &self.0.revocations
    }

    /// All that is revoked.
    pub fn list(&self) -> Value {
        revoked::all(&self.0.revocations)
    }

    /// Revokes, and keeps it. Blocks.
    pub fn revoke(&self, order: &Order) -> Result<(), KeptError> {
        order.apply(&self.0.revocations);
        self.keep()
    }

    fn keep(&self) -> Result<(), KeptError> {
        let path = self.0.path.as_deref().ok_or(KeptError::NoFolder)?;
        let failed = |error| KeptError::Failed(path.to_owned(), error);
        let mut folder = self.0.folder.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = match &mut *folder {
            Some(folder) => folder,
            none => {
                make_folder(path).map_err(failed)?;
                let ours = Folder::try_lock(path).map_err(failed)?;
                none.insert(ours.ok_or_else(|| KeptError::InUse(path.to_owned()))?)
            }
        };
        let mut json = revoked::all(&self.0.revocations).to_string();
        json.push('\n');
        folder.replace(NAME, json.as_bytes()).map_err(failed)
    }
}

impl fmt::Display for KeptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoFolder => f.write_str("there is no data folder: --data-dir names one"),
            Self::InUse(path) => write!(f, "another gateway has the data folder {}", path.display()),
            Self::Failed(path, error) => write!(f, "the data folder {}: {error}", path.display()),
        }
    }
}

impl std::error::Error for KeptError {}
