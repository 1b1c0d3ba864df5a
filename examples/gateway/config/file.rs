//! Reading a file of settings.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// The text of a regular file. Blocks.
///
/// A pipe in its place would keep the reader waiting for ever, so it is looked at before it is
/// opened, and again after that: it may have been another one.
pub fn read(path: &Path) -> io::Result<String> {
    regular(&fs::metadata(path)?)?;
    let mut file = File::open(path)?;
    regular(&file.metadata()?)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

fn regular(found: &Metadata) -> io::Result<()> {
    match found.is_file() {
        true => Ok(()),
        false => Err(io::Error::new(ErrorKind::InvalidInput, "it is not a regular file")),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_pipe_is_refused_and_never_waited_for() {
        let folder = tempfile::TempDir::new().unwrap();
        let pipe = folder.path().join("token");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let (done, result) = mpsc::channel();
        thread::spawn(move || done.send(read(&pipe).unwrap_err().kind()));
        assert_eq!(result.recv_timeout(Duration::from_secs(10)), Ok(ErrorKind::InvalidInput));
        assert_eq!(read(folder.path()).unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
