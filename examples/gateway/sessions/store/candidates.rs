//! Where the transcript of a session may be.
//!
//! In this order, D being the directory of the chosen store:
//!
//! 1. the row's `sessionFile`, unless it is *stale*: named after another session;
//! 2. `D/<session id>.jsonl`;
//! 3. a stale `sessionFile` after all;
//! 4. `~/.openclaw/sessions/<session id>.jsonl`, from before there were agents.
//!
//! A `sessionFile` is text out of a file and is kept inside: a relative one in D; an absolute one,
//! symbolic links resolved, in D, in the sessions of another agent of the same state directory, or
//! directly in some `agents/<agent>/sessions`. One that is not inside stands for
//! `D/<session id>.jsonl`. (A symbolic link that lies in D may lead anywhere.)

use std::{
    ffi::OsStr,
    io,
    path::{Component, Path, PathBuf},
};

use super::{AgentId, SessionId, StoreSettings, rows::is_uuid};
use crate::files::{Stamps, disk};

/// The paths at which the transcript may be, the best first.
pub(super) fn candidates(
    directory: &Path,
    session: &SessionId,
    file: Option<&str>,
    settings: &StoreSettings,
    stamps: &mut Stamps,
) -> io::Result<Vec<PathBuf>> {
    let by_id = |directory: &Path| session.file_name().map(|name| directory.join(name));
    let by_file = match file {
        None => None,
        Some(file) => inside(directory, file, settings, stamps)?.or(by_id(directory)),
    };
    let stale = file.is_some_and(|file| is_stale(file, session));
    let (fresh, last_resort) = if stale { (None, by_file) } else { (by_file, None) };
    let mut paths = Vec::with_capacity(4);
    let legacy = settings.legacy_transcripts().and_then(|legacy| by_id(&legacy));
    for path in [fresh, by_id(directory), last_resort, legacy] {
        paths.extend(path.filter(|path| !paths.contains(path)));
    }
    Ok(paths)
}

/// Whether the file is named after a session, and not after this one.
fn is_stale(file: &str, session: &SessionId) -> bool {
    let name = Path::new(file).file_name().and_then(OsStr::to_str);
    name.and_then(|name| session_in_name(name)).is_some_and(|named| named != session.as_str())
}

/// The session in `<id>.jsonl`, `<id>-topic-<x>.jsonl` or `<time>_<id>.jsonl`, if it is a UUID.
fn session_in_name(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".jsonl")?;
    let id = match stem.split_once("-topic-") {
        Some((id, _)) => id,
        None => match stem.rsplit_once('_') {
            Some((time, id)) if is_time(time) => id,
            _ => stem,
        },
    };
    is_uuid(id).then_some(id)
}

/// Whether this is `YYYY-MM-DDT` and more that fits in a file name.
fn is_time(text: &str) -> bool {
    let shape = b"dddd-dd-ddT";
    let bytes = text.as_bytes();
    bytes.len() > shape.len()
        && shape.iter().zip(bytes).all(|(expected, byte)| match expected {
            b'd' => byte.is_ascii_digit(),
            _ => byte == expected,
        })
        && bytes[shape.len()..].iter().all(|byte| byte.is_ascii_alphanumeric() || b"_-+".contains(byte))
}

/// The path that a `sessionFile` stands for, if that is inside.
fn inside(directory: &Path, file: &str, settings: &StoreSettings, stamps: &mut Stamps) -> io::Result<Option<PathBuf>> {
    // As it is written: it leads elsewhere when a link on the way does.
    stamps.take(&directory.join(file))?;
    let directory = resolved(directory)?;
    if !Path::new(file).is_absolute() {
        let path = plain(&directory.join(file));
        let inside = !file.starts_with("..") && path.starts_with(&directory);
        return Ok(inside.then_some(path));
    }
    let path = resolved(Path::new(file))?;
    let is_inside = |directory: &Path| path.starts_with(directory) && path != directory;
    if is_inside(&directory) {
        return Ok(Some(path));
    }
    // Links on the way to other directories have a say.
    stamps.set_inconclusive();
    let Some((agent, rest)) = agent_and_rest(&path) else { return Ok(None) };
    if rest.components().count() == 1 {
        return Ok(Some(path));
    }
    for known in [sibling(&directory, &agent), Some(settings.usual_transcripts(&agent))].into_iter().flatten() {
        if is_inside(&resolved(&known)?) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Of `…/agents/<agent>/sessions/<rest>`, the agent and the rest.
fn agent_and_rest(path: &Path) -> Option<(AgentId, PathBuf)> {
    let parts: Vec<&OsStr> = path.iter().collect();
    let sessions = parts.iter().rposition(|part| *part == "sessions")?;
    let agents = sessions.checked_sub(2)?;
    if parts[agents] != "agents" {
        return None;
    }
    let agent = AgentId::normalize(parts[agents + 1].to_str()?);
    Some((agent, parts[sessions + 1..].iter().collect()))
}

/// The sessions of another agent, beside `…/agents/<agent>/sessions`.
fn sibling(directory: &Path, agent: &AgentId) -> Option<PathBuf> {
    let agents = directory.parent()?.parent()?;
    let shaped = directory.ends_with("sessions") && agents.ends_with("agents");
    shaped.then(|| agents.join(agent.as_str()).join("sessions"))
}

/// The path with symbolic links resolved, or as it is written if it leads nowhere.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match disk::canonicalize(path) {
        Err(error) if disk::is_missing(&error) => Ok(plain(path)),
        resolved => resolved,
    }
}

/// The path without `.` and `..`, as text alone tells it.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => drop(plain.pop()),
            other => plain.push(other),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ONE: &str = "11111111-1111-4111-8111-111111111111";
    const TWO: &str = "22222222-2222-4222-8222-222222222222";

    struct Home {
        temp: tempfile::TempDir,
        settings: StoreSettings,
    }

    impl Home {
        fn new() -> Self {
            let temp = tempfile::tempdir().unwrap();
            let root = temp.path().canonicalize().unwrap();
            for directory in ["state/agents/a/sessions/sub", "state/agents/b/sessions/sub"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            let settings = StoreSettings {
                state: root.join("state"),
                home: Some(root.join("home")),
                store: None,
                global_scope: false,
                agents: Vec::new(),
            };
            Self { temp, settings }
        }

        fn root(&self) -> PathBuf {
            self.temp.path().canonicalize().unwrap()
        }

        fn touch(&self, path: &str) -> String {
            let path = self.root().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "").unwrap();
            path.to_str().unwrap().to_owned()
        }

        /// The candidates of agent a's session, below the temporary directory.
        fn candidates(&self, id: &str, file: Option<&str>) -> Vec<String> {
            let directory = self.settings.state.join("agents/a/sessions");
            let id = session(id);
            candidates(&directory, &id, file, &self.settings, &mut Stamps::default())
                .unwrap()
                .iter()
                .map(|path| path.strip_prefix(self.root()).unwrap())
                .map(|path| path.to_str().unwrap().to_owned())
                .collect()
        }

        /// The first candidate, inside agent a's sessions.
        fn first(&self, file: &str) -> String {
            let mut all = self.candidates("sid", Some(file));
            let first = all.swap_remove(0);
            match first.strip_prefix("state/agents/a/sessions/") {
                Some(inside) => inside.to_owned(),
                None => first,
            }
        }
    }

    fn session(id: &str) -> SessionId {
        let rows = format!("{{\"k\":{{\"sessionId\":\"{id}\",\"sessionFile\":\"f\"}}}}");
        let rows = super::super::rows::Rows::parse(rows.into_bytes()).unwrap();
        rows.alike("k")[0].session.clone().unwrap()
    }

    #[test]
    fn the_file_of_the_row_comes_before_the_id_and_the_old_place_last() {
        let home = Home::new();
        assert_eq!(
            home.candidates("sid", Some("custom.jsonl")),
            [
                "state/agents/a/sessions/custom.jsonl",
                "state/agents/a/sessions/sid.jsonl",
                "home/.openclaw/sessions/sid.jsonl",
            ]
        );
        assert_eq!(
            home.candidates("sid", None),
            ["state/agents/a/sessions/sid.jsonl", "home/.openclaw/sessions/sid.jsonl",]
        );
    }

    #[test]
    fn without_a_home_there_is_no_old_place() {
        let mut home = Home::new();
        home.settings.home = None;
        assert_eq!(home.candidates("sid", None), ["state/agents/a/sessions/sid.jsonl"]);
    }

    #[test]
    fn a_stale_file_comes_after_the_id() {
        let home = Home::new();
        let stale = format!("{TWO}.jsonl");
        assert_eq!(
            home.candidates(ONE, Some(&stale)),
            [
                format!("state/agents/a/sessions/{ONE}.jsonl"),
                format!("state/agents/a/sessions/{stale}"),
                format!("home/.openclaw/sessions/{ONE}.jsonl"),
            ]
        );
    }

    #[test]
    fn a_file_is_stale_if_its_name_has_the_id_of_another_session() {
        let one = session(ONE);
        for (name, stale) in [
            (format!("{ONE}.jsonl"), false),
            (format!("{TWO}.jsonl"), true),
            (format!("sub/{TWO}.jsonl"), true),
            (format!("{ONE}-topic-5.jsonl"), false),
            (format!("{TWO}-topic-5.jsonl"), true),
            (format!("2026-01-02T03-04-05-000Z_{ONE}.jsonl"), false),
            (format!("2026-01-02T03-04-05-000Z_{TWO}.jsonl"), true),
            (format!("other_{TWO}.jsonl"), false),
            (format!("{TWO}.txt"), false),
            ("custom.jsonl".into(), false),
        ] {
            assert_eq!(is_stale(&name, &one), stale, "{name}");
        }
    }

    #[test]
    fn a_relative_file_stays_inside_the_directory() {
        let home = Home::new();
        for (file, path) in [
            ("sub/deep.jsonl", "sub/deep.jsonl"),
            ("sub/../custom.jsonl", "custom.jsonl"),
            ("./notes.txt", "notes.txt"),
            ("../outside.jsonl", "sid.jsonl"),
            ("sub/../../outside.jsonl", "sid.jsonl"),
            ("..custom.jsonl", "sid.jsonl"),
        ] {
            assert_eq!(home.first(file), path, "{file}");
        }
        assert_eq!(home.first("."), "state/agents/a/sessions");
    }

    #[test]
    fn an_absolute_file_is_of_this_state_or_directly_in_some_sessions() {
        let home = Home::new();
        for (file, accepted) in [
            ("state/agents/a/sessions/custom.jsonl", true),
            ("state/agents/b/sessions/other.jsonl", true),
            ("state/agents/b/sessions/sub/other.jsonl", true),
            ("elsewhere/agents/c/sessions/foreign.jsonl", true),
            ("elsewhere/agents/c/sessions/sub/foreign.jsonl", false),
            ("outside.jsonl", false),
            ("sessions/x.jsonl", false),
        ] {
            let path = home.touch(file);
            let first = home.candidates("sid", Some(&path)).swap_remove(0);
            let expected = if accepted { file } else { "state/agents/a/sessions/sid.jsonl" };
            assert_eq!(first, expected);
        }
    }

    #[test]
    fn a_link_inside_is_followed_by_name_but_not_by_its_absolute_path() {
        let home = Home::new();
        let outside = home.touch("outside.jsonl");
        let link = home.root().join("state/agents/a/sessions/link.jsonl");
        std::os::unix::fs::symlink(outside, &link).unwrap();
        assert_eq!(home.first("link.jsonl"), "link.jsonl");
        assert_eq!(home.first(link.to_str().unwrap()), "sid.jsonl");
    }

    #[test]
    fn an_id_that_is_no_file_name_leaves_only_the_file() {
        let home = Home::new();
        let all = home.candidates("a:b", Some("custom.jsonl"));
        assert_eq!(all, ["state/agents/a/sessions/custom.jsonl"]);
        assert!(home.candidates("a:b", Some("../x")).is_empty());
    }
}
