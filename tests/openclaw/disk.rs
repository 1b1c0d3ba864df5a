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

use tempfile::TempDir;

use super::base64;
use crate::json::{Object, Text, Value};

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
    pub fn write(&self, files: &Object<'_>) {
        for (path, content) in files.iter() {
            let path = self.path(&path.to_utf8());
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            let special = content.as_object();
            if special.is_some_and(|special| special.contains("dir")) {
                fs::create_dir_all(path).expect("a folder");
            } else if let Some(target) = special.and_then(|special| special.text("symlink")) {
                symlink(self.substituted(&target.to_utf8()), path).expect("a link");
            } else {
                let being_written = path.with_extension("being-written");
                fs::write(&being_written, self.bytes(content)).expect("a file");
                fs::rename(being_written, path).expect("a file in its place");
            }
        }
    }

    /// Appends to these files, in one write each.
    pub fn append(&self, files: &Object<'_>) {
        for (path, content) in files.iter() {
            let mut file = OpenOptions::new().append(true).create(true).open(self.path(&path.to_utf8()));
            let bytes = content.as_text().expect("what is appended is text").as_wtf8();
            file.as_mut().expect("a file").write_all(bytes).expect("an append");
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

    fn bytes(&self, content: &Value<'_>) -> Vec<u8> {
        match content {
            Value::String(text) => self.text(text),
            Value::Object(made) => {
                let list = |key| made.array(key).map(<[_]>::to_vec);
                if let Some(text) = made.text("b64") {
                    base64::decoded(&text.to_utf8())
                } else if let Some([content, Value::Number(times)]) = list("rep").as_deref() {
                    self.bytes(content).repeat(*times as usize)
                } else if let Some([Value::String(text), Value::Number(first), Value::Number(last)]) =
                    list("seq").as_deref()
                {
                    let text = String::from_utf8(self.text(text)).expect("a numbered text is UTF-8");
                    let numbers = *first as usize..=*last as usize;
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

    fn text(&self, text: &Text<'_>) -> Vec<u8> {
        match text.as_str() {
            Some(text) => self.substituted(text).into_bytes(),
            // A lone surrogate goes to the disk as three bytes that are no UTF-8.
            None => text.as_wtf8().to_vec(),
        }
    }
}
