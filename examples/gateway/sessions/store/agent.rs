//! [`AgentId`]: an agent as its directory is named.

use std::fmt;

/// The longest name an agent's directory has.
const LENGTH: usize = 64;

/// The name of an agent's directory: `[a-z0-9_-]`, at most 64 characters, never empty.
///
/// So it is always one plain path component, whatever a request asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AgentId(String);

impl AgentId {
    /// The agent that the bare key `main` belongs to when nothing is configured.
    pub fn main() -> Self {
        Self("main".into())
    }

    /// The directory name for an agent that goes by this name.
    pub fn normalize(name: &str) -> Self {
        let lower = name.trim().to_lowercase();
        let id = if is_directory_name(&lower) {
            lower
        } else {
            let mut id = String::with_capacity(lower.len());
            for char in lower.chars() {
                match char {
                    'a'..='z' | '0'..='9' | '_' | '-' => id.push(char),
                    // A run of other characters makes one dash; a dash of its own is kept.
                    _ if id.ends_with(REPLACED) => {}
                    _ => id.push(REPLACED),
                }
            }
            let id = id.replace(REPLACED, "-");
            id.trim_matches('-').chars().take(LENGTH).collect()
        };
        if id.is_empty() { Self::main() } else { Self(id) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_main(&self) -> bool {
        self.0 == "main"
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Stands for a run of replaced characters until the name is complete.
const REPLACED: char = ' ';

fn is_directory_name(name: &str) -> bool {
    name.len() <= LENGTH
        && name.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_directory_names() {
        for (name, directory) in [
            ("ops", "ops"),
            ("My-Agent", "my-agent"),
            ("my agent", "my-agent"),
            ("my- agent", "my--agent"),
            ("a  b", "a-b"),
            ("-my-agent-", "my-agent"),
            ("_x", "_x"),
            ("..", "main"),
            ("", "main"),
            ("../../etc", "etc"),
            ("Ünder", "nder"),
            ("a-", "a-"),
        ] {
            assert_eq!(AgentId::normalize(name).as_str(), directory, "{name:?}");
        }
        assert_eq!(AgentId::normalize(&"x".repeat(80)).as_str(), "x".repeat(64));
    }
}
