//! `gateway token`: who has a token of their own.

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use clap::{Args, Subcommand};
use jiff::{Span, Timestamp, tz::TimeZone};
use sha2::{Digest, Sha256};
use tower_reauth::revoke::Revocations;

use super::{
    super::plain::{Escapes, plain},
    edit::{Edit, Entry, edited},
    say,
};
use crate::{
    config::{ClientToken, ConfigError, Environment, Flags, KNOWN_SCOPES, Settled},
    files::{disk::is_missing, replace::Folder},
    http::operate::Kept,
};

/// The file is that of --tokens, or of its variable or key. A gateway that runs takes a change over at once: the
/// streams of a token that is revoked or rotated end.
#[derive(Debug, Args)]
pub struct Token {
    /// A TOML file with what no flag and no variable says
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// File of tokens, .toml or .json: each with id, sha256 (or secret), subject, scopes and expires_at
    #[arg(long, value_name = "FILE", global = true)]
    tokens: Option<PathBuf>,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Add a token, and print it: once, for only its digest is kept
    Add {
        /// What it is called
        id: String,
        /// Whose it is [default: the id]
        #[arg(long)]
        subject: Option<String>,
        /// What it may do, such as operator.read; may be given several times
        #[arg(long = "scope", value_name = "SCOPE", value_parser = scope)]
        scopes: Vec<String>,
        /// When it expires: in a time such as 12h or 30d, or at an RFC 3339 time [default: never]
        #[arg(long, value_name = "TIME", value_parser = expiry)]
        expires: Option<Timestamp>,
    },
    /// List the tokens that there are
    List,
    /// Take a token away
    Revoke {
        /// What it is called
        id: String,
    },
    /// Put a new token in the place of one, and print it
    Rotate {
        /// What it is called
        id: String,
        /// When it expires [default: as it did]
        #[arg(long, value_name = "TIME", value_parser = expiry)]
        expires: Option<Timestamp>,
    },
}

impl Token {
    pub fn run(self, flags: Flags, environment: Environment) -> Result<(), Box<dyn Error>> {
        let flags = Flags { config: self.config, tokens: self.tokens, ..Flags::default() }.or(flags);
        let settled = Settled::new(flags, environment).map_err(ConfigError::all)?;
        let file = settled.flags.tokens.as_ref().map(|file| settled.environment.expand(file));
        let file = file.ok_or("no file of tokens: set --tokens, OPENCLAW_GATEWAY_TOKENS or tokens in --config")?;
        let revoked =
            settled.config().ok().and_then(|config| Kept::open(config.data_dir.as_deref(), Revocations::new()).ok());
        let warn_if_revoked = |id: &str| {
            let is_revoked = |kept: Kept| {
                kept.list()["revocations"].as_array().is_some_and(|all| all.iter().any(|one| one["credential"] == id))
            };
            if revoked.is_some_and(is_revoked) {
                say(&format_args!("{id:?} was revoked by POST /revocations, and stays so whatever token it has"));
            }
        };
        match self.action {
            Action::List => list(&ClientToken::parse_all(&file, &fs::read_to_string(&file)?)?),
            Action::Revoke { id } => {
                change(&file, false, &Edit::Remove { id: &id })?;
                say(&format_args!("{id:?} is revoked"));
                Ok(())
            }
            Action::Add { id, subject, scopes, expires } => {
                let (secret, sha256) = new_secret()?;
                let id = id.trim();
                change(
                    &file,
                    true,
                    &Edit::Add(Entry { id, sha256, subject: subject.as_deref(), scopes: &scopes, expires }),
                )?;
                warn_if_revoked(id);
                print_once(id, &secret)
            }
            Action::Rotate { id, expires } => {
                let (secret, sha256) = new_secret()?;
                change(&file, false, &Edit::Rotate { id: &id, sha256, expires })?;
                warn_if_revoked(&id);
                print_once(&id, &secret)
            }
        }
    }
}

/// Changes the file as a whole. No other command changes it meanwhile.
fn change(file: &Path, may_be_new: bool, edit: &Edit<'_>) -> Result<(), Box<dyn Error>> {
    let told = |error: io::Error| format!("{}: {error}", file.display());
    // What a link leads to is replaced, and not the link.
    let (file, is_new) = match file.canonicalize() {
        Ok(file) => (file, false),
        Err(error) if is_missing(&error) && may_be_new => (file.to_owned(), true),
        Err(error) => return Err(told(error).into()),
    };
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = file.file_name().and_then(|name| name.to_str()).ok_or("the name of the file is not UTF-8")?;
    let folder = Folder::lock(folder).map_err(told)?;
    let before = match fs::read_to_string(&file) {
        Ok(text) => Some(text),
        Err(error) if is_missing(&error) && is_new => None,
        Err(error) => return Err(told(error).into()),
    };
    let after = edited(&file, before.as_deref(), edit)?;
    // Nothing is written that the gateway would not read.
    ClientToken::parse_all(&file, &after)?;
    folder.replace(name, after.as_bytes()).map_err(told)?;
    Ok(())
}

/// 256 random bits, and their digest in hexadecimal digits.
fn new_secret() -> Result<(String, String), Box<dyn Error>> {
    let mut bits = [0; 32];
    getrandom::fill(&mut bits)?;
    let secret = BASE64_URL_SAFE_NO_PAD.encode(bits);
    let digest = Sha256::digest(&secret).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((secret, digest))
}

/// The token alone on the output, for a script; the rest is for a person.
fn print_once(id: &str, secret: &str) -> Result<(), Box<dyn Error>> {
    say(&format_args!("the token of {id:?}, which is shown this once:"));
    writeln!(io::stdout(), "{secret}")?;
    Ok(())
}

fn list(tokens: &[ClientToken]) -> Result<(), Box<dyn Error>> {
    let mut rows = vec![["ID", "SUBJECT", "SCOPES", "EXPIRES"].map(str::to_owned)];
    let now = SystemTime::now();
    rows.extend(tokens.iter().map(|token| {
        let expires = token.expires_at.map(|at| {
            let date = Timestamp::try_from(at).map_or_else(|_| "?".to_owned(), |at| at.to_string());
            if at <= now { format!("{date} (over)") } else { date }
        });
        // Names are somebody's own: nothing in them steers the terminal that they go on.
        [
            plain(&token.id, Escapes::Text).into_owned(),
            plain(&token.subject, Escapes::Text).into_owned(),
            token.scopes.to_string(),
            expires.unwrap_or_else(|| "never".to_owned()),
        ]
    }));
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or_default();
    let widths = [width(0), width(1), width(2)];
    let mut output = io::stdout().lock();
    for [id, subject, scopes, expires] in &rows {
        let [a, b, c] = widths;
        writeln!(output, "{id:a$}  {subject:b$}  {scopes:c$}  {expires}")?;
    }
    Ok(())
}

fn scope(text: &str) -> Result<String, String> {
    if KNOWN_SCOPES.contains(&text) {
        Ok(text.to_owned())
    } else {
        Err(format!("opens nothing: there are {}", KNOWN_SCOPES.join(", ")))
    }
}

fn expiry(text: &str) -> Result<Timestamp, &'static str> {
    let now = Timestamp::now();
    let at = text.parse().ok().or_else(|| {
        let span: Span = text.parse().ok()?;
        // A day is a day, and a month the next one's same day.
        Some(now.to_zoned(TimeZone::UTC).checked_add(span).ok()?.timestamp())
    });
    let at = at.ok_or("must be a time such as 12h or 30d, or an RFC 3339 time with its offset")?;
    if at > now { Ok(at) } else { Err("is over already") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_from_now_or_a_date_to_come() {
        let minutes =
            |text: &str| (expiry(text).unwrap() - Timestamp::now()).total(jiff::Unit::Minute).unwrap().round();
        for (text, hours) in [("12h", 12.0), ("30d", 720.0), ("2w", 336.0), ("1h 30m", 1.5)] {
            assert_eq!(minutes(text), 60.0 * hours, "{text}");
        }
        assert_eq!(expiry("2999-01-01T00:00:00Z").unwrap().to_string(), "2999-01-01T00:00:00Z");
        for text in ["", "30", "0d", "-30d", "30 d ago", "2020-01-01T00:00:00Z", "2999-01-01", "soon", "99999999y"] {
            assert!(expiry(text).is_err(), "{text}");
        }
    }
}
