//! Where the settings come from, and what the files among these places said last.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::auth::{Given, SecretFiles};
use super::document::Document;
use super::environment::Environment;
use super::file::{self, Facts};
use super::tokens::{self, ClientToken, Cut};
use super::{ConfigError, CorsOrigin, Secret};
use crate::tls::Tls;

/// How long a file that is written over in place has to rest before it is taken for whole.
const QUIET: Duration = Duration::from_millis(50);
/// The same where it lost what it ended with, as a file does whose writer has not come to that yet.
const QUIET_WHEN_SHORTENED: Duration = Duration::from_secs(2);

/// The places. Fixed for as long as the process runs.
#[derive(Clone, Debug)]
pub struct Sources {
    /// openclaw.json.
    pub config: PathBuf,
    /// `--token-file`
    pub token_file: Option<PathBuf>,
    /// `--tokens`
    pub tokens: Option<PathBuf>,
    /// `--tls-cert` and `--tls-key`
    pub tls: Option<TlsFiles>,
    /// `--upstream-key-file`
    pub upstream_key: Option<PathBuf>,
    /// `--edge-token-file`
    pub edge_token: Option<PathBuf>,
    pub flags: Given,
    /// What the file of `--config` says.
    pub in_file: Given,
    pub environment: Environment,
    /// An address that others than this machine can reach, if the gateway listens on one and was not told
    /// that they need not say who they are.
    pub exposed: Option<IpAddr>,
    /// `--cors-origin`
    pub cors_origins: Vec<CorsOrigin>,
}

/// A certificate with its chain, and its private key.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Sources {
    /// The files, all of which are watched.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.by_source().flat_map(|(_, files)| files)
    }

    /// Reads every file, as at a start, and says of each what is wrong with it.
    pub fn read_all(&self) -> Result<Contents, Vec<ConfigError>> {
        let (mut contents, mut problems) = (Contents::empty(self), Vec::new());
        for (source, _) in self.by_source() {
            match contents.clone().with(source, self) {
                Ok(read) => contents = read,
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(contents) } else { Err(problems) }
    }

    /// The same, each with what it is. Secrets come first: nothing else should hold up a rotation.
    pub fn by_source(&self) -> impl Iterator<Item = (Source, Vec<&Path>)> {
        let pair = self.tls.iter().flat_map(|TlsFiles { cert, key }| [cert.as_path(), key]).collect();
        [
            (Source::Token, self.token_file.iter().map(PathBuf::as_path).collect()),
            (Source::ClientTokens, self.tokens.iter().map(PathBuf::as_path).collect()),
            (Source::UpstreamKey, self.upstream_key.iter().map(PathBuf::as_path).collect()),
            (Source::EdgeToken, self.edge_token.iter().map(PathBuf::as_path).collect()),
            (Source::Config, vec![self.config.as_path()]),
            (Source::Tls, pair),
        ]
        .into_iter()
        .filter(|(_, files): &(_, Vec<_>)| !files.is_empty())
    }
}

/// One of the files, or those that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Config,
    Token,
    ClientTokens,
    Tls,
    UpstreamKey,
    EdgeToken,
}

/// What the files hold.
#[derive(Clone, Debug)]
pub struct Contents {
    pub document: Document,
    pub token: Option<Secret>,
    pub client_tokens: Option<Arc<[ClientToken]>>,
    pub tls: Option<Tls>,
    pub upstream_key: Option<Secret>,
    pub edge_token: Option<Secret>,
    pub facts: FileFacts,
}

/// What the files were when they were read. `None`: not there, or not asked for.
#[derive(Clone, Debug, Default)]
pub struct FileFacts {
    pub config: Option<Facts>,
    pub token: Option<Facts>,
    pub client_tokens: Option<Facts>,
    /// Of the certificate and of its key.
    pub tls: Option<(Facts, Facts)>,
    pub upstream_key: Option<Facts>,
    pub edge_token: Option<Facts>,
}

impl Contents {
    /// Reads every file; one that is broken is an error, and one that is missing unless it is openclaw.json.
    pub fn read(sources: &Sources) -> Result<Self, ConfigError> {
        sources.by_source().try_fold(Self::empty(sources), |contents, (source, _)| contents.with(source, sources))
    }

    fn empty(sources: &Sources) -> Self {
        Self {
            document: Document::empty(&sources.config),
            token: None,
            client_tokens: None,
            tls: None,
            upstream_key: None,
            edge_token: None,
            facts: FileFacts::default(),
        }
    }

    /// The contents with one file read again.
    ///
    /// A file that was there and is missing is one that cannot be read: it may be about to come back, and what
    /// it said must not be undone by that. One that may not be whole yet is
    /// [`Unfinished`](ConfigError::Unfinished).
    pub fn with(mut self, source: Source, sources: &Sources) -> Result<Self, ConfigError> {
        match (source, &sources.token_file, &sources.tokens) {
            (Source::UpstreamKey, ..) => {
                if let Some(file) = &sources.upstream_key {
                    let (text, facts) = read(file, self.facts.upstream_key.as_ref())?;
                    self.upstream_key = Some(Secret::of_file(file, &text)?);
                    self.facts.upstream_key = Some(facts);
                }
            }
            (Source::EdgeToken, ..) => {
                if let Some(file) = &sources.edge_token {
                    let (text, facts) = read(file, self.facts.edge_token.as_ref())?;
                    self.edge_token = Some(Secret::of_file(file, &text)?);
                    self.facts.edge_token = Some(facts);
                }
            }
            (Source::Tls, ..) => {
                if let Some(files) = &sources.tls {
                    self.read_tls(files)?;
                }
            }
            (Source::Config, _, _) => match read(&sources.config, self.facts.config.as_ref()) {
                Err(ConfigError::Unreadable { error, .. })
                    if error.kind() == io::ErrorKind::NotFound && self.facts.config.is_none() => {}
                found => {
                    let (text, facts) = found?;
                    self.document = Document::json5(&sources.config, &text)?;
                    self.facts.config = Some(facts);
                }
            },
            (Source::Token, Some(file), _) => {
                let (text, facts) = read(file, self.facts.token.as_ref())?;
                self.token = Some(Secret::of_file(file, &text)?);
                self.facts.token = Some(facts);
            }
            (Source::ClientTokens, _, Some(file)) => {
                let (text, facts) = read(file, self.facts.client_tokens.as_ref())?;
                let tokens = ClientToken::parse_all(file, &text)?;
                match self.cut(&facts, &tokens) {
                    Some(Cut::WithinAToken) => {
                        let reason = "looks cut short: its last token says less than it did. Write the whole of it, \
                                      best to a new file that is then renamed over this one";
                        return Err(ConfigError::malformed(file, "the end", reason));
                    }
                    Some(Cut::BetweenTokens) if !facts.rests_for(QUIET_WHEN_SHORTENED) => {
                        return Err(ConfigError::Unfinished);
                    }
                    _ => {}
                }
                self.client_tokens = Some(tokens.into());
                self.facts.client_tokens = Some(facts);
            }
            (Source::Token, None, _) | (Source::ClientTokens, _, None) => {}
        }
        Ok(self)
    }

    /// Reads a certificate and its key. One of them is replaced before the other, so what does not fit together is
    /// [`Unfinished`](ConfigError::Unfinished) for a while.
    fn read_tls(&mut self, TlsFiles { cert, key }: &TlsFiles) -> Result<(), ConfigError> {
        let before = self.facts.tls.as_ref();
        let (chain, cert_facts) = read(cert, before.map(|(cert, _)| cert))?;
        let (secret, key_facts) = read(key, before.map(|(_, key)| key))?;
        let rests = |facts: &Facts| facts.rests_for(QUIET_WHEN_SHORTENED);
        match Tls::new((cert, &chain), (key, &secret)) {
            // As good as the one that is there: clients go on with the sessions that they have under that.
            Ok(tls) if self.tls.as_ref() == Some(&tls) => {}
            Ok(tls) => self.tls = Some(tls),
            Err(_) if before.is_some() && !(rests(&cert_facts) && rests(&key_facts)) => {
                return Err(ConfigError::Unfinished);
            }
            Err(error) => return Err(error),
        }
        self.facts.tls = Some((cert_facts, key_facts));
        Ok(())
    }

    /// The contents with that of one file as it is there.
    pub fn with_part(self, source: Source, other: Self) -> Self {
        match source {
            Source::Config => {
                Self { document: other.document, facts: FileFacts { config: other.facts.config, ..self.facts }, ..self }
            }
            Source::Token => {
                Self { token: other.token, facts: FileFacts { token: other.facts.token, ..self.facts }, ..self }
            }
            Source::ClientTokens => Self {
                client_tokens: other.client_tokens,
                facts: FileFacts { client_tokens: other.facts.client_tokens, ..self.facts },
                ..self
            },
            Source::Tls => Self { tls: other.tls, facts: FileFacts { tls: other.facts.tls, ..self.facts }, ..self },
            Source::UpstreamKey => Self {
                upstream_key: other.upstream_key,
                facts: FileFacts { upstream_key: other.facts.upstream_key, ..self.facts },
                ..self
            },
            Source::EdgeToken => Self {
                edge_token: other.edge_token,
                facts: FileFacts { edge_token: other.facts.edge_token, ..self.facts },
                ..self
            },
        }
    }

    /// How the file of tokens was cut, if that is what happened to it.
    fn cut(&self, facts: &Facts, tokens: &[ClientToken]) -> Option<Cut> {
        let before = self.facts.client_tokens.as_ref()?;
        let is_shortened = facts.is_rewritten_since(before) && facts.is_shorter_than(before);
        is_shortened.then(|| Cut::between(self.client_tokens.as_deref()?, tokens)).flatten()
    }

    pub fn secrets(&self) -> SecretFiles {
        SecretFiles { token: self.token.is_some(), client_tokens: self.client_tokens.is_some() }
    }

    /// What should be done about the files, though they can be read.
    pub fn advice(&self, sources: &Sources) -> Vec<String> {
        let mut advice = Vec::new();
        let (cert, key) = self.facts.tls.as_ref().map(|(cert, key)| (cert, key)).unzip();
        let tls = sources.tls.as_ref();
        for (file, facts, holds_secrets) in [
            (Some(&sources.config), self.facts.config.as_ref(), self.document.holds_secrets()),
            (sources.token_file.as_ref(), self.facts.token.as_ref(), true),
            (sources.tokens.as_ref(), self.facts.client_tokens.as_ref(), true),
            (sources.upstream_key.as_ref(), self.facts.upstream_key.as_ref(), true),
            (sources.edge_token.as_ref(), self.facts.edge_token.as_ref(), true),
            (tls.map(|files| &files.cert), cert, false),
            (tls.map(|files| &files.key), key, true),
        ] {
            let Some((file, facts)) = file.zip(facts) else { continue };
            if facts.is_removed() {
                let file = file.display();
                advice.push(format!(
                    "{file} was removed or replaced where it was mounted from, and what came in its place cannot be \
                     seen here: mount the folder, not the file"
                ));
            }
            if holds_secrets && facts.is_public() {
                advice.push(public_secrets(file));
            }
        }
        advice.extend(self.tls.as_ref().and_then(Tls::advice));
        if let Some(tokens) = &self.client_tokens {
            advice.extend(tokens::advice(tokens));
        }
        advice
    }
}

/// What should be done about a file with secrets that everybody can read.
pub fn public_secrets(file: &Path) -> String {
    format!("{} holds secrets, and every user of this machine can read it: chmod 600", file.display())
}

/// Reads a file, unless it is being written at the moment.
fn read(file: &Path, before: Option<&Facts>) -> Result<(String, Facts), ConfigError> {
    let (text, facts) = file::read(file).map_err(|error| ConfigError::unreadable(file, error))?;
    match before {
        Some(before) if facts.is_rewritten_since(before) && !facts.rests_for(QUIET) => Err(ConfigError::Unfinished),
        _ => Ok((text, facts)),
    }
}
