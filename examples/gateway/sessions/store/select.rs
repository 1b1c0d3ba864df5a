//! [`Sessions`]: which row a key means, and the [`Session`] it stands for.
//!
//! A row is looked for under these names: the canonical key, the key as requested, then every
//! stored key that differs from the first or the second in case and outer space only. (`global` and
//! `unknown` are looked for under the first two alone.) Of the rows found the freshest wins, of
//! equally fresh ones the first. A row without a session id wins as any other, and is no session.
//!
//! Where the agent has a database, that is asked first, for the canonical key only: OpenClaw has one spelling of
//! each key there. Of what it does not know the `sessions.json` beside it is asked: it lies there until all of it
//! has been brought into the database, and is then put away (`openclaw doctor --fix`).

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    AgentId, RequestedKey, StoreSettings,
    candidates::candidates,
    databases::Databases,
    files::StoreFiles,
    key::{CanonicalKey, main_key},
    proof::Proof,
    rows::{Row, Rows},
};
use crate::{
    files::{Stamp, Stamps},
    sessions::{
        sqlite::{Database, Lookup, Node, Window, is_blank},
        transcript::Place,
    },
};

/// The sessions of all agents.
#[derive(Default)]
pub struct Sessions {
    stores: StoreFiles,
    databases: Databases,
}

impl Sessions {
    /// The session that goes by this key. Reads the disk.
    pub fn find(&self, key: &RequestedKey, settings: &StoreSettings) -> io::Result<Option<Session>> {
        Ok(self.find_or_prove(key, settings)?.ok())
    }

    /// The session that goes by this key, or what proves that there is none. Reads the disk.
    pub fn find_or_prove(&self, key: &RequestedKey, settings: &StoreSettings) -> io::Result<Result<Session, Proof>> {
        let mut proof = Proof::default();
        let Some(Found { key, store, row }) = self.row(key, settings, &mut proof)? else { return Ok(Err(proof)) };
        let stores = proof.stamps.paths().map(Path::to_owned).collect();
        let agent = key.agent.clone();
        let (id, candidates) = match row {
            Stored::Node(database, Node { session, .. }) => {
                (session.clone(), vec![Place::Database(Window { database, agent: key.agent, session })])
            }
            Stored::Row(row) => {
                let (Some(session), Some(directory)) = (row.session, store.parent()) else { return Ok(Err(proof)) };
                let paths = candidates(directory, &session, row.file.as_deref(), settings, &mut proof.stamps)?;
                (session.as_str().to_owned(), paths.into_iter().map(Place::File).collect())
            }
        };
        let mut transcript = None;
        for place in &candidates {
            let is_there = match place {
                Place::File(path) => proof.stamps.take(path)? != Stamp::Missing,
                Place::Database(_) => true,
            };
            if is_there {
                transcript = Some(place.clone());
                break;
            }
        }
        Ok(Ok(Session { key: key.key, agent, id, transcript, candidates, stores, proof }))
    }

    /// The canonical key of the session that goes by this key, and whether a store has a row for it, if only an
    /// empty one. Reads the disk.
    pub fn canonical(&self, key: &RequestedKey, settings: &StoreSettings) -> io::Result<(String, bool)> {
        Ok(match self.row(key, settings, &mut Proof::default())? {
            Some(found) => (found.key.key, true),
            None => (key.canonical(settings).key, false),
        })
    }

    pub(super) fn row(
        &self,
        key: &RequestedKey,
        settings: &StoreSettings,
        proof: &mut Proof,
    ) -> io::Result<Option<Found>> {
        if let Some(found) = self.row_of_removed_main(key, settings, proof)? {
            return Ok(Some(found));
        }
        let canonical = key.canonical(settings);
        let mut stores = vec![settings.store_of(&canonical.agent)];
        if settings.stores_are_discovered() {
            stores.extend(settings.discovered_stores(&canonical.agent, &mut proof.stamps)?);
        }
        let names = [canonical.key.as_str(), key.as_str()];
        let found = self.freshest(stores, &canonical.agent, &names, canonical.is_shared(), proof)?;
        Ok(found.map(|(store, row)| Found { key: canonical, store, row }))
    }

    /// `main` may be configured no more and still have a store. What is in it can be read, and a
    /// key that is not in it finds its main session, unless that is gone too.
    fn row_of_removed_main(
        &self,
        key: &RequestedKey,
        settings: &StoreSettings,
        proof: &mut Proof,
    ) -> io::Result<Option<Found>> {
        let Some(agent) = key.agent().filter(|agent| agent.is_main() && settings.main_is_removed()) else {
            return Ok(None);
        };
        let canonical = key.canonical_of_removed_main(settings);
        let main = main_key(&agent);
        let names = [canonical.key.as_str(), key.as_str(), &main];
        let stores = settings.discovered_stores(&agent, &mut proof.stamps)?;
        let found = self.freshest(stores, &agent, &names, false, proof)?;
        Ok(found.map(|(store, row)| Found { key: canonical, store, row }))
    }

    /// The freshest row of an agent under these names. Of stores with equally fresh rows the last one wins.
    fn freshest(
        &self,
        stores: Vec<PathBuf>,
        agent: &AgentId,
        names: &[&str],
        exactly: bool,
        proof: &mut Proof,
    ) -> io::Result<Option<(PathBuf, Stored)>> {
        let mut best: Option<(PathBuf, Stored)> = None;
        for store in stores {
            let node = self.node(&store, agent, names, proof);
            let row = match node {
                Ok(Some(node)) => node,
                Err(error) if !is_blank(&error) => return Err(error),
                node => {
                    let rows = self.stores.rows(&store, &mut proof.stamps)?;
                    match (freshest(&rows, names, exactly), node) {
                        (Some(row), _) => Stored::Row(row),
                        (None, Ok(_)) => continue,
                        // A database that is being made beside no files: nobody can say what it will have.
                        (None, Err(error)) => return Err(error),
                    }
                }
            };
            if best.as_ref().is_none_or(|(_, best)| row.updated_at() >= best.updated_at()) {
                best = Some((store, row));
            }
        }
        Ok(best)
    }

    /// The rows of a `sessions.json`, whose stamp is taken.
    pub(super) fn rows(&self, store: &Path, stamps: &mut Stamps) -> io::Result<Arc<Rows>> {
        self.stores.rows(store, stamps)
    }

    /// The database beside this store, if there is one; else the stamps of where it may be are taken.
    pub(super) fn database(
        &self,
        store: &Path,
        agent: &AgentId,
        stamps: &mut Stamps,
    ) -> io::Result<Option<Arc<Database>>> {
        for place in StoreSettings::databases_beside(store, agent) {
            if Stamp::of(&place)? != Stamp::Missing {
                return Ok(Some(self.databases.at(&place)));
            }
            // That it is missing is proof as well, and something to be watched.
            stamps.take(&place)?;
        }
        Ok(None)
    }

    /// What the database beside this store has under these names, the first of which is the canonical key and the
    /// second that as requested.
    fn node(&self, store: &Path, agent: &AgentId, names: &[&str], proof: &mut Proof) -> io::Result<Option<Stored>> {
        let Some(database) = self.database(store, agent, &mut proof.stamps)? else { return Ok(None) };
        for name in names.iter().take(1).chain(names.iter().skip(2)) {
            let (lookup, node) = Lookup::find(&database, name).inspect_err(|_| {
                proof.lookups.push(Lookup::open(&database, name));
            })?;
            proof.lookups.push(lookup);
            if let Some(node) = node {
                return Ok(Some(Stored::Node(database, node)));
            }
        }
        Ok(None)
    }
}

/// A session that was found.
#[derive(Clone, Debug)]
pub struct Session {
    /// The canonical key.
    pub key: String,
    /// Whose it is, and what it is called itself: another one may get its key.
    #[cfg_attr(not(feature = "websocket"), allow(dead_code))]
    pub agent: AgentId,
    #[cfg_attr(not(feature = "websocket"), allow(dead_code))]
    pub id: String,
    /// Where the transcript may be, the best place first.
    pub candidates: Vec<Place>,
    /// The files and folders in which its row was looked for.
    pub stores: Vec<PathBuf>,
    /// The first candidate that exists.
    pub transcript: Option<Place>,
    /// While this holds the key finds the same session, and its transcript has the same content.
    pub proof: Proof,
}

pub(super) struct Found {
    pub(super) key: CanonicalKey,
    store: PathBuf,
    pub(super) row: Stored,
}

/// A row of either kind of store.
pub(super) enum Stored {
    Row(Row),
    Node(Arc<Database>, Node),
}

impl Stored {
    pub(super) fn updated_at(&self) -> f64 {
        match self {
            Self::Row(row) => row.updated_at,
            Self::Node(_, node) => node.updated_at,
        }
    }
}

fn freshest(rows: &Rows, names: &[&str], exactly: bool) -> Option<Row> {
    let alike: Vec<Vec<Row>> = names.iter().map(|name| rows.alike(name)).collect();
    // All that a name finds is alike, the row of exactly that name included.
    let exact = names.iter().zip(&alike).filter_map(|(name, alike)| alike.iter().find(|row| row.key == *name));
    let all = alike.iter().flatten().filter(|_| !exactly);
    exact.chain(all).reduce(|best, row| if row.updated_at > best.updated_at { row } else { best }).cloned()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{super::super::super::demo::database::Database as Writer, *};
    use crate::sessions::store::Agent;

    struct State {
        _temp: tempfile::TempDir,
        settings: StoreSettings,
        sessions: Sessions,
    }

    impl State {
        fn new(stores: &[(&str, &str)]) -> Self {
            let temp = tempfile::tempdir().unwrap();
            for (path, rows) in stores {
                let path = temp.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, rows).unwrap();
            }
            let settings = StoreSettings {
                state: temp.path().to_owned(),
                home: Some(temp.path().join("home")),
                store: None,
                global_scope: false,
                agents: Vec::new(),
            };
            Self { _temp: temp, settings, sessions: Sessions::default() }
        }

        /// The canonical key and the session's id.
        fn find(&self, key: &str) -> Option<(String, String)> {
            let key = RequestedKey::parse(key).unwrap();
            let found = self.sessions.find(&key, &self.settings).unwrap()?;
            let id = found.candidates[0].path().file_stem()?.to_str()?.to_owned();
            Some((found.key, id))
        }

        #[track_caller]
        fn assert_finds(&self, cases: &[(&str, Option<(&str, &str)>)]) {
            for (key, expected) in cases {
                let expected = expected.map(|(key, id)| (key.to_owned(), id.to_owned()));
                assert_eq!(self.find(key), expected, "{key}");
            }
        }
    }

    const MAIN: &str = "agents/main/sessions/sessions.json";

    #[test]
    fn the_freshest_spelling_wins_and_the_first_of_equals() {
        let state = State::new(&[(
            MAIN,
            r#"{"agent:main:dup":{"sessionId":"old","updatedAt":10},
                "agent:main:DUP":{"sessionId":"new","updatedAt":20},
                "agent:main:TIE":{"sessionId":"new","updatedAt":10},
                "agent:main:tie":{"sessionId":"old","updatedAt":10},
                "agent:main:none":{"updatedAt":2},
                "agent:main:NONE":{"sessionId":"old","updatedAt":1},
                "bare":{"sessionId":"bare"}}"#,
        )]);
        state.assert_finds(&[
            ("dup", Some(("agent:main:dup", "new"))),
            ("agent:main:TIE", Some(("agent:main:tie", "old"))),
            ("none", None),
            ("Bare", Some(("agent:main:bare", "bare"))),
            ("agent:main:bare", None),
            ("missing", None),
        ]);
        let none = RequestedKey::parse("none").unwrap();
        assert_eq!(state.sessions.canonical(&none, &state.settings).unwrap(), ("agent:main:none".to_owned(), true));
    }

    #[test]
    fn that_there_is_no_session_a_database_says_only_while_it_is_there() {
        let state = State::new(&[(MAIN, "{}"), ("agents/main/agent/none", "")]);
        let path = state.settings.state.join("agents/main/agent/openclaw-agent.sqlite");
        let away = path.with_extension("away");
        let asked = || {
            let found = state.sessions.find_or_prove(&RequestedKey::parse("k").unwrap(), &state.settings).unwrap();
            found.unwrap_err().lookups.iter().map(|lookup| lookup.row().path().to_owned()).collect::<Vec<_>>()
        };
        assert!(asked().is_empty());
        drop(Writer::create(&path, "main", 1).unwrap());
        assert_eq!(asked(), std::slice::from_ref(&path));
        fs::rename(&path, &away).unwrap();
        assert!(asked().is_empty());
        fs::rename(&away, &path).unwrap();
        assert_eq!(asked(), [path]);
    }

    #[test]
    fn the_shared_keys_are_looked_for_as_spelled() {
        let state = State::new(&[(
            MAIN,
            r#"{"global":{"sessionId":"a"},"GLOBAL":{"sessionId":"b","updatedAt":9},
                "UNKNOWN":{"sessionId":"c"}}"#,
        )]);
        state.assert_finds(&[
            ("global", Some(("global", "a"))),
            ("GLOBAL", Some(("global", "b"))),
            ("Global", Some(("global", "a"))),
            ("unknown", None),
        ]);
    }

    #[test]
    fn a_template_finds_the_usual_store_too() {
        let mut state = State::new(&[
            (
                "alt/zed/s.json",
                r#"{"agent:zed:k":{"sessionId":"alt","updatedAt":5},
                                   "agent:zed:tie":{"sessionId":"alt","updatedAt":5},
                                   "agent:zed:new":{"sessionId":"alt","updatedAt":6}}"#,
            ),
            (
                "agents/zed/sessions/sessions.json",
                r#"{"agent:zed:k":{"sessionId":"usual","updatedAt":9},
                 "agent:zed:tie":{"sessionId":"usual","updatedAt":5},
                 "agent:zed:new":{"sessionId":"usual","updatedAt":5},
                 "agent:zed:only":{"sessionId":"usual"}}"#,
            ),
        ]);
        let template = state.settings.state.join("alt/{agentId}/s.json");
        state.settings.store = template.to_str().map(Into::into);
        state.assert_finds(&[
            ("agent:zed:k", Some(("agent:zed:k", "usual"))),
            ("agent:zed:tie", Some(("agent:zed:tie", "usual"))),
            ("agent:zed:new", Some(("agent:zed:new", "alt"))),
            ("agent:zed:only", Some(("agent:zed:only", "usual"))),
        ]);
    }

    #[test]
    fn a_removed_main_is_read_while_its_store_is_there() {
        let mut state = State::new(&[
            (
                MAIN,
                r#"{"agent:main:main":{"sessionId":"oldmain","updatedAt":5},
                       "agent:main:foo":{"sessionId":"oldfoo","updatedAt":5},
                       "agent:main:older":{"sessionId":"older","updatedAt":1}}"#,
            ),
            ("agents/ops/sessions/sessions.json", r#"{"agent:ops:main":{"sessionId":"opsmain"}}"#),
        ]);
        state.settings.agents = vec![Agent { id: AgentId::normalize("ops"), default: true }];
        state.assert_finds(&[
            ("main", Some(("agent:ops:main", "opsmain"))),
            ("agent:main:main", Some(("agent:main:main", "oldmain"))),
            ("agent:main:foo", Some(("agent:main:foo", "oldfoo"))),
            ("agent:main:none", Some(("agent:main:none", "oldmain"))),
            ("agent:main:older", Some(("agent:main:older", "oldmain"))),
        ]);
        fs::remove_file(state.settings.state.join(MAIN)).unwrap();
        state.assert_finds(&[("agent:main:main", Some(("agent:ops:main", "opsmain"))), ("agent:main:foo", None)]);
    }

    #[test]
    fn the_first_candidate_that_exists_is_the_transcript() {
        let state = State::new(&[
            (
                MAIN,
                r#"{"a":{"sessionId":"sid","sessionFile":"gone.jsonl"},
                       "b":{"sessionId":"ghost"},"c":{"sessionId":"legacy"}}"#,
            ),
            ("agents/main/sessions/sid.jsonl", ""),
            ("home/.openclaw/sessions/legacy.jsonl", ""),
        ]);
        let transcript = |key| {
            let key = RequestedKey::parse(key).unwrap();
            let session = state.sessions.find(&key, &state.settings).unwrap().unwrap();
            session.transcript.map(|place| place.path().file_name().unwrap().to_owned())
        };
        assert_eq!(transcript("a").unwrap(), "sid.jsonl");
        assert_eq!(transcript("b"), None);
        assert_eq!(transcript("c").unwrap(), "legacy.jsonl");
    }
}
