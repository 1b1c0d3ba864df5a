//! The environment variables, as a value: what reads them can be tested without changing those of
//! the process.

use std::collections::HashMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Variable names and their values. A variable that is set but empty counts as unset.
/// `Debug` shows none: some are secrets.
#[derive(Clone, Default)]
pub struct Environment(HashMap<OsString, OsString>);

impl Environment {
    /// The environment this process was started with.
    pub fn of_this_process() -> Self {
        env::vars_os().collect()
    }

    /// The value as text; an error if it is not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        match value.to_str() {
            Some(text) => Ok(Some(text)),
            None => Err(ConfigError::variable(name, "is not valid UTF-8")),
        }
    }

    /// The value as a path, with `~` for the home folder.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.value(name).map(|path| self.expand(Path::new(path)))
    }

    /// `$HOME`.
    pub fn home(&self) -> Option<PathBuf> {
        self.value("HOME").map(PathBuf::from)
    }

    /// A leading `~` stands for the home folder, as a shell would have it.
    pub fn expand(&self, path: &Path) -> PathBuf {
        match (path.strip_prefix("~"), self.home()) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => path.to_owned(),
        }
    }

    fn value(&self, name: &str) -> Option<&OsString> {
        self.0.get(OsStr::new(name)).filter(|value| !value.is_empty())
    }
}

impl<K: Into<OsString>, V: Into<OsString>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let environment = Environment::from_iter([("A", ""), ("B", "b")]);
        assert_eq!(environment.text("A").unwrap(), None);
        assert_eq!(environment.text("B").unwrap(), Some("b"));
        assert_eq!(environment.path("A"), None);
    }

    #[test]
    fn a_leading_tilde_is_the_home_folder() {
        let environment = Environment::from_iter([("HOME", "/home/me"), ("S", "~/state")]);
        assert_eq!(environment.path("S").unwrap(), Path::new("/home/me/state"));
        assert_eq!(environment.expand(Path::new("~")), Path::new("/home/me"));
        assert_eq!(environment.expand(Path::new("~you/x")), Path::new("~you/x"));
        assert_eq!(environment.expand(Path::new("/a/~")), Path::new("/a/~"));
        assert_eq!(Environment::default().expand(Path::new("~/x")), Path::new("~/x"));
    }

    #[cfg(unix)]
    #[test]
    fn text_that_is_not_utf_8_is_an_error_that_names_the_variable_only() {
        use std::os::unix::ffi::OsStringExt;

        let environment = Environment::from_iter([("A", OsString::from_vec(b"s\xff".to_vec()))]);
        let error = environment.text("A").unwrap_err();
        assert_eq!(error.to_string(), "the variable A is not valid UTF-8");
    }
}
