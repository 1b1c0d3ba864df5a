//! The recorded packs, as they lie in `vectors/`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::json::{self, Fields as _, Object, Value, Write as _};

/// One line of a file of packs: a state of the folder, and what was answered for it.
#[derive(Debug)]
pub struct Pack {
    pub name: String,
    pub profile: String,
    /// Path under the state folder, and what is there.
    pub files: Object,
    /// In the order in which they were recorded.
    pub vectors: Vec<Object>,
}

/// How a gateway was set up.
#[derive(Debug)]
pub struct Profile {
    pub name: String,
    /// What openclaw.json says, as JSON.
    pub config: String,
    pub variables: Vec<(String, String)>,
}

impl Pack {
    /// All packs of this profile, in the order in which they were recorded.
    pub fn of(profile: &str) -> Vec<Self> {
        let mut packs = Self::all();
        packs.retain(|pack| pack.profile == profile);
        packs
    }

    pub fn all() -> Vec<Self> {
        let folder = fs::read_dir(data("vectors")).expect("the folder of vectors");
        let mut files: Vec<PathBuf> = folder.map(|entry| entry.expect("an entry").path()).collect();
        files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
        files.sort();
        let packs = files.iter().flat_map(|file| {
            let lines = fs::read_to_string(file).expect("a file of packs");
            lines.lines().map(Self::read).collect::<Vec<_>>()
        });
        packs.collect()
    }

    fn read(line: &str) -> Self {
        let pack = object(line);
        let state = pack.object("state").expect("a pack has a state");
        Self {
            name: text(&pack, "name"),
            profile: text(&pack, "profile"),
            files: state.object("files").expect("a state has files").clone(),
            vectors: objects(&pack, "vectors").cloned().collect(),
        }
    }
}

impl Profile {
    pub fn named(name: &str) -> Self {
        let profile = Self::all().into_iter().find(|profile| profile.name == name);
        profile.unwrap_or_else(|| panic!("no profile {name}"))
    }

    pub fn all() -> Vec<Self> {
        let profiles = fs::read_to_string(data("vectors/profiles.json")).expect("the file of profiles");
        let profiles = object(&profiles);
        let profiles = profiles.iter().map(|(name, profile)| {
            let profile = profile.as_object().expect("a profile is an object");
            let variables = profile.object("env").expect("a profile has variables");
            let variables = variables.iter().map(|(name, value)| {
                let value = value.as_str().expect("a variable is text");
                (name.clone(), value.to_owned())
            });
            Self {
                name: name.clone(),
                config: json(profile.get("config").expect("a profile has a config")),
                variables: variables.collect(),
            }
        });
        profiles.collect()
    }
}

/// A path in the folder of recorded data.
pub fn data(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/openclaw")).join(path)
}

/// The JSON object that a text is.
pub fn object(text: &str) -> Object {
    json::object(text.as_bytes()).unwrap_or_else(|| panic!("no object: {text}"))
}

pub fn text(object: &Object, key: &str) -> String {
    object.text(key).unwrap_or_else(|| panic!("no text {key}")).to_owned()
}

/// The objects in a list.
pub fn objects<'o>(object: &'o Object, key: &str) -> impl Iterator<Item = &'o Object> {
    let list = object.array(key).map_or(&[][..], Vec::as_slice);
    list.iter().map(|item| item.as_object().expect("an object"))
}

/// A value as JSON.
pub fn json(value: &Value) -> String {
    String::from_utf8(value.to_json()).expect("JSON is UTF-8")
}
