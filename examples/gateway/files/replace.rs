//! A file that is replaced as a whole: a reader finds the old one or the new one, whenever anything dies.
//!
//! 1. The new content goes into a file of its own beside the old one, and onto the disk.
//! 2. That takes the name of the old one. Up to here the old one is as it was, from here on the new one is whole.
//! 3. The folder goes onto the disk, for it holds the name. Only then is the content kept.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

use super::disk::is_missing;

/// A folder, for as long as this process alone may replace files in it.
pub struct Folder {
    path: PathBuf,
    folder: File,
}

impl Folder {
    /// Waits for others to be done.
    pub fn lock(path: &Path) -> io::Result<Self> {
        let folder = Self::open(path)?;
        folder.folder.lock()?;
        Ok(folder)
    }

    /// `None` if another process has it.
    pub fn try_lock(path: &Path) -> io::Result<Option<Self>> {
        let folder = Self::open(path)?;
        match folder.folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), folder: File::open(path)? })
    }

    /// Puts a file with this content in the place of the one of this name. Its owner and its permissions are those of
    /// the old one; a new one is for its owner only.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let (path, new) = (self.path.join(name), self.path.join(format!(".{name}.new")));
        // What is left of one that was not finished.
        match fs::remove_file(&new) {
            Err(error) if !is_missing(&error) => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        match fs::metadata(&path) {
            Ok(old) => {
                let fresh = file.metadata()?;
                if (old.uid(), old.gid()) != (fresh.uid(), fresh.gid()) {
                    fchown(&file, Some(old.uid()), Some(old.gid()))?;
                }
                file.set_permissions(Permissions::from_mode(old.permissions().mode() & 0o7777))?;
            }
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        self.folder.sync_all()
    }
}

/// Makes a folder for its owner only, and those above it, and has the disk keep them.
pub fn make_folder(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if found.is_dir() => return Ok(()),
        Ok(_) => return Err(io::ErrorKind::NotADirectory.into()),
        Err(error) if is_missing(&error) => {}
        Err(error) => return Err(error),
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    make_folder(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => fs::set_permissions(path, Permissions::from_mode(0o700))?,
    }
    File::open(above)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_keeps_its_permissions() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("a/b");
        make_folder(&path).unwrap();
        make_folder(&path).unwrap();
        let folder = Folder::lock(&path).unwrap();
        // What a process left that died before its file was whole.
        fs::write(path.join(".kept.new"), "hal").unwrap();
        folder.replace("kept", b"one").unwrap();
        let mode = || fs::metadata(path.join("kept")).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(path.join("kept"), Permissions::from_mode(0o640)).unwrap();
        folder.replace("kept", b"two").unwrap();
        assert_eq!((fs::read(path.join("kept")).unwrap(), mode()), (b"two".to_vec(), 0o640));
        assert_eq!(fs::read_dir(&path).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_one_owners_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let first = Folder::try_lock(scratch.path()).unwrap();
        assert!(first.is_some());
        assert!(Folder::try_lock(scratch.path()).unwrap().is_none());
        drop(first);
        assert!(Folder::try_lock(scratch.path()).unwrap().is_some());
    }
}
