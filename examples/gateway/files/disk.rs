//! The file system as sessions are read from it: a few calls, of which a test can let any one fail.
//!
//! 1. Only a regular file is opened, and opening never waits: a pipe whose writer is not there would.
//! 2. An error is an error. That there is nothing at a path is not one of reading ([`is_missing`]); what could
//!    not be read (no descriptors, no permission, a disk that fails) says nothing of what is there.

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Stamp;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct File(fs::File);

impl File {
    pub fn open(path: &Path) -> io::Result<Self> {
        regular(&stat(path)?)?;
        fault::next()?;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        // What was looked at may have been replaced since.
        regular(&file.metadata()?)?;
        Ok(Self(file))
    }

    pub fn stamp(&self) -> io::Result<Stamp> {
        fault::next()?;
        Ok(Stamp::from(&self.0.metadata()?))
    }

    /// Fills the buffer from this offset on. A file that ends before that is an error.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        fault::next()?;
        self.0.read_exact_at(buffer, offset)
    }
}

/// What is at the path, links followed.
pub fn stat(path: &Path) -> io::Result<Metadata> {
    fault::next()?;
    fs::metadata(path)
}

/// The path with its links resolved.
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    fault::next()?;
    path.canonicalize()
}

/// What lies in a folder.
pub fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fault::next()?;
    fs::read_dir(folder)?.collect()
}

/// Whether the error says that there is nothing at the path, or that there can be nothing.
pub fn is_missing(error: &io::Error) -> bool {
    let is_no_path = error.kind() == ErrorKind::InvalidInput && error.raw_os_error().is_none();
    is_no_path
        || error.raw_os_error() == Some(libc::ENAMETOOLONG)
        || matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        Ok(())
    } else if metadata.is_dir() {
        Err(ErrorKind::IsADirectory.into())
    } else {
        Err(io::Error::new(ErrorKind::Unsupported, "not a regular file"))
    }
}

#[cfg(not(test))]
mod fault {
    pub fn next() -> std::io::Result<()> {
        Ok(())
    }
}

/// Faults of this thread's calls, for tests.
#[cfg(test)]
pub mod fault {
    use std::{cell::Cell, io};

    thread_local! {
        /// How many calls succeed before the one that fails, and how that fails.
        static PLAN: Cell<Option<(usize, fn() -> io::Error)>> = const { Cell::new(None) };
    }

    /// What calls fail with: short of descriptors, a disk or a server that fails, no permission, a file that ends.
    pub const ERRORS: [fn() -> io::Error; 5] = [
        || io::Error::from_raw_os_error(libc::EMFILE),
        || io::Error::from_raw_os_error(libc::EIO),
        || io::Error::from_raw_os_error(libc::ESTALE),
        || io::Error::from_raw_os_error(libc::EACCES),
        || io::ErrorKind::UnexpectedEof.into(),
    ];

    /// Lets the call after so many others fail, once, while `work` runs: what it returns, and whether one failed.
    pub fn after<T>(calls: usize, error: fn() -> io::Error, work: impl FnOnce() -> T) -> (T, bool) {
        PLAN.set(Some((calls, error)));
        let result = work();
        (result, PLAN.take().is_none())
    }

    pub fn next() -> io::Result<()> {
        match PLAN.get() {
            None => Ok(()),
            Some((0, error)) => {
                PLAN.set(None);
                Err(error())
            }
            Some((calls, error)) => {
                PLAN.set(Some((calls - 1, error)));
                Ok(())
            }
        }
    }
}
