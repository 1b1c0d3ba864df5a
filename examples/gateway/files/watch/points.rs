//! Which names, in which folders, decide what a path leads to.
//!
//! Walks a path as the operating system does and notes each place where a change could make it
//! lead elsewhere: every symbolic link, the file itself, or else the first name that is missing.
//! Plain folders on the way are not noted: watching `/` or `/home` would be noise, and the folder
//! that holds the file reports its own removal.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::files::disk;

/// As many links as Linux follows in one path.
const MAX_LINKS: usize = 40;

/// A name in a folder. The folder's own path holds no link.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    pub folder: PathBuf,
    pub name: OsString,
}

/// The points of an absolute path, as the file system is now.
pub fn of(path: &Path) -> BTreeSet<Point> {
    let mut points = BTreeSet::new();
    let mut at = PathBuf::new();
    let mut links = 0;
    // What is still to walk, the next step last.
    let mut ahead: Vec<OsString> = steps(path);

    while let Some(step) = ahead.pop() {
        let name = match Path::new(&step).components().next() {
            Some(Component::Normal(name)) => name,
            Some(Component::ParentDir) => {
                at.pop();
                continue;
            }
            Some(Component::Prefix(_) | Component::RootDir) => {
                at.push(&step);
                continue;
            }
            Some(Component::CurDir) | None => continue,
        };
        let here = at.join(name);
        let point = Point { folder: at.clone(), name: name.to_owned() };
        match disk::stat_link(&here) {
            Ok(found) if found.is_symlink() => {
                points.insert(point);
                links += 1;
                match disk::read_link(&here) {
                    Ok(target) if links <= MAX_LINKS => ahead.extend(steps(&target)),
                    _ => break,
                }
            }
            Ok(_) if ahead.is_empty() => {
                points.insert(point);
            }
            Ok(_) => at = here,
            Err(_) => {
                points.insert(point);
                break;
            }
        }
    }
    points
}

/// The components of a path, last first.
fn steps(path: &Path) -> Vec<OsString> {
    path.components().rev().map(|component| component.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    fn points(path: &Path) -> Vec<(PathBuf, String)> {
        of(path).into_iter().map(|point| (point.folder, point.name.into_string().unwrap())).collect()
    }

    /// A scratch folder whose own path holds no link.
    fn scratch() -> (TempDir, PathBuf) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().canonicalize().unwrap();
        (folder, path)
    }

    #[test]
    fn a_plain_file_is_one_name_in_its_folder() {
        let (_folder, root) = scratch();
        fs::write(root.join("file"), "").unwrap();
        assert_eq!(points(&root.join("file")), [(root, "file".into())]);
    }

    #[test]
    fn a_missing_folder_is_the_first_missing_name() {
        let (_folder, root) = scratch();
        assert_eq!(points(&root.join("a/b/file")), [(root, "a".into())]);
    }

    #[cfg(unix)]
    #[test]
    fn every_link_on_the_way_is_a_point() {
        let (_folder, root) = scratch();
        fs::create_dir_all(root.join("real/deep")).unwrap();
        fs::write(root.join("real/deep/file"), "").unwrap();
        std::os::unix::fs::symlink("real", root.join("link")).unwrap();
        std::os::unix::fs::symlink("../deep/file", root.join("real/deep/again")).unwrap();
        assert_eq!(
            points(&root.join("link/deep/again")),
            [
                (root.clone(), "link".into()),
                (root.join("real/deep"), "again".into()),
                (root.join("real/deep"), "file".into()),
            ]
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_absolute_link_starts_over_at_the_root() {
        let (_folder, root) = scratch();
        let (_other, elsewhere) = scratch();
        fs::write(elsewhere.join("file"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.join("file"), root.join("link")).unwrap();
        let mut expected = vec![(root.clone(), "link".into()), (elsewhere, "file".into())];
        expected.sort();
        assert_eq!(points(&root.join("link")), expected);
    }
}
