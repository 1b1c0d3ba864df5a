//! What the store needs to know of the configuration.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::AgentId;
use crate::files::{Stamps, disk};

/// The configured agents and where state is kept.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The state directory: agents' stores lie in it.
    pub state: PathBuf,
    /// The home directory: for a leading `~`, and for transcripts from before there were agents.
    pub home: Option<PathBuf>,
    /// `session.store`: where an agent's store is, if not at the usual place. Below a home that is
    /// not known there is no place, so it is at the usual one.
    pub store: Option<String>,
    /// `session.scope` is `global`: the main session of an agent is `global`.
    pub global_scope: bool,
    pub agents: Vec<Agent>,
}

/// An agent that is configured.
#[derive(Clone, Debug)]
pub struct Agent {
    pub id: AgentId,
    pub default: bool,
}

/// In `session.store`, the place of the agent's name.
const AGENT: &str = "{agentId}";

impl StoreSettings {
    /// The agent whose sessions go by bare keys.
    pub fn default_agent(&self) -> AgentId {
        let chosen = self.agents.iter().find(|agent| agent.default);
        chosen.or(self.agents.first()).map_or_else(AgentId::main, |agent| agent.id.clone())
    }

    /// Whether `main` was an agent once and is none any more: others are listed, and it is not.
    pub fn main_is_removed(&self) -> bool {
        !self.agents.is_empty() && !self.agents.iter().any(|agent| agent.id.is_main())
    }

    /// The `sessions.json` of an agent.
    pub fn store_of(&self, agent: &AgentId) -> PathBuf {
        let Some(path) = self.template().and_then(|template| self.expand(&template.replace(AGENT, agent.as_str())))
        else {
            return self.agents_root().join(agent.as_str()).join(USUAL_STORE);
        };
        std::path::absolute(&path).unwrap_or(path)
    }

    /// Where the database may be that takes the place of this `sessions.json` for an agent, the best place first: in
    /// the folder of the agent, or beside a store that is elsewhere. There it has the agent's name where the plain
    /// one is another's.
    pub fn databases_beside(store: &Path, agent: &AgentId) -> Vec<PathBuf> {
        let owner = store.ends_with(USUAL_STORE).then(|| store.parent()?.parent()).flatten();
        if let Some(owner) = owner.filter(|owner| owner.parent().is_some_and(|all| all.ends_with("agents"))) {
            return vec![owner.join("agent").join(DATABASE)];
        }
        if store.extension().is_some_and(|extension| extension == "sqlite") {
            return vec![store.to_owned()];
        }
        let plain = if store.ends_with("sessions.json") {
            store.with_file_name(DATABASE)
        } else {
            store.with_extension("sqlite")
        };
        vec![plain.with_extension(format!("{agent}.sqlite")), plain]
    }

    /// Whether an agent may have stores besides [`store_of`](Self::store_of).
    pub fn stores_are_discovered(&self) -> bool {
        self.template().is_some_and(|template| template.contains(AGENT))
    }

    /// The store that all agents have together, if they have.
    pub fn shared_store(&self) -> Option<PathBuf> {
        let is_shared = self.template().is_some_and(|template| !template.contains(AGENT));
        is_shared.then(|| self.store_of(&self.default_agent()))
    }

    /// The stores of an agent that lie in the state directory, whose stamp is taken.
    pub fn discovered_stores(&self, agent: &AgentId, stamps: &mut Stamps) -> io::Result<Vec<PathBuf>> {
        let root = self.agents_root();
        stamps.take(&root)?;
        let entries = match disk::entries(&root) {
            Ok(entries) => entries,
            Err(error) if disk::is_missing(&error) => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut stores: Vec<PathBuf> = entries
            .into_iter()
            .filter(|entry| {
                let name = entry.file_name();
                name.to_str().is_some_and(|name| names_agent(name, agent))
            })
            .map(|entry| entry.path().join(USUAL_STORE))
            .collect();
        stores.sort();
        Ok(stores)
    }

    fn template(&self) -> Option<&str> {
        self.store.as_deref().map(str::trim).filter(|template| !template.is_empty())
    }

    /// The path, with the home directory for a leading `~`.
    fn expand(&self, path: &str) -> Option<PathBuf> {
        match path.strip_prefix('~') {
            Some("") => self.home.clone(),
            Some(rest) if rest.starts_with('/') => self.home.as_ref().map(|home| home.join(&rest[1..])),
            _ => Some(PathBuf::from(path)),
        }
    }

    pub(super) fn agents_root(&self) -> PathBuf {
        self.state.join("agents")
    }

    /// Where transcripts lay before there were agents.
    pub fn legacy_transcripts(&self) -> Option<PathBuf> {
        self.home.as_ref().map(|home| home.join(".openclaw/sessions"))
    }

    /// Where the transcripts of an agent usually lie.
    pub fn usual_transcripts(&self, agent: &AgentId) -> PathBuf {
        self.agents_root().join(agent.as_str()).join("sessions")
    }
}

const USUAL_STORE: &str = "sessions/sessions.json";
const DATABASE: &str = "openclaw-agent.sqlite";

/// A name that says nothing normalises to `main` but is not the directory of that agent.
pub(super) fn names_agent(directory: &str, agent: &AgentId) -> bool {
    AgentId::normalize(directory) == *agent && (!agent.is_main() || directory.eq_ignore_ascii_case("main"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(store: Option<&str>) -> StoreSettings {
        StoreSettings {
            state: "/state".into(),
            home: Some("/home/x".into()),
            store: store.map(Into::into),
            global_scope: false,
            agents: Vec::new(),
        }
    }

    fn agent(id: &str, default: bool) -> Agent {
        Agent { id: AgentId::normalize(id), default }
    }

    #[test]
    fn the_default_agent_is_the_marked_one_else_the_first_else_main() {
        let mut settings = settings(None);
        assert_eq!(settings.default_agent().as_str(), "main");
        assert!(!settings.main_is_removed());
        settings.agents = vec![agent("dev", false), agent("ops", false)];
        assert_eq!(settings.default_agent().as_str(), "dev");
        assert!(settings.main_is_removed());
        settings.agents.push(agent("Main", true));
        assert_eq!(settings.default_agent().as_str(), "main");
        assert!(!settings.main_is_removed());
    }

    #[test]
    fn without_a_home_nothing_is_looked_for_below_one() {
        let ops = AgentId::normalize("ops");
        for template in ["~", "~/s.json", "~/{agentId}.json"] {
            let settings = StoreSettings { home: None, ..settings(Some(template)) };
            assert_eq!(settings.store_of(&ops), Path::new("/state/agents/ops/sessions/sessions.json"));
            assert_eq!(settings.legacy_transcripts(), None);
        }
    }

    #[test]
    fn a_database_lies_in_the_agents_folder_or_beside_a_store_that_is_elsewhere() {
        let ops = AgentId::normalize("ops");
        for (store, databases) in [
            ("/state/agents/ops/sessions/sessions.json", &["/state/agents/ops/agent/openclaw-agent.sqlite"][..]),
            (
                "/alt/ops/sessions/sessions.json",
                &["/alt/ops/sessions/openclaw-agent.ops.sqlite", "/alt/ops/sessions/openclaw-agent.sqlite"],
            ),
            ("/alt/sessions.json", &["/alt/openclaw-agent.ops.sqlite", "/alt/openclaw-agent.sqlite"]),
            ("/alt/a.b.json", &["/alt/a.b.ops.sqlite", "/alt/a.b.sqlite"]),
            ("/alt/all.sqlite", &["/alt/all.sqlite"]),
        ] {
            let expected: Vec<_> = databases.iter().map(PathBuf::from).collect();
            assert_eq!(StoreSettings::databases_beside(Path::new(store), &ops), expected, "{store}");
        }
    }

    #[test]
    fn a_store_is_where_the_template_says() {
        let ops = AgentId::normalize("ops");
        for (template, path) in [
            (None, "/state/agents/ops/sessions/sessions.json"),
            (Some("  "), "/state/agents/ops/sessions/sessions.json"),
            (Some("/alt/{agentId}/{agentId}.json"), "/alt/ops/ops.json"),
            (Some("~/s.json"), "/home/x/s.json"),
            (Some("/alt/~x"), "/alt/~x"),
        ] {
            assert_eq!(settings(template).store_of(&ops), Path::new(path));
        }
        assert!(settings(Some("/a/{agentId}")).stores_are_discovered());
        assert!(!settings(Some("/a/b")).stores_are_discovered());
        assert!(!settings(None).stores_are_discovered());
    }
}
