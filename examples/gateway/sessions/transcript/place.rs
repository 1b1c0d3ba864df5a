//! [`Place`]: where a transcript is.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::{files::Stamp, sessions::sqlite::Window};

/// A file of lines, or a window of a session in a database.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    File(PathBuf),
    Database(Window),
}

impl Place {
    /// The file that it is in.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) => path,
            Self::Database(window) => window.path(),
        }
    }

    /// Whether there is something. What a row of a database names is there.
    pub fn exists(&self) -> io::Result<bool> {
        match self {
            Self::File(path) => Ok(Stamp::of(path)? != Stamp::Missing),
            Self::Database(_) => Ok(true),
        }
    }
}
