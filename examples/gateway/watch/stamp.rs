//! What a glance at a file tells: enough to notice that it is another one, or was written to.

use std::fs;
use std::path::Path;

/// Compared with `==`. Equal stamps prove nothing about two writes within one tick of the file
/// system's clock, so a stamp only serves where the operating system was silent.
#[derive(Debug, PartialEq, Eq)]
pub struct Stamp(Option<Seen>);

#[cfg(unix)]
type Seen = [i128; 5];

#[cfg(not(unix))]
type Seen = (u64, Option<std::time::SystemTime>);

impl Stamp {
    /// Looks at the file that `path` leads to, links followed. A missing file has a stamp too.
    pub fn of(path: &Path) -> Self {
        Self(fs::metadata(path).ok().map(|found| seen(&found)))
    }
}

#[cfg(unix)]
fn seen(found: &fs::Metadata) -> Seen {
    use std::os::unix::fs::MetadataExt;

    let nanoseconds = |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
    [
        found.dev().into(),
        found.ino().into(),
        found.size().into(),
        nanoseconds(found.mtime(), found.mtime_nsec()),
        nanoseconds(found.ctime(), found.ctime_nsec()),
    ]
}

#[cfg(not(unix))]
fn seen(found: &fs::Metadata) -> Seen {
    (found.len(), found.modified().ok())
}
