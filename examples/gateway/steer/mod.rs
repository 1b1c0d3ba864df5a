//! The command line: the gateway serves, or does something to its files and is done.
//!
//! - `cli`: what can be said
//! - `check`: all that is wrong with the configuration
//! - `token`: the file of tokens of single clients
//! - `edit`: that file with one token more, less, or anew

mod check;
mod cli;
mod edit;
mod token;

use std::{
    error::Error,
    fmt::Display,
    io::{self, Write},
    process::ExitCode,
};

pub use self::cli::Cli;
use self::cli::Command;
use crate::config::{Environment, Flags};

/// Does what a command says, with the flags that stand before it, and says how that went.
pub fn run(flags: Flags, command: Command, environment: Environment) -> ExitCode {
    let done: Result<ExitCode, Box<dyn Error>> = match command {
        Command::Check(more) => Ok(check::run(more.or(flags), environment)),
        Command::Token(token) => token.run(flags, environment).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "completions")]
        Command::Completions { shell } => Ok(cli::complete(shell)),
    };
    done.unwrap_or_else(|error| {
        say(&error);
        ExitCode::FAILURE
    })
}

/// Says something to a person, whether or not there is one: what was done is done, and its output is still to come.
fn say(what: &dyn Display) {
    let _ = writeln!(io::stderr(), "gateway: {what}");
}
