//! The file system as sessions are read from it: a few calls, of which a test can let any one fail.
//!
//! 1. Only a regular file is opened, and opening never waits: a pipe whose writer is not there would.
//! 2. An error is an error. That there is nothing at a path is not one of reading ([`is_missing`]); what could
//!    not be read (no descriptors, no permission, a disk that fails) says nothing of what is there.

use std::{
    fs::{self, Metadata, OpenOptions},
    io::{self, ErrorKind, Read},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::Stamp;

/// A regular file that is open for reading.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    #[cfg(test)]
    path: PathBuf,
}

impl File {
    pub fn open(path: &Path) -> io::Result<Self> {
        regular(&stat(path)?)?;
        fault::next(path)?;
        let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        // What was looked at may have been replaced since.
        regular(&file.metadata()?)?;
        Ok(Self {
            file,
            #[cfg(test)]
            path: path.to_owned(),
        })
    }

    /// What is known of the file now.
    pub fn metadata(&self) -> io::Result<Metadata> {
        self.next_fault()?;
        self.file.metadata()
    }

    pub fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::from(&self.metadata()?))
    }

    /// Fills the buffer from this offset on. A file that ends before that is an error.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.next_fault()?;
        self.file.read_exact_at(buffer, offset)
    }

    /// All of it.
    pub fn read_to_string(&mut self) -> io::Result<String> {
        self.next_fault()?;
        let mut text = String::new();
        self.file.read_to_string(&mut text)?;
        Ok(text)
    }

    fn next_fault(&self) -> io::Result<()> {
        #[cfg(test)]
        fault::next(&self.path)?;
        Ok(())
    }
}

/// What is at the path, links followed.
pub fn stat(path: &Path) -> io::Result<Metadata> {
    fault::next(path)?;
    fs::metadata(path)
}

/// What is at the path itself.
pub fn stat_link(path: &Path) -> io::Result<Metadata> {
    fault::next(path)?;
    fs::symlink_metadata(path)
}

/// Where a link leads.
pub fn read_link(path: &Path) -> io::Result<PathBuf> {
    fault::next(path)?;
    fs::read_link(path)
}

/// The path with its links resolved.
pub fn canonicalize(path: &Path) -> io::Result<PathBuf> {
    fault::next(path)?;
    path.canonicalize()
}

/// What lies in a folder.
pub fn entries(folder: &Path) -> io::Result<Vec<fs::DirEntry>> {
    fault::next(folder)?;
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
    pub fn next(_: &std::path::Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// Faults, for tests: of this thread's calls, or of all calls below a folder.
#[cfg(test)]
pub mod fault {
    use std::{
        cell::Cell,
        io,
        path::{Path, PathBuf},
        sync::{Condvar, Mutex, MutexGuard, PoisonError},
    };

    thread_local! {
        /// How many calls succeed before the one that fails, and how that fails.
        static PLAN: Cell<Option<(usize, fn() -> io::Error)>> = const { Cell::new(None) };
    }

    /// What calls fail with: short of descriptors, a disk or a server that fails, no permission, no room, a file
    /// that ends.
    pub const ERRORS: [fn() -> io::Error; 6] = [
        || io::Error::from_raw_os_error(libc::EMFILE),
        || io::Error::from_raw_os_error(libc::EIO),
        || io::Error::from_raw_os_error(libc::ESTALE),
        || io::Error::from_raw_os_error(libc::EACCES),
        || io::Error::from_raw_os_error(libc::ENOSPC),
        || io::ErrorKind::UnexpectedEof.into(),
    ];

    /// Lets the call after so many others fail, once, while `work` runs: what it returns, and whether one failed.
    pub fn after<T>(calls: usize, error: fn() -> io::Error, work: impl FnOnce() -> T) -> (T, bool) {
        PLAN.set(Some((calls, error)));
        let result = work();
        (result, PLAN.take().is_none())
    }

    /// Lets calls on what lies at a path or below it hang, all but the next so many, until this is dropped.
    pub struct Hang(u64);

    /// Lets one call on what lies at a path or below it fail, after so many others.
    pub struct Broken(u64);

    struct Fault {
        number: u64,
        below: PathBuf,
        /// How many calls are let through yet.
        calls: usize,
        /// `None`: they hang.
        error: Option<fn() -> io::Error>,
        /// How many hang, or failed.
        met: usize,
    }

    static FAULTS: Mutex<(u64, Vec<Fault>)> = Mutex::new((0, Vec::new()));
    static ENDED: Condvar = Condvar::new();

    impl Hang {
        pub fn after(calls: usize, below: &Path) -> Self {
            Self(begin(calls, below, None))
        }

        /// How many calls hang.
        pub fn held(&self) -> usize {
            faults().1.iter().find(|fault| fault.number == self.0).map_or(0, |fault| fault.met)
        }
    }

    impl Broken {
        pub fn after(calls: usize, below: &Path, error: fn() -> io::Error) -> Self {
            Self(begin(calls, below, Some(error)))
        }

        /// Whether the call has failed.
        pub fn has_failed(&self) -> bool {
            faults().1.iter().any(|fault| fault.number == self.0 && fault.met > 0)
        }
    }

    impl Drop for Hang {
        fn drop(&mut self) {
            end(self.0);
        }
    }

    impl Drop for Broken {
        fn drop(&mut self) {
            end(self.0);
        }
    }

    fn faults() -> MutexGuard<'static, (u64, Vec<Fault>)> {
        FAULTS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(calls: usize, below: &Path, error: Option<fn() -> io::Error>) -> u64 {
        let (numbers, all) = &mut *faults();
        *numbers += 1;
        all.push(Fault { number: *numbers, below: below.to_owned(), calls, error, met: 0 });
        *numbers
    }

    fn end(number: u64) {
        faults().1.retain(|fault| fault.number != number);
        ENDED.notify_all();
    }

    pub fn next(path: &Path) -> io::Result<()> {
        let mut faults = faults();
        if let Some(fault) = faults.1.iter_mut().find(|fault| path.starts_with(&fault.below)) {
            match (fault.calls.checked_sub(1), fault.error) {
                (Some(left), _) => fault.calls = left,
                (None, Some(error)) if fault.met == 0 => {
                    fault.met = 1;
                    return Err(error());
                }
                (None, Some(_)) => {}
                (None, None) => {
                    let number = fault.number;
                    fault.met += 1;
                    let is_on = |(_, all): &mut (u64, Vec<Fault>)| all.iter().any(|fault| fault.number == number);
                    drop(ENDED.wait_while(faults, is_on));
                    return Ok(());
                }
            }
        }
        drop(faults);
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
