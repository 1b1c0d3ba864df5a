//! What is read as a set of scopes is what the text has between its spaces, each once, and is printed as the same set;
//! and a text is refused only where a scope breaks the syntax of RFC 6749 section 3.3.

use std::collections::BTreeSet;

use tower_reauth::{Scope, ScopeSet};

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let said: BTreeSet<&str> = text.split(' ').filter(|token| !token.is_empty()).collect();
    let is_scope = |token: &&str| token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');

    let Ok(set) = text.parse::<ScopeSet>() else {
        assert!(!said.iter().all(is_scope), "refused, though each scope is one");
        return;
    };
    assert!(said.iter().all(is_scope), "taken, though one of the scopes is none");
    assert!(set.iter().map(Scope::as_str).eq(said.iter().copied()));
    assert!(said.iter().all(|token| set.contains(&token.parse().expect("it was read"))));
    assert_eq!(set.to_string().parse::<ScopeSet>().expect("what was printed can be read"), set);
}
