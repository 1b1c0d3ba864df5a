//! Why the gateway does not start, or keeps its old settings, in words for the person who sets it
//! up. No error quotes a value: it might be a secret.

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use crate::plain::{Escapes, plain};

#[derive(Debug)]
pub enum ConfigError {
    /// A file that is there but cannot be read.
    Unreadable { file: PathBuf, error: io::Error },
    /// A file whose content is not understood: where in it, and what is wrong.
    Malformed { file: PathBuf, place: String, reason: String },
    /// A file that is being written: it is to be looked at again in a moment.
    Unfinished,
    /// An environment variable that is not understood.
    Variable { name: String, reason: String },
    /// Settings that cannot go together, or lack something: what to do.
    Unusable(String),
}

impl ConfigError {
    pub fn unreadable(file: &Path, error: io::Error) -> Self {
        Self::Unreadable { file: file.to_owned(), error }
    }

    pub fn malformed(file: &Path, place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Malformed { file: file.to_owned(), place: place.into(), reason: reason.into() }
    }

    /// All of these as what the process ends with, a line each.
    pub fn all(problems: Vec<Self>) -> String {
        problems.iter().map(Self::to_string).collect::<Vec<_>>().join("\ngateway: ")
    }

    pub fn variable(name: &str, reason: impl Into<String>) -> Self {
        Self::Variable { name: name.to_owned(), reason: reason.into() }
    }
}

/// A flag of a feature that this gateway was built without.
pub fn needs_feature(flag: &str, feature: &str) -> ConfigError {
    ConfigError::Unusable(format!("{flag}: this gateway was built without it; build it with --features {feature}"))
}

impl fmt::Display for ConfigError {
    /// One line, whatever the names in it are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Unreadable { file, error } => format!("cannot read {}: {error}", file.display()),
            Self::Malformed { file, place, reason } => format!("{}: {place}: {reason}", file.display()),
            Self::Unfinished => "a file is being written".to_owned(),
            Self::Variable { name, reason } => format!("the variable {name} {reason}"),
            Self::Unusable(advice) => advice.clone(),
        };
        f.write_str(&plain(&text, Escapes::Text))
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_line_whatever_the_names_in_it_are() {
        let file = Path::new("a\nb/tokens.toml");
        let error = ConfigError::malformed(file, "token.\u{202e}x", "has the unknown field `\u{9b}2J\r\n`");
        let shown = r"a\nb/tokens.toml: token.\u{202e}x: has the unknown field `\u{9b}2J\r\n`";
        assert_eq!(error.to_string(), shown);
    }
}
