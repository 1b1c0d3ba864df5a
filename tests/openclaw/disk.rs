//! A state folder, and the ways in which a pack says what is in it.
//!
//! | content | stands for |
//! | --- | --- |
//! | text | itself; `{{STATE}}` and `{{HOME}}` stand for the two folders |
//! | `{"b64": text}` | the bytes |
//! | `{"rep": [content, n]}` | the content n times |
//! | `{"seq": [text, first, last]}` | the text for each number in place of `{i}` |
//! | `{"parts": [content, …]}` | one after the other |
//! | `{"symlink": target}`, `{"dir": true}` | a link, a folder |

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use crate::json::{Fields as _, Object, Value};

/// The state folder of one gateway, and the home folder.
pub struct Disk {
    folder: TempDir,
}

impl Disk {
    pub fn new() -> Self {
        let disk = Self { folder: tempfile::tempdir().expect("a folder") };
        fs::create_dir(disk.state()).expect("the state folder");
        fs::create_dir(disk.home()).expect("the home folder");
        disk
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Writes what a pack says is there. Each file is there at once and whole.
    pub fn write(&self, files: &Object) {
        for (path, content) in files.iter() {
            let path = self.path(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let special = content.as_object();
            if special.is_some_and(|special| special.contains_key("dir")) {
                fs::create_dir_all(path).expect("a folder");
            } else if let Some(target) = special.and_then(|special| special.text("symlink")) {
                symlink(self.substituted(target), path).expect("a link");
            } else {
                let being_written = path.with_extension("being-written");
                fs::write(&being_written, self.bytes(content)).expect("a file");
                fs::rename(being_written, path).expect("a file in its place");
            }
        }
    }

    /// Appends to these files, in one write each.
    pub fn append(&self, files: &Object) {
        for (path, content) in files.iter() {
            let mut file = OpenOptions::new().append(true).create(true).open(self.path(path));
            let text = content.as_str().expect("what is appended is text");
            file.as_mut().expect("a file").write_all(text.as_bytes()).expect("an append");
        }
    }

    /// The text with the folders filled in.
    pub fn substituted(&self, text: &str) -> String {
        let name = |path: &Path| path.to_str().expect("a name in UTF-8").to_owned();
        text.replace("{{STATE}}", &name(&self.state())).replace("{{HOME}}", &name(&self.home()))
    }

    fn path(&self, path: &str) -> PathBuf {
        match path.strip_prefix("@home/") {
            Some(path) => self.home().join(path),
            None => self.state().join(path),
        }
    }

    fn bytes(&self, content: &Value) -> Vec<u8> {
        match content {
            Value::String(text) => self.substituted(text).into_bytes(),
            Value::Object(made) => {
                let list = |key| made.array(key).cloned();
                if let Some(text) = made.text("b64") {
                    BASE64_STANDARD.decode(text).expect("Base64")
                } else if let Some([content, Value::Number(times)]) = list("rep").as_deref() {
                    self.bytes(content).repeat(times.as_u64().expect("a count") as usize)
                } else if let Some([Value::String(text), Value::Number(first), Value::Number(last)]) =
                    list("seq").as_deref()
                {
                    let text = self.substituted(text);
                    let numbers = first.as_u64().expect("a number")..=last.as_u64().expect("a number");
                    numbers.flat_map(|number| text.replace("{i}", &number.to_string()).into_bytes()).collect()
                } else if let Some(parts) = list("parts") {
                    parts.iter().flat_map(|part| self.bytes(part)).collect()
                } else {
                    panic!("a content of an unknown kind: {made:?}")
                }
            }
            other => panic!("no content: {other:?}"),
        }
    }
}
