//! [`Stamp`]: what a glance at a file tells, and [`Stamps`]: such glances, kept as proof.
//!
//! What was made from files is still right as long as no file has changed. The rules of the proof:
//!
//! 1. A stamp is taken *before* the file is read. A change after that gives another stamp, however
//!    the file was changed: its time of change (`ctime`) cannot be set by anybody.
//! 2. That holds for a *settled* stamp only. The clock of a file system ticks every few
//!    milliseconds, and of two changes within one tick the second leaves no trace. So a stamp that
//!    was taken within a tick of the change it shows proves nothing, then or later.
//! 3. A path that leads nowhere is proof as well: that of what is not there. One that cannot be looked at
//!    proves nothing.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::disk;

/// The clock of a file system, with room to spare: the kernel's own ticks at least 100 times a second.
const TICK: Duration = Duration::from_millis(50);
/// The same where times are whole seconds, or every other second.
const COARSE_TICK: Duration = Duration::from_millis(2050);

/// What is compared to see whether a file has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stamp {
    Missing,
    Found { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
}

impl Stamp {
    /// The stamp of what the path leads to, links followed.
    pub fn of(path: &Path) -> io::Result<Self> {
        match disk::stat(path) {
            Ok(file) => Ok(Self::from(&file)),
            Err(error) if disk::is_missing(&error) => Ok(Self::Missing),
            Err(error) => Err(error),
        }
    }

    /// How long the file is, in bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Missing => 0,
            Self::Found { size, .. } => *size,
        }
    }

    /// Whether both are of one file, whatever has become of it in between.
    pub fn is_same_file(&self, other: &Self) -> bool {
        let file = |stamp: &Self| match stamp {
            Self::Missing => None,
            Self::Found { device, inode, .. } => Some((*device, *inode)),
        };
        file(self).is_some() && file(self) == file(other)
    }

    /// Whether every later change gives another stamp, if this one was taken at `then` or later.
    pub fn is_settled(&self, then: SystemTime) -> bool {
        let Self::Found { changed: (seconds, nanoseconds), .. } = self else { return true };
        let tick = if *nanoseconds == 0 { COARSE_TICK } else { TICK };
        let changed = u64::try_from(*seconds).ok().zip(u32::try_from(*nanoseconds).ok());
        let changed = changed.map(|(seconds, nanoseconds)| UNIX_EPOCH + Duration::new(seconds, nanoseconds));
        changed.is_some_and(|changed| then.duration_since(changed).is_ok_and(|age| age > tick))
    }
}

impl From<&Metadata> for Stamp {
    fn from(file: &Metadata) -> Self {
        Self::Found {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

/// Stamps of all that something was made from.
#[derive(Clone, Debug)]
pub struct Stamps {
    stamps: Vec<(PathBuf, Stamp)>,
    since: SystemTime,
    /// Whether the stamps are all that counts, and settled.
    is_conclusive: bool,
}

impl Stamps {
    /// Takes the stamp of a path, and keeps it.
    pub fn take(&mut self, path: &Path) -> io::Result<Stamp> {
        let stamp = Stamp::of(path).inspect_err(|_| self.is_conclusive = false)?;
        self.is_conclusive &= stamp.is_settled(self.since);
        match self.stamps.iter().find(|(taken, _)| taken == path) {
            Some((_, before)) => self.is_conclusive &= *before == stamp,
            None => self.stamps.push((path.to_owned(), stamp.clone())),
        }
        Ok(stamp)
    }

    /// The paths that count.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.stamps.iter().map(|(path, _)| path.as_path())
    }

    /// Something counts that no stamp tells.
    pub fn set_inconclusive(&mut self) {
        self.is_conclusive = false;
    }

    /// Whether stamps can tell at all.
    pub fn is_conclusive(&self) -> bool {
        self.is_conclusive
    }

    /// Whether everything is as it was.
    pub fn is_unchanged(&self) -> bool {
        self.is_conclusive && self.stamps.iter().all(|(path, stamp)| Stamp::of(path).is_ok_and(|now| now == *stamp))
    }
}

impl Default for Stamps {
    /// No stamps yet; those to come are taken from now on.
    fn default() -> Self {
        Self { stamps: Vec::new(), since: SystemTime::now(), is_conclusive: true }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, thread};

    use super::*;

    fn stamps(path: &Path) -> Stamps {
        let mut stamps = Stamps::default();
        stamps.take(path).unwrap();
        stamps
    }

    /// A file with a settled stamp.
    fn settled(text: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, text).unwrap();
        wait();
        (directory, path)
    }

    fn wait() {
        thread::sleep(2 * TICK);
    }

    #[test]
    fn every_change_of_a_settled_file_is_seen() {
        let (directory, path) = settled("one");
        let other = directory.path().join("other");
        let changes: [(&str, &dyn Fn()); 5] = [
            ("written over", &|| fs::write(&path, "two").unwrap()),
            ("its time put back", &|| {
                let file = fs::OpenOptions::new().append(true).open(&path).unwrap();
                let modified = file.metadata().unwrap().modified().unwrap();
                fs::write(&path, "six").unwrap();
                file.set_modified(modified).unwrap();
            }),
            ("made unreadable", &|| fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap()),
            ("replaced", &|| {
                fs::write(&other, "ten").unwrap();
                fs::rename(&other, &path).unwrap();
            }),
            ("removed", &|| fs::remove_file(&path).unwrap()),
        ];
        for (what, change) in changes {
            wait();
            let stamps = stamps(&path);
            assert!(stamps.is_unchanged(), "before it is {what}");
            change();
            assert!(!stamps.is_unchanged(), "{what}");
        }
        let gone = stamps(&path);
        assert!(gone.is_unchanged());
        fs::write(&path, "back").unwrap();
        assert!(!gone.is_unchanged());
    }

    #[test]
    fn what_was_written_a_moment_ago_is_no_proof_then_or_later() {
        let (_directory, path) = settled("one");
        fs::write(&path, "two").unwrap();
        let fresh = stamps(&path);
        wait();
        assert!(!fresh.is_conclusive());
        assert!(!fresh.is_unchanged());
        assert!(stamps(&path).is_conclusive());
    }

    #[test]
    fn a_time_in_whole_seconds_takes_longer_to_settle_and_one_to_come_never_does() {
        let at = |seconds, nanoseconds| Stamp::Found {
            device: 1,
            inode: 1,
            size: 1,
            modified: (0, 0),
            changed: (seconds, nanoseconds),
        };
        let then = UNIX_EPOCH + Duration::from_secs(100);
        for (seconds, nanoseconds, settled) in
            [(99, 1, true), (99, 960_000_000, false), (99, 0, false), (97, 0, true), (200, 5, false), (-1, 5, false)]
        {
            assert_eq!(at(seconds, nanoseconds).is_settled(then), settled, "{seconds} s {nanoseconds} ns");
        }
    }

    #[test]
    fn one_path_that_changed_between_two_looks_is_no_proof() {
        let (_directory, path) = settled("one");
        let mut stamps = stamps(&path);
        fs::remove_file(&path).unwrap();
        stamps.take(&path).unwrap();
        assert!(!stamps.is_conclusive());
    }
}
