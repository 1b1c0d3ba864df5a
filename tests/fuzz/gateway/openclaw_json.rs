//! Whatever is in openclaw.json, it is read as settings or refused in a line, and no refusal quotes a secret.

use std::{cell::OnceCell, fs};

use clap::Parser;

use super::store;
use crate::{
    config::{Config, ConfigError, Environment, Flags, Settings},
    sessions::{lookup::Lookup, store::RequestedKey},
};

/// What stands for a secret in the seeds.
pub(crate) const CANARY: &str = "c4n4ry-in-the-coal";

/// Flags for a state folder that is there, and nothing in it.
pub(crate) fn config(more: &[&str]) -> Config {
    let folder = store::file("state");
    fs::create_dir_all(&folder).expect("room in memory");
    let folder = folder.to_str().expect("a path of letters").to_owned();
    let flags = Flags::parse_from(["gateway", "--state-dir", &folder].iter().chain(more));
    Config::new(flags, Environment::default()).expect("flags")
}

/// Whether the text says the secret, once, as the value of this key.
pub(crate) fn holds(text: &str, key: &str) -> bool {
    let written = [format!("\"{key}\": \"{CANARY}\""), format!("{key} = \"{CANARY}\"")];
    text.matches(CANARY).count() == 1 && written.iter().any(|written| text.contains(written))
}

/// That what is wrong with a file is said in a line each, without the secret.
pub(crate) fn are_discreet(problems: &[ConfigError], holds_secret: bool) {
    assert!(!problems.is_empty());
    for problem in problems {
        let said = problem.to_string();
        assert!(!said.is_empty() && said.lines().count() == 1, "{said:?}");
        assert!(!holds_secret || !said.contains(CANARY), "{said}");
    }
}

thread_local! {
    static CONFIG: OnceCell<Config> = const { OnceCell::new() };
}

pub(crate) fn run(input: &[u8]) {
    CONFIG.with(|config| {
        let config = config.get_or_init(|| self::config(&[]));
        fs::write(&config.sources.config, input).expect("room in memory");
        let settings = config.sources.read_all().and_then(|contents| Settings::checked(&config.sources, &contents));
        let text = String::from_utf8_lossy(input);
        match settings {
            Err(problems) => are_discreet(&problems, holds(&text, "token")),
            Ok(settings) => {
                assert_eq!(settings.changed_since(&settings), Vec::<&str>::new());
                assert!(!holds(&text, "token") || !format!("{settings:?}").contains(CANARY));
                let (_sender, settings) = tokio::sync::watch::channel(std::sync::Arc::new(settings));
                let lookup = Lookup::new(config, settings);
                for key in ["main", "agent:ops:main", "global", "a:b"] {
                    let canonical = lookup.canonical_unread(&RequestedKey::parse(key).expect("a key"));
                    assert!(!canonical.is_empty());
                }
            }
        }
    });
}
