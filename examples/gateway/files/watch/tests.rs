use std::fs::{self, OpenOptions};
use std::io::Write;

use tempfile::TempDir;
use tokio::time::timeout;

use super::*;
use crate::files::disk::fault;

/// Long enough for a loaded machine; the event itself takes a millisecond.
const SOON: Duration = Duration::from_secs(10);
/// Long enough for an event that should not have come; shorter than the poll.
const QUIET: Duration = Duration::from_millis(100);

async fn sees_a_change(watched: &mut Watched) {
    timeout(SOON, watched.changed()).await.expect("a change");
    // What else the same write caused.
    while timeout(QUIET, watched.changed()).await.is_ok() {}
}

/// Waits, without taking it, for a change to be signalled.
async fn is_signalled(watched: &Watched) {
    let signalled = async {
        while !watched.changes.has_changed().unwrap() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(SOON, signalled).await.expect("a change");
}

async fn sees_nothing(watched: &mut Watched) {
    assert!(timeout(QUIET, watched.changed()).await.is_err());
}

/// A watcher that never polls, so that what is seen was heard.
fn without_polling() -> Watcher {
    let (heard, events) = mpsc::channel();
    let system = notify::recommended_watcher(heard).unwrap();
    Watcher::start(Some(system), events, Duration::from_secs(3600)).unwrap()
}

/// A watcher that the operating system tells nothing.
fn only_polling() -> Watcher {
    let (_, events) = mpsc::channel();
    Watcher::start(None, events, Duration::from_millis(10)).unwrap()
}

/// A file with this text, and a handle on it.
fn heard_file(text: &str) -> (TempDir, PathBuf, Watched) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, text).unwrap();
    let watched = without_polling().watch(&file);
    (folder, file, watched)
}

/// A folder with a file `token` below another one, and a handle on the file.
fn heard_folder() -> (TempDir, PathBuf, Watched) {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("secrets");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("token"), "old").unwrap();
    let watched = without_polling().watch(folder.join("token"));
    (root, folder, watched)
}

fn append(file: &Path, text: &str) {
    let mut file = OpenOptions::new().append(true).open(file).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn an_append_is_seen_each_time() {
    let (_folder, file, mut watched) = heard_file("one\n");
    sees_nothing(&mut watched).await;
    append(&file, "two\n");
    sees_a_change(&mut watched).await;
    append(&file, "three\n");
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn an_append_between_two_calls_is_not_lost() {
    let (_folder, file, mut watched) = heard_file("");
    append(&file, "one\n");
    is_signalled(&watched).await;
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn what_was_marked_as_seen_does_not_wake() {
    let (_folder, file, mut watched) = heard_file("");
    append(&file, "one\n");
    is_signalled(&watched).await;
    watched.mark_seen();
    sees_nothing(&mut watched).await;
    append(&file, "two\n");
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn reading_the_file_and_writing_its_neighbour_are_no_change() {
    let (folder, file, mut watched) = heard_file("one\n");
    fs::read(&file).unwrap();
    fs::write(folder.path().join("other"), "x").unwrap();
    sees_nothing(&mut watched).await;
}

#[tokio::test]
async fn a_file_renamed_over_it_is_seen_and_followed() {
    let (folder, file, mut watched) = heard_file("old");
    fs::write(folder.path().join("new"), "new").unwrap();
    fs::rename(folder.path().join("new"), &file).unwrap();
    sees_a_change(&mut watched).await;
    append(&file, "er");
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn a_file_deleted_and_written_again_is_seen_both_times() {
    let (_folder, file, mut watched) = heard_file("old");
    fs::remove_file(&file).unwrap();
    sees_a_change(&mut watched).await;
    fs::write(&file, "new").unwrap();
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn a_file_whose_folders_come_later_is_seen() {
    let root = TempDir::new().unwrap();
    let folder = root.path().join("agents/main/sessions");
    let file = folder.join("sessions.json");
    let mut watched = without_polling().watch(&file);
    fs::create_dir_all(&folder).unwrap();
    sees_a_change(&mut watched).await;
    fs::write(&file, "{}").unwrap();
    sees_a_change(&mut watched).await;
    append(&file, " ");
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn a_folder_deleted_and_made_again_is_followed() {
    let (_root, folder, mut watched) = heard_folder();
    let file = folder.join("token");
    fs::remove_dir_all(&folder).unwrap();
    sees_a_change(&mut watched).await;
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "new").unwrap();
    sees_a_change(&mut watched).await;
    append(&file, "er");
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn a_folder_renamed_over_with_another_is_followed() {
    let (root, folder, mut watched) = heard_folder();
    let file = folder.join("token");
    fs::rename(&folder, root.path().join("secrets.old")).unwrap();
    sees_a_change(&mut watched).await;
    fs::create_dir(&folder).unwrap();
    fs::write(&file, "new").unwrap();
    sees_a_change(&mut watched).await;
    append(&root.path().join("secrets.old/token"), "x");
    sees_nothing(&mut watched).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_swapped_link_on_the_way_is_seen_and_followed() {
    use std::os::unix::fs::symlink;

    // As Kubernetes lays out a mounted secret: token -> ..data/token, ..data -> ..1.
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (version, secret) in [("..1", "old"), ("..2", "new")] {
        fs::create_dir(at(version)).unwrap();
        fs::write(at(version).join("token"), secret).unwrap();
    }
    symlink("..1", at("..data")).unwrap();
    symlink("..data/token", at("token")).unwrap();

    let mut watched = without_polling().watch(at("token"));
    symlink("..2", at("..data_tmp")).unwrap();
    sees_nothing(&mut watched).await;
    fs::rename(at("..data_tmp"), at("..data")).unwrap();
    sees_a_change(&mut watched).await;
    assert_eq!(fs::read_to_string(at("token")).unwrap(), "new");

    append(&at("..2/token"), "er");
    sees_a_change(&mut watched).await;
    append(&at("..1/token"), "er");
    sees_nothing(&mut watched).await;
}

#[tokio::test]
async fn two_handles_on_one_file_both_wake_and_the_second_outlives_the_first() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("log");
    fs::write(&file, "").unwrap();
    let watcher = without_polling();
    let mut first = watcher.watch(&file);
    let mut second = watcher.watch(&file);
    append(&file, "one\n");
    sees_a_change(&mut first).await;
    sees_a_change(&mut second).await;
    drop(first);
    append(&file, "two\n");
    sees_a_change(&mut second).await;
}

#[tokio::test]
async fn a_thousand_handles_in_one_folder_share_one_watch_and_leave_nothing() {
    let folder = TempDir::new().unwrap();
    let watcher = without_polling();
    let handles: Vec<_> = (0..1000).map(|n| watcher.watch(folder.path().join(format!("log-{}", n % 10)))).collect();
    assert_eq!(watcher.shared.lock().folders_watched(), 1);
    assert_eq!(watcher.shared.lock().files().len(), 10);
    drop(handles);
    assert_eq!(watcher.shared.lock().folders_watched(), 0);
    assert_eq!(watcher.shared.lock().files().len(), 0);
}

#[tokio::test]
async fn a_silent_file_system_is_polled() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("log");
    let mut watched = only_polling().watch(&file);
    fs::write(&file, "one\n").unwrap();
    sees_a_change(&mut watched).await;
    append(&file, "two\n");
    sees_a_change(&mut watched).await;
    fs::remove_file(&file).unwrap();
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn a_folder_far_above_that_is_replaced_is_found_by_the_poll_and_heard_again() {
    let root = TempDir::new().unwrap();
    let file = root.path().join("a/b/log");
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(&file, "old").unwrap();
    let watcher = without_polling();
    let mut watched = watcher.watch(&file);
    fs::rename(root.path().join("a"), root.path().join("z")).unwrap();
    fs::create_dir_all(root.path().join("a/b")).unwrap();
    fs::write(&file, "newer").unwrap();
    sees_nothing(&mut watched).await;
    assert!(Shared::check_all(&Arc::downgrade(&watcher.shared)));
    sees_a_change(&mut watched).await;
    append(&file, "!");
    sees_a_change(&mut watched).await;
}

#[tokio::test]
async fn odd_paths_are_watched_without_a_panic() {
    let watcher = without_polling();
    // What happens in these folders is not for a test to say.
    let _odd = ["", "/", ".", "relative", "/dev/null/below-a-file"].map(|path| watcher.watch(path));
    let (folder, file) = (TempDir::new().unwrap(), "file");
    let mut watched = watcher.watch(folder.path().join(file));
    fs::write(folder.path().join(file), "new").unwrap();
    sees_a_change(&mut watched).await;
}

#[cfg(unix)]
#[tokio::test]
async fn a_loop_of_links_is_watched_until_it_is_mended() {
    use std::os::unix::fs::symlink;

    let folder = TempDir::new().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    symlink(&b, &a).unwrap();
    symlink(&a, &b).unwrap();
    let mut watched = without_polling().watch(&a);
    fs::remove_file(&b).unwrap();
    fs::write(&b, "mended").unwrap();
    sees_a_change(&mut watched).await;
}

/// A watcher of its own thread, as the file system may hang.
fn watch_in_the_background(watcher: &Watcher, file: &Path) -> mpsc::Receiver<Watched> {
    let (watcher, file, (done, watched)) = (watcher.clone(), file.to_owned(), mpsc::channel());
    thread::spawn(move || done.send(watcher.watch(file)));
    watched
}

#[tokio::test]
async fn a_file_system_that_hangs_holds_up_no_other_file() {
    let root = TempDir::new().unwrap();
    let at = |name: &str| root.path().join(name);
    for folder in ["hung", "well"] {
        fs::create_dir(at(folder)).unwrap();
        for file in 0..5 {
            fs::write(at(folder).join(file.to_string()), "old").unwrap();
        }
    }
    for polled in [false, true] {
        let watcher = if polled { only_polling() } else { without_polling() };
        let mut known = watcher.watch(at("well/0"));
        let mut hung: Vec<_> = (0..3).map(|n| watcher.watch(at("hung").join(n.to_string()))).collect();
        // Any call may be the one that hangs.
        for calls in 0..6 {
            let hang = fault::Hang::after(calls, &at("hung"));
            // What was watched before, and what is watched now.
            for n in 0..3 {
                fs::write(at("hung").join(n.to_string()), calls.to_string()).unwrap();
            }
            let new: Vec<_> =
                (3..5).map(|n| watch_in_the_background(&watcher, &at("hung").join(n.to_string()))).collect();
            append(&at("well/0"), "more");
            sees_a_change(&mut known).await;
            let well = watch_in_the_background(&watcher, &at("well/1"));
            let mut well = well.recv_timeout(SOON).expect("it is watched");
            append(&at("well/1"), "more");
            sees_a_change(&mut well).await;
            assert!(hang.held() > 0, "after {calls} calls");

            drop(hang);
            for (n, watched) in hung.iter_mut().enumerate() {
                timeout(SOON, watched.changed()).await.unwrap_or_else(|_| panic!("{n} after {calls} calls"));
            }
            for (n, watched) in new.into_iter().enumerate() {
                let mut watched = watched.recv_timeout(SOON).expect("it is watched");
                append(&at("hung").join((n + 3).to_string()), "more");
                sees_a_change(&mut watched).await;
            }
            for watched in &mut hung {
                while timeout(QUIET, watched.changed()).await.is_ok() {}
            }
        }
    }
}
