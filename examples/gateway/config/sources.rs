//! Where the settings come from, and what the files among these places said last.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::auth::{Given, SecretFiles};
use super::document::Document;
use super::environment::Environment;
use super::{ClientToken, ConfigError, Secret};

/// The places. Fixed for as long as the process runs.
#[derive(Clone, Debug)]
pub struct Sources {
    /// openclaw.json.
    pub config: PathBuf,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--tokens`
    pub tokens: Option<PathBuf>,
    pub flags: Given,
    pub environment: Environment,
}

impl Sources {
    /// The files, all of which are watched.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [Some(&self.config), self.token_file.as_ref(), self.tokens.as_ref()].into_iter().flatten().map(PathBuf::as_path)
    }
}

/// One of the files.
#[derive(Clone, Copy)]
pub enum Source {
    Config,
    Token,
    ClientTokens,
}

/// What the files hold.
#[derive(Clone, Debug)]
pub struct Contents {
    pub document: Document,
    pub token: Option<Secret>,
    pub client_tokens: Option<Arc<[ClientToken]>>,
}

impl Contents {
    /// Reads every file; one that is broken is an error.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        Ok(Self {
            document: read_config(&sources.config)?,
            token: sources.token_file.as_deref().map(read_token).transpose()?,
            client_tokens: sources.tokens.as_deref().map(read_client_tokens).transpose()?,
        })
    }

    /// The contents with one file read again.
    pub fn with(mut self, source: Source, sources: &Sources) -> Result<Self, ConfigError> {
        match source {
            Source::Config => self.document = read_config(&sources.config)?,
            Source::Token => self.token = sources.token_file.as_deref().map(read_token).transpose()?,
            Source::ClientTokens => {
                self.client_tokens = sources.tokens.as_deref().map(read_client_tokens).transpose()?;
            }
        }
        Ok(self)
    }

    pub fn secrets(&self) -> SecretFiles {
        SecretFiles { token: self.token.is_some(), client_tokens: self.client_tokens.is_some() }
    }
}

/// A missing openclaw.json is one without settings.
fn read_config(file: &Path) -> Result<Document, ConfigError> {
    match Document::json5(file) {
        Err(ConfigError::Unreadable { error, .. }) if error.kind() == io::ErrorKind::NotFound => {
            Ok(Document::empty(file))
        }
        read => read,
    }
}

fn read_token(file: &Path) -> Result<Secret, ConfigError> {
    Secret::read(file).map_err(|error| ConfigError::unreadable(file, error))
}

fn read_client_tokens(file: &Path) -> Result<Arc<[ClientToken]>, ConfigError> {
    ClientToken::read_all(file).map(Arc::from)
}
