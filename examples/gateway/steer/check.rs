//! `gateway check`: the whole configuration, read as at a start, and all that is wrong with it at once.

use std::{
    io::{self, ErrorKind, Write},
    net::TcpListener,
    path::Path,
    process::ExitCode,
};

use rustix::fs::{Access, access};
use tower_reauth::revoke::Revocations;

use super::say;
use crate::{
    config::{Config, ConfigError, Environment, Flags, Settings, Settled, Sources},
    http::operate::Kept,
    nodes,
};

/// Says each problem on a line of the error output and each advice on one of the output.
pub fn run(flags: Flags, environment: Environment) -> ExitCode {
    let (problems, advice) = match Settled::new(flags, environment) {
        Err(problems) => (problems.iter().map(ToString::to_string).collect(), Vec::new()),
        Ok(settled) => match settled.config() {
            Err(problem) => (vec![problem.to_string()], Vec::new()),
            Ok(config) => look(&config),
        },
    };
    for problem in &problems {
        say(problem);
    }
    let mut output = io::stdout().lock();
    let said = advice.iter().try_for_each(|advice| writeln!(output, "advice: {advice}"));
    let said = said.and_then(|()| if problems.is_empty() { writeln!(output, "good") } else { Ok(()) });
    // An output that cannot be written changes nothing about what was found.
    drop(said);
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn look(config: &Config) -> (Vec<String>, Vec<String>) {
    let (mut problems, mut advice) = (Vec::new(), config.advice.clone());
    match settings(&config.sources) {
        Ok(settings) => advice.extend(settings.advice),
        Err(found) => problems.extend(found.iter().map(ToString::to_string)),
    }
    if config.edge.is_none() && !config.state_dir.is_dir() {
        advice.push(format!("there is no state folder {}, and so no session", config.state_dir.display()));
    }
    if let Err(problem) = Kept::open(config.data_dir.as_deref(), Revocations::new()) {
        problems.push(problem);
    }
    let places = [("--data-dir", &config.data_dir), ("--audit-log", &config.audit_log)];
    for (flag, path) in places {
        let Some(path) = path else { continue };
        if let Err(error) = can_be_written(path, flag == "--data-dir") {
            problems.push(format!("{flag}: {}: {error}", path.display()));
        }
    }
    problems.extend(config.redis.as_ref().and_then(|url| nodes::check(url).err()));
    match TcpListener::bind(config.listen) {
        Ok(_) => {}
        // It may be the very gateway that this is the configuration of.
        Err(error) if error.kind() == ErrorKind::AddrInUse => advice.push(format!(
            "{} is taken: a gateway can be started there once what listens there now has ended",
            config.listen
        )),
        Err(error) => problems.push(format!("{}: {error}", config.listen)),
    }
    (problems, advice)
}

/// The settings, or all that is wrong with any of their files; only if there is nothing, with them together.
fn settings(sources: &Sources) -> Result<Settings, Vec<ConfigError>> {
    let contents = sources.read_all()?;
    Settings::checked(sources, &contents)
}

/// Whether a file or a folder can be written, or made.
fn can_be_written(path: &Path, is_folder: bool) -> io::Result<()> {
    if path.exists() {
        return match (is_folder, path.is_dir()) {
            (true, false) => Err(ErrorKind::NotADirectory.into()),
            (false, true) => Err(ErrorKind::IsADirectory.into()),
            _ => Ok(access(path, Access::WRITE_OK)?),
        };
    }
    let above = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if is_folder && !above.exists() {
        return can_be_written(above, true);
    }
    Ok(access(above, Access::WRITE_OK)?)
}
