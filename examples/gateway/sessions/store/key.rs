//! Keys: what a request asks for, and what that is called in the stores.
//!
//! A canonical key is lower-case, but for the ids of contacts whose case matters: what follows
//! `signal:group:` up to the next colon, and all that follows `matrix:channel:` or `matrix:group:`.
//! It is made by these rules, in order:
//!
//! 1. `global` and `unknown` are keys of their own, in the default agent's store.
//! 2. `agent:<name>:<rest>` belongs to that agent and stays as it was typed, empty parts and all.
//!    With `session.scope` `global`, `agent:<name>:main` is `global` in that agent's store.
//! 3. `main` is the default agent's main session, `agent:<default>:main`, or `global` likewise.
//! 4. Any other key that begins with `agent:` stays; it is in the default agent's store.
//! 5. What is left is a key of the default agent: `agent:<default>:<key>`.

use std::ops::Range;

use super::{AgentId, StoreSettings};
use crate::json::text::trim;

/// A key as it was requested: without space around it, and not empty.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestedKey(String);

impl RequestedKey {
    pub fn parse(key: &str) -> Option<Self> {
        let key = trim(key);
        (!key.is_empty()).then(|| Self(key.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The agent that the key names, if it names one.
    pub(super) fn agent(&self) -> Option<AgentId> {
        AgentKey::parse(&fold(&self.0)).map(|key| key.agent)
    }

    /// The key as the stores have it.
    pub fn canonical(&self, settings: &StoreSettings) -> CanonicalKey {
        let key = fold(&self.0);
        let default = settings.default_agent();
        match AgentKey::parse(&key) {
            _ if is_shared(&self.0.to_lowercase()) => CanonicalKey::shared(&self.0, default),
            Some(AgentKey { agent, rest }) => {
                if agent.is_main() && settings.main_is_removed() && rest == "main" {
                    CanonicalKey::main(default, settings)
                } else if key == main_key(&agent) {
                    CanonicalKey::main(agent, settings)
                } else {
                    CanonicalKey { key, agent }
                }
            }
            None if key == "main" => CanonicalKey::main(default, settings),
            None if key.starts_with("agent:") => CanonicalKey { key, agent: default },
            None => CanonicalKey { key: format!("agent:{default}:{key}"), agent: default },
        }
    }

    /// The key in the store of `main`, although that agent is configured no more.
    pub(super) fn canonical_of_removed_main(&self, settings: &StoreSettings) -> CanonicalKey {
        let (key, agent) = (fold(&self.0), AgentId::main());
        if key == main_key(&agent) { CanonicalKey::main(agent, settings) } else { CanonicalKey { key, agent } }
    }
}

/// A key by the rules of this module, and the agent whose store has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalKey {
    pub key: String,
    pub agent: AgentId,
}

impl CanonicalKey {
    fn main(agent: AgentId, settings: &StoreSettings) -> Self {
        if settings.global_scope { Self::shared("global", agent) } else { Self { key: main_key(&agent), agent } }
    }

    fn shared(word: &str, agent: AgentId) -> Self {
        Self { key: word.to_lowercase(), agent }
    }

    /// Whether this is `global` or `unknown`.
    pub(super) fn is_shared(&self) -> bool {
        is_shared(&self.key)
    }
}

/// The key of an agent's main session.
pub(super) fn main_key(agent: &AgentId) -> String {
    format!("agent:{agent}:main")
}

fn is_shared(key: &str) -> bool {
    matches!(key, "global" | "unknown")
}

/// `agent:<name>:<rest>`, with empty parts left out.
struct AgentKey {
    agent: AgentId,
    rest: String,
}

impl AgentKey {
    fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split(':').filter(|part| !part.is_empty());
        if parts.next()? != "agent" {
            return None;
        }
        let agent = AgentId::normalize(parts.next()?);
        let rest = parts.collect::<Vec<_>>().join(":");
        (!rest.is_empty()).then_some(Self { agent, rest })
    }
}

/// The key in lower case, but for ids of contacts whose case matters.
fn fold(key: &str) -> String {
    let mut folded = String::with_capacity(key.len());
    let mut done = 0;
    for kept in opaque(key) {
        folded.push_str(&key[done..kept.start].to_lowercase());
        folded.push_str(&key[kept.clone()]);
        done = kept.end;
    }
    folded.push_str(&key[done..].to_lowercase());
    folded
}

/// The parts of the key that keep their case, in order.
fn opaque(key: &str) -> Vec<Range<usize>> {
    let Some(contact) = matrix_contact(key) else {
        return signal_groups(key);
    };
    const THREAD: &str = ":thread:";
    let thread = (contact..key.len()).rfind(|at| starts_with_ignoring_case(key, *at, THREAD));
    let after_thread = thread.map(|at| at + THREAD.len()..key.len());
    let mut kept = Vec::with_capacity(2);
    kept.push(contact..thread.unwrap_or(key.len()));
    kept.extend(after_thread);
    kept
}

/// Where the id of a Matrix room begins, if the key is one.
fn matrix_contact(key: &str) -> Option<usize> {
    let after_agent = starts_with_ignoring_case(key, 0, "agent:")
        .then(|| key["agent:".len()..].find(':'))
        .flatten()
        .filter(|length| *length > 0)
        .map(|length| "agent:".len() + length + 1);
    let starts = [Some(0), after_agent];
    starts.into_iter().flatten().find_map(|at| {
        ["matrix:channel:", "matrix:group:"]
            .into_iter()
            .find(|prefix| starts_with_ignoring_case(key, at, prefix))
            .map(|prefix| at + prefix.len())
    })
}

/// The ids of Signal groups anywhere in the key.
fn signal_groups(key: &str) -> Vec<Range<usize>> {
    const PREFIX: &str = "signal:group:";
    let mut groups = Vec::new();
    let mut at = 0;
    while at < key.len() {
        let length = |from: usize| key[from..].find(':').unwrap_or(key.len() - from);
        if starts_with_ignoring_case(key, at, PREFIX) {
            let start = at + PREFIX.len();
            let end = start + length(start);
            groups.push(start..end);
            at = end + 1;
        } else {
            at += length(at) + 1;
        }
    }
    groups
}

/// Whether `prefix`, which is ASCII, stands at byte `at`.
fn starts_with_ignoring_case(key: &str, at: usize, prefix: &str) -> bool {
    key.as_bytes().get(at..at + prefix.len()).is_some_and(|found| found.eq_ignore_ascii_case(prefix.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::store::Agent;

    fn settings(agents: &[&str], global_scope: bool) -> StoreSettings {
        StoreSettings {
            state: "/state".into(),
            home: Some("/home/x".into()),
            store: None,
            global_scope,
            agents: agents.iter().map(|id| Agent { id: AgentId::normalize(id), default: false }).collect(),
        }
    }

    fn canonical(key: &str, settings: &StoreSettings) -> (String, String) {
        let canonical = RequestedKey::parse(key).unwrap().canonical(settings);
        (canonical.key, canonical.agent.to_string())
    }

    #[track_caller]
    fn assert_canonical(settings: &StoreSettings, cases: &[(&str, &str, &str)]) {
        for (key, expected, agent) in cases {
            assert_eq!(canonical(key, settings), ((*expected).into(), (*agent).into()), "{key}");
        }
    }

    #[test]
    fn a_requested_key_is_trimmed_and_not_blank() {
        assert_eq!(RequestedKey::parse("\u{feff} \t"), None);
        assert_eq!(RequestedKey::parse(" a b ").unwrap().as_str(), "a b");
    }

    #[test]
    fn bare_keys_belong_to_the_default_agent() {
        assert_canonical(
            &settings(&["ops", "dev"], false),
            &[
                ("main", "agent:ops:main", "ops"),
                ("Foo", "agent:ops:foo", "ops"),
                ("agent:x", "agent:x", "ops"),
                ("GLOBAL", "global", "ops"),
                ("Unknown", "unknown", "ops"),
                ("globally", "agent:ops:globally", "ops"),
            ],
        );
    }

    #[test]
    fn keys_of_an_agent_stay_as_typed_but_for_case() {
        assert_canonical(
            &settings(&[], false),
            &[
                ("Agent:Main:MAIN", "agent:main:main", "main"),
                ("agent::main::foo", "agent::main::foo", "main"),
                ("agent:main:foo:", "agent:main:foo:", "main"),
                ("agent:My Agent:k", "agent:my agent:k", "my-agent"),
                ("agent:..:k", "agent:..:k", "main"),
            ],
        );
    }

    #[test]
    fn with_global_scope_an_agents_main_session_is_global_in_its_store() {
        assert_canonical(
            &settings(&[], true),
            &[
                ("main", "global", "main"),
                ("agent:zed:main", "global", "zed"),
                ("agent:my agent:main", "agent:my agent:main", "my-agent"),
                ("foo", "agent:main:foo", "main"),
            ],
        );
    }

    #[test]
    fn the_main_session_of_a_removed_main_is_that_of_the_default_agent() {
        let settings = settings(&["ops"], false);
        assert_canonical(
            &settings,
            &[("agent:main:main", "agent:ops:main", "ops"), ("agent:main:foo", "agent:main:foo", "main")],
        );
        let key = RequestedKey::parse("agent:main:main").unwrap();
        assert_eq!(key.canonical_of_removed_main(&settings).key, "agent:main:main");
    }

    #[test]
    fn ids_of_peers_keep_their_case() {
        for (key, folded) in [
            ("A:Signal:Group:AbC=:X", "a:signal:group:AbC=:x"),
            ("xsignal:group:AbC", "xsignal:group:abc"),
            ("signal:group:A:signal:group:B", "signal:group:A:signal:group:B"),
            ("MATRIX:Channel:!Room:Ex.Org", "matrix:channel:!Room:Ex.Org"),
            ("Agent:X:Matrix:Group:!R", "agent:x:matrix:group:!R"),
            ("x:matrix:group:!R", "x:matrix:group:!r"),
            ("matrix:group:!R:Thread:A:THREAD:$B", "matrix:group:!R:Thread:A:thread:$B"),
            ("ÀÉ:signal:group:É", "àé:signal:group:É"),
        ] {
            assert_eq!(fold(key), folded, "{key}");
        }
    }
}
