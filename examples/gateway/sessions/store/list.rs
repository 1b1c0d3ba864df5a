//! The sessions that there are, the newest first.
//!
//! 1. Each agent's stores are asked for their rows in order, a page's worth at a time: a database by its index, a
//!    `sessions.json` by the order of its rows, which is found once for each time that it is read.
//! 2. A row is listed if its key finds a session ([`Sessions::row`]), under that key and with what is found: so what is
//!    listed is what can be asked for, by the same rules. A row that gives way to an older one (a database's) is listed
//!    in the place of that.
//! 3. A list goes on after the [`Position`] of the last row of the page before. A session that is written in between
//!    moves to the front, and is not listed twice.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
    fmt, io,
    path::Path,
    sync::Arc,
};

use super::{
    AgentId, Names, RequestedKey, StoreSettings,
    key::main_key,
    proof::Proof,
    rows::Rows,
    select::{Found, Sessions, Stored},
    settings::names_agent,
};
use crate::{
    files::{Stamps, disk},
    sessions::sqlite::{Database, is_blank},
};

/// A session in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// It is found by this key.
    pub key: String,
    /// Milliseconds since 1970; 0 if the store does not say.
    pub updated_at: f64,
    pub names: Names,
    pub position: Position,
}

/// A place in the list of all agents: the newest session is the first; of equally new ones the agents, and of one agent
/// the keys, are in the order of their names.
#[derive(Clone, Debug, PartialEq)]
pub struct Position {
    pub agent: AgentId,
    place: Place,
}

/// A row's place among those of its store.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub updated_at: f64,
    pub key: String,
}

impl Position {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(3, ':');
        let (number, agent, key) = (parts.next()?, parts.next()?, parts.next()?);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let is_number = |digits: &str, most| {
            (1..=most).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit())
        };
        let is_agent = (1..=64).contains(&agent.len())
            && agent.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'));
        if !is_number(whole, 308) || !is_number(fraction, 400) || !is_agent || key.is_empty() {
            return None;
        }
        let place = Place { updated_at: number.parse().ok()?, key: key.to_owned() };
        Some(Self { agent: AgentId::normalize(agent), place })
    }

    /// After which row those of this agent come later in the list.
    fn among(&self, agent: &AgentId) -> Place {
        let updated_at = self.place.updated_at;
        match agent.cmp(&self.agent) {
            Ordering::Less => Place { updated_at: updated_at.next_down(), key: String::new() },
            Ordering::Equal => self.place.clone(),
            Ordering::Greater => Place { updated_at, key: String::new() },
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.place.updated_at, self.agent, self.place.key)
    }
}

impl Eq for Position {}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        let newest = other.place.updated_at.total_cmp(&self.place.updated_at);
        newest.then_with(|| (&self.agent, &self.place.key).cmp(&(&other.agent, &other.place.key)))
    }
}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Place {}

impl Ord for Place {
    fn cmp(&self, other: &Self) -> Ordering {
        other.updated_at.total_cmp(&self.updated_at).then_with(|| self.key.cmp(&other.key))
    }
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How many rows a store is asked for at a time, at least.
const ROWS: usize = 64;

/// Where rows are.
enum Source {
    File(Arc<Rows>),
    Database(Arc<Database>),
}

impl Sessions {
    /// The agents that may have sessions: those that are configured, that have a folder, or that a store which they
    /// share names. Reads the disk.
    pub fn agents(&self, settings: &StoreSettings) -> io::Result<Vec<AgentId>> {
        let mut agents = BTreeSet::from([settings.default_agent()]);
        agents.extend(settings.agents.iter().map(|agent| agent.id.clone()));
        agents.extend(settings.agents_with_folders()?);
        if let Some(store) = settings.shared_store() {
            let rows = self.rows(&store, &mut Stamps::default())?;
            agents.extend(rows.newest().iter().filter_map(|place| RequestedKey::parse(&place.key)?.agent()));
        }
        Ok(agents.into_iter().collect())
    }

    /// As many sessions of an agent, and one more if there are more. Reads the disk.
    pub fn list(
        &self,
        agent: &AgentId,
        after: Option<&Position>,
        count: usize,
        settings: &StoreSettings,
    ) -> io::Result<Vec<Listed>> {
        let (mut listed, mut known) = (Vec::new(), HashSet::new());
        let after = after.map(|after| after.among(agent));
        let mut stores = vec![settings.store_of(agent)];
        if settings.stores_are_discovered() {
            stores.extend(settings.discovered_stores(agent, &mut Stamps::default())?);
        }
        stores.dedup();
        for store in stores {
            for source in self.sources(&store, agent)? {
                listed.extend(self.list_source(&source, agent, after.as_ref(), count, settings)?);
            }
        }
        listed.sort_unstable_by(|a: &Listed, b| a.position.cmp(&b.position));
        listed.retain(|session| known.insert(session.key.clone()));
        listed.truncate(count + 1);
        Ok(listed)
    }

    fn sources(&self, store: &Path, agent: &AgentId) -> io::Result<Vec<Source>> {
        let database = self.database(store, agent, &mut Stamps::default())?;
        let blank = match &database {
            None => None,
            Some(database) => database.newest(None, 1).err().filter(is_blank),
        };
        let rows = self.rows(store, &mut Stamps::default())?;
        match blank {
            // A database that is being made beside no files: nobody can say what it will have.
            Some(error) if rows.newest().is_empty() => Err(error),
            Some(_) => Ok(vec![Source::File(rows)]),
            None => Ok(database.map(Source::Database).into_iter().chain([Source::File(rows)]).collect()),
        }
    }

    fn list_source(
        &self,
        source: &Source,
        agent: &AgentId,
        after: Option<&Place>,
        count: usize,
        settings: &StoreSettings,
    ) -> io::Result<Vec<Listed>> {
        let (mut listed, mut known) = (Vec::new(), HashSet::new());
        let mut last = after.cloned();
        loop {
            let batch = source.newest(last.as_ref(), count.max(ROWS))?;
            let Some(end) = batch.last() else { return Ok(listed) };
            last = Some(end.clone());
            for place in batch {
                let Some(session) = self.listed(&place, agent, settings)? else { continue };
                let now = Place { updated_at: session.updated_at, key: place.key };
                // It gives way to an older one, which comes later; or it was written since the page before, and is in
                // front of it now.
                let is_elsewhere = session.updated_at < place.updated_at || after.is_some_and(|after| now <= *after);
                if !is_elsewhere && known.insert(session.key.clone()) {
                    listed.push(session);
                }
                if listed.len() > count {
                    return Ok(listed);
                }
            }
        }
    }

    /// What the key of a row in a store of this agent finds, if that is one of the agent's sessions.
    fn listed(&self, place: &Place, agent: &AgentId, settings: &StoreSettings) -> io::Result<Option<Listed>> {
        // Each agent has its main session under this key, by which that of the default agent is found.
        let is_others_main = settings.global_scope && place.key == "global" && *agent != settings.default_agent();
        let spelled = if is_others_main { main_key(agent) } else { place.key.clone() };
        let Some(key) = RequestedKey::parse(&spelled) else { return Ok(None) };
        let may_be = key.canonical(settings).agent == *agent || key.agent().as_ref() == Some(agent);
        if !may_be {
            return Ok(None);
        }
        let Some(found) = self.row(&key, settings, &mut Proof::default())? else { return Ok(None) };
        if found.key.agent != *agent || !found.row.is_session() {
            return Ok(None);
        }
        let key = if self.is_found_by_its_key(&found, &spelled, settings)? { found.key.key } else { spelled };
        let (updated_at, names) = (found.row.updated_at(), found.row.names());
        let position = Position { agent: agent.clone(), place: place.clone() };
        Ok(Some(Listed { key, updated_at, names, position }))
    }

    /// Whether the canonical key of what was found by another one finds the same.
    fn is_found_by_its_key(&self, found: &Found, by: &str, settings: &StoreSettings) -> io::Result<bool> {
        if found.key.key == by {
            return Ok(true);
        }
        let Some(key) = RequestedKey::parse(&found.key.key) else { return Ok(false) };
        let again = self.row(&key, settings, &mut Proof::default())?;
        Ok(again.is_some_and(|again| again.key == found.key && again.row.is_same(&found.row)))
    }
}

impl Stored {
    fn is_session(&self) -> bool {
        match self {
            Self::Row(row) => row.session.is_some(),
            Self::Node(..) => true,
        }
    }

    /// Whether both are of one session.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Row(one), Self::Row(other)) => one.session == other.session,
            (Self::Node(_, one), Self::Node(_, other)) => one.session == other.session,
            _ => false,
        }
    }

    fn names(&self) -> Names {
        match self {
            Self::Row(row) => row.names.clone(),
            Self::Node(_, node) => node.names(),
        }
    }
}

impl Source {
    /// So many rows after this one.
    fn newest(&self, after: Option<&Place>, count: usize) -> io::Result<Vec<Place>> {
        match self {
            Self::File(rows) => {
                let newest = rows.newest();
                let start = after.map_or(0, |after| newest.partition_point(|place| place <= after));
                Ok(newest[start..].iter().take(count).cloned().collect())
            }
            Self::Database(database) => database.newest(after, count),
        }
    }
}

impl StoreSettings {
    /// The agents that have a folder in the state directory.
    fn agents_with_folders(&self) -> io::Result<Vec<AgentId>> {
        let entries = match disk::entries(&self.agents_root()) {
            Ok(entries) => entries,
            Err(error) if disk::is_missing(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let names = entries.iter().filter_map(|entry| entry.file_name().into_string().ok());
        let agents = names.map(|name| (AgentId::normalize(&name), name));
        Ok(agents.filter(|(agent, name)| names_agent(name, agent)).map(|(agent, _)| agent).collect())
    }
}
