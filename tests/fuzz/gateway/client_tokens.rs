//! A file of tokens is read whole or refused in a line that quotes no secret: each token in it has an id and a digest that
//! no other has, and scopes that a header can carry.

use std::{cell::OnceCell, collections::HashSet, fs};

use super::{openclaw_json, store};
use crate::config::Config;

thread_local! {
    static CONFIG: OnceCell<Config> = const { OnceCell::new() };
}

/// The first byte says whether it is TOML or JSON.
pub(crate) fn run(input: &[u8]) {
    let Some((kind, content)) = input.split_first() else { return };
    let name = if kind % 2 == 0 { "tokens.toml" } else { "tokens.json" };
    CONFIG.with(|config| {
        let config = config.get_or_init(|| openclaw_json::config(&[]));
        let _ = fs::remove_file(&config.sources.config);
        let mut sources = config.sources.clone();
        let path = store::file(name);
        fs::write(&path, content).expect("room in memory");
        sources.tokens = Some(path);
        let holds = openclaw_json::holds(&String::from_utf8_lossy(content), "secret");
        let contents = match sources.read_all() {
            Ok(contents) => contents,
            Err(problems) => return openclaw_json::are_discreet(&problems, holds),
        };
        let tokens = contents.client_tokens.as_deref().expect("a file was named");
        let ids: HashSet<&str> = tokens.iter().map(|token| &*token.id).collect();
        assert_eq!(ids.len(), tokens.len());
        for token in tokens {
            assert!(!token.id.trim().is_empty());
            assert!(token.scopes.iter().all(|scope| http::HeaderValue::from_str(scope.as_str()).is_ok()));
            assert!(!holds || !format!("{token:?}").contains(openclaw_json::CANARY));
        }
    });
}
