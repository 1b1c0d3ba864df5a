//! Reading a file of settings.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, SystemTime};

use crate::files::disk::File;

/// How often a file that no folder has is opened again, and how long after.
const LOOKS: usize = 4;
const PAUSE: Duration = Duration::from_millis(1);

/// The text of a regular file, without a byte order mark, and what else there is to say of it. Blocks.
pub fn read(path: &Path) -> io::Result<(String, Facts)> {
    let (mut file, found) = open(path)?;
    let mut text = file.read_to_string()?;
    if let Some(rest) = text.strip_prefix('\u{feff}') {
        text = rest.to_owned();
    }
    Ok((text, Facts::of(&found)))
}

/// The file that is at the path. No folder has it any more in the moment when another one takes its place, and for good where
/// it is mounted from.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let mut looks = 0;
    loop {
        let file = File::open(path)?;
        let found = file.metadata()?;
        if found.nlink() > 0 || looks == LOOKS {
            return Ok((file, found));
        }
        looks += 1;
        thread::sleep(PAUSE);
    }
}

/// What a file was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    device: u64,
    inode: u64,
    size: u64,
    links: u64,
    mode: u32,
    modified: Option<SystemTime>,
}

impl Facts {
    fn of(found: &Metadata) -> Self {
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            links: found.nlink(),
            mode: found.mode(),
            modified: found.modified().ok(),
        }
    }

    /// Whether it is the file that was there `before`, written over in place: then it may not be whole yet.
    pub fn is_rewritten_since(&self, before: &Self) -> bool {
        (self.device, self.inode) == (before.device, before.inode) && self.modified != before.modified
    }

    pub fn is_shorter_than(&self, before: &Self) -> bool {
        self.size < before.size
    }

    /// Whether nobody has written to it for this long. A time to come, by another clock, says nothing.
    pub fn rests_for(&self, time: Duration) -> bool {
        self.modified.and_then(|modified| modified.elapsed().ok()).is_none_or(|age| age >= time)
    }

    /// Whether no folder has it any more: another file is in its place, where nobody here can see it.
    pub fn is_removed(&self) -> bool {
        self.links == 0
    }

    /// Whether every user of the machine can read it.
    pub fn is_public(&self) -> bool {
        self.mode & 0o004 != 0
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;
    use std::process::Command;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn a_pipe_is_refused_and_never_waited_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let pipe = folder.path().join("token");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(read(&pipe).unwrap_err().kind()));
        assert_eq!(result.recv_timeout(Duration::from_secs(10)), Ok(ErrorKind::Unsupported));
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::IsADirectory);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_text() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, "\u{feff}abc").unwrap();
        assert_eq!(read(&file).unwrap().0, "abc");
    }

    #[test]
    fn bytes_that_are_not_utf_8_are_an_error() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("token");
        fs::write(&file, b"\xff").unwrap();
        assert_eq!(read(&file).unwrap_err().kind(), ErrorKind::InvalidData);
    }

    #[test]
    fn a_file_that_is_replaced_while_it_is_opened_was_not_removed() {
        let folder = tempfile::TempDir::new().unwrap();
        let (path, new) = (folder.path().join("token"), folder.path().join("new"));
        fs::write(&path, "abc").unwrap();
        let (done, is_done) = mpsc::channel::<()>();
        let replacing = thread::spawn({
            let path = path.clone();
            move || {
                while is_done.try_recv() == Err(mpsc::TryRecvError::Empty) {
                    fs::write(&new, "abc").unwrap();
                    fs::rename(&new, &path).unwrap();
                    thread::sleep(PAUSE / 2);
                }
            }
        });
        let removed = (0..20_000).filter(|_| read(&path).unwrap().1.is_removed()).count();
        drop(done);
        replacing.join().unwrap();
        assert_eq!(removed, 0);
    }

    #[test]
    fn a_file_that_was_removed_has_no_links() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "abc").unwrap();
        assert!(!read(&path).unwrap().1.is_removed());
        let open = File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(Facts::of(&open.metadata().unwrap()).is_removed());
    }
}
