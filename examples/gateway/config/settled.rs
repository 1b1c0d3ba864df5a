//! The flags, together with the variables and the file that say the same.
//!
//! A variable and a key in the file are read as the flag of their name is, by the same parser. `--demo` heeds
//! neither.

use std::error::Error;
use std::net::SocketAddr;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, CommandFactory, Parser};

use super::auth::Given;
use super::document::Document;
use super::{ConfigError, Environment, Flags, file};

/// All that is said at the start of the process.
pub struct Settled {
    /// The flags, and what stands in for those that are missing.
    pub flags: Flags,
    /// What the flags alone say of authentication, and what the file does.
    pub given: Given,
    pub in_file: Given,
    pub environment: Environment,
    /// Where the service manager listens for the gateway, if it does.
    pub passed: Vec<SocketAddr>,
    /// What should be done about all this, though it works.
    pub advice: Vec<String>,
}

/// What openclaw.json is heeded before: read with the settings.
const OF_AUTH: [&str; 3] = ["auth", "token", "password"];
/// What neither a variable nor a key can say.
const FLAGS_ONLY: [&str; 3] = ["demo", "help", "version"];

/// The variable of a flag.
pub fn variable(flag: &str) -> String {
    match flag {
        "state-dir" => "OPENCLAW_STATE_DIR".to_owned(),
        "auth" => "OPENCLAW_GATEWAY_AUTH_MODE".to_owned(),
        flag => format!("OPENCLAW_GATEWAY_{}", flag.replace('-', "_").to_ascii_uppercase()),
    }
}

impl Settled {
    /// The errors are all that there are.
    pub fn new(flags: Flags, environment: Environment) -> Result<Self, Vec<ConfigError>> {
        let given = Given::by_flags(&flags);
        if flags.demo {
            let unbuilt = flags.unbuilt();
            if !unbuilt.is_empty() {
                return Err(unbuilt);
            }
            let (in_file, environment) = Default::default();
            return Ok(Self { flags, given, in_file, environment, passed: Vec::new(), advice: Vec::new() });
        }
        let mut problems = Vec::new();
        let mut flags = flags;
        let command = Flags::command();
        for arg in command.get_arguments() {
            let Some(flag) = arg.get_long().filter(|flag| !FLAGS_ONLY.contains(flag) && !OF_AUTH.contains(flag)) else {
                continue;
            };
            let name = variable(flag);
            // OpenClaw's own: a name of any bytes.
            if flag == "state-dir" {
                flags.state_dir = flags.state_dir.or_else(|| environment.path(&name));
                continue;
            }
            let parsed = environment.text(&name).and_then(|text| {
                let values = text.map(|text| match arg.get_action() {
                    ArgAction::Append => text.split(',').map(|one| one.trim().to_owned()).collect(),
                    _ => vec![text.to_owned()],
                });
                let parsed = values.map(|values| parse(arg, &values)).transpose();
                parsed.map_err(|reason| ConfigError::variable(&name, reason))
            });
            match parsed {
                Ok(Some(parsed)) => flags = flags.or(parsed),
                Ok(None) => {}
                Err(error) => problems.push(error),
            }
        }
        let (mut in_file, mut advice) = (Given::default(), Vec::new());
        if let Some(path) = flags.config.as_ref().map(|path| environment.expand(path)) {
            let (found, is_public, more) = read(&path);
            in_file = Given::by_flags(&found);
            if is_public && (found.token.is_some() || found.password.is_some()) {
                advice.push(super::sources::public_secrets(&path));
            }
            problems.extend(more);
            flags = flags.or(Flags { auth: None, token: None, password: None, ..found });
        }
        problems.extend(flags.unbuilt());
        let passed = Vec::new();
        if problems.is_empty() {
            Ok(Self { flags, given, in_file, environment, passed, advice })
        } else {
            Err(problems)
        }
    }

    /// The same where the service manager listens on these addresses.
    #[must_use]
    pub fn with_passed(self, passed: Vec<SocketAddr>) -> Self {
        Self { passed, ..self }
    }
}

/// What a file says, whether every user of the machine can read it, and what is wrong with it.
fn read(path: &Path) -> (Flags, bool, Vec<ConfigError>) {
    let text = file::read(path).map_err(|error| ConfigError::unreadable(path, error));
    let is_public = text.as_ref().is_ok_and(|(_, facts)| facts.is_public());
    let document = match text.and_then(|(text, _)| Document::toml(path, &text)) {
        Ok(document) => document,
        Err(problem) => return (Flags::default(), is_public, vec![problem]),
    };
    let keys = match document.root().fields() {
        Ok(keys) => keys,
        Err(problem) => return (Flags::default(), is_public, vec![problem]),
    };
    let command = Flags::command();
    let is_key = |key: &str| key != "config" && !FLAGS_ONLY.contains(&key);
    let (mut flags, mut problems) = (Flags::default(), Vec::new());
    for (key, node) in keys {
        let arg = command.get_arguments().find(|arg| arg.get_long() == Some(key) && is_key(key));
        let parsed = match arg {
            None => Err(node.error("is no key: they are named as the flags are")),
            Some(arg) => node.plain().and_then(|values| parse(arg, &values).map_err(|reason| node.error(reason))),
        };
        match parsed {
            Ok(parsed) => flags = flags.or(parsed),
            Err(problem) => problems.push(problem),
        }
    }
    if flags.token.is_some() && flags.token_file.is_some() {
        problems.push(ConfigError::malformed(path, "token", "cannot be there beside token-file"));
    }
    (flags, is_public, problems)
}

/// Reads values as those of a flag. The error ends a sentence about them, and quotes none.
fn parse(arg: &Arg, values: &[String]) -> Result<Flags, String> {
    let flag = arg.get_long().unwrap_or_default();
    let args: Vec<String> = match arg.get_action() {
        ArgAction::SetTrue => match values {
            [one] if one == "true" => vec![format!("--{flag}")],
            [one] if one == "false" => Vec::new(),
            _ => return Err("must be true or false".to_owned()),
        },
        ArgAction::Set if values.len() != 1 => return Err("must be one value".to_owned()),
        _ => values.iter().map(|value| format!("--{flag}={value}")).collect(),
    };
    Flags::try_parse_from(["gateway".to_owned()].into_iter().chain(args)).map_err(|error| match error.kind() {
        ErrorKind::InvalidValue => {
            let known: Vec<_> = arg.get_possible_values().iter().map(|value| value.get_name().to_owned()).collect();
            match &known[..] {
                [] => "must not be empty".to_owned(),
                known => format!("must be one of {}", known.join(", ")),
            }
        }
        _ => error.source().map_or_else(|| "cannot be read".to_owned(), ToString::to_string),
    })
}
