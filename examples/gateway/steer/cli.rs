//! What can be said on the command line.

#[cfg(any(feature = "completions", test))]
use clap::CommandFactory;
use clap::{
    Parser, Subcommand,
    error::{ContextKind, ContextValue},
};

use super::token::Token;
use crate::config::Flags;

/// Session history whose streams end when access ends. Try it: gateway --demo
#[derive(Debug, Parser)]
#[command(name = "gateway", version, after_help = PLACES)]
pub struct Cli {
    #[command(flatten)]
    pub flags: Flags,
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Not part of the docstring: a long one has clap write every flag on lines of its own.
const PLACES: &str = "\
Each flag has a variable, OPENCLAW_GATEWAY_ and its name unless another is given, and a key of its name
in the file of --config. A flag wins over the variable, and that over the key; for --auth, --token and
--password gateway.auth in openclaw.json stands between flag and variable. RUST_LOG says what is logged,
and NO_COLOR that it has no colours.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Add, list, revoke and rotate the tokens of single clients
    Token(Token),
    /// Say all that is wrong with the configuration, and end with 1 if there is something
    #[command(about, long_about = None)]
    Check(Box<Flags>),
    /// Print the completions of a shell
    #[cfg(feature = "completions")]
    Completions { shell: clap_complete::Shell },
}

/// The flags whose value may be a secret, or hold one.
const SECRET: [&str; 5] = ["--token ", "--password ", "--redis ", "--upstream ", "--edge "];

impl Cli {
    /// Reads the command line of this process, or ends it.
    pub fn of_this_process() -> Self {
        Self::try_parse().unwrap_or_else(|error| Self::without_secret(error).exit())
    }

    /// The error, without what was given as a secret.
    fn without_secret(mut error: clap::Error) -> clap::Error {
        let is_secret = |value: &ContextValue| matches!(value, ContextValue::String(arg) if SECRET.iter().any(|flag| arg.starts_with(flag)));
        if error.get(ContextKind::InvalidArg).is_some_and(is_secret) {
            error.insert(ContextKind::InvalidValue, ContextValue::String("...".to_owned()));
        }
        error
    }
}

#[cfg(feature = "completions")]
pub fn complete(shell: clap_complete::Shell) -> std::process::ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "gateway", &mut std::io::stdout());
    std::process::ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_put_together_rightly() {
        Cli::command().debug_assert();
    }

    #[test]
    fn a_secret_is_in_no_error() {
        for (flag, value, reason) in [
            ("--token", "hunter2\u{1}", "no Authorization header can carry"),
            ("--password", "hunter2\u{1}", "no Authorization header can carry"),
            ("--redis", "redis:user:hunter2@host", "must be a URL such as redis:"),
        ] {
            let error = Cli::try_parse_from(["gateway", flag, value]).unwrap_err();
            let shown = Cli::without_secret(error).to_string();
            assert!(shown.contains(reason) && !shown.contains("hunter2"), "{shown}");
        }
        // A URL may have a password in it, also where it must not.
        let command = Cli::command();
        let urls = command.get_arguments().filter(|arg| arg.get_value_names().is_some_and(|names| names[0] == "URL"));
        let urls: Vec<_> = urls.filter_map(|arg| arg.get_long()).collect();
        assert!(urls.contains(&"redis"), "{urls:?}");
        for flag in urls {
            let error = Cli::try_parse_from(["gateway", &format!("--{flag}"), "ftp://user:hunter2@host"]).unwrap_err();
            let shown = Cli::without_secret(error).to_string();
            assert!(shown.contains("must be") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn help_fits_two_screens() {
        let help = Cli::try_parse_from(["gateway", "--help"]).unwrap_err().to_string();
        assert!(help.lines().count() <= 2 * 50, "{} lines", help.lines().count());
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
}
