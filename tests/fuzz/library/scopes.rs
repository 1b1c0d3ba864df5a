//! What is read as a set of scopes is printed as the same set, holds no more than the text has between its spaces,
//! and is refused only where a scope breaks the syntax of RFC 6749 section 3.3.

use tower_reauth::{Scope, ScopeSet};

pub(crate) fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let tokens = || text.split(' ').filter(|token| !token.is_empty());
    let is_scope = |token: &str| token.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');

    let Ok(set) = text.parse::<ScopeSet>() else {
        assert!(!tokens().all(is_scope), "refused, though each scope is one");
        return;
    };
    assert!(tokens().all(is_scope), "taken, though one of the scopes is none");
    for token in tokens() {
        assert!(set.contains(&token.parse::<Scope>().expect("it was read")));
    }
    assert!(set.iter().all(|scope| tokens().any(|token| token == scope.as_str())));
    assert_eq!(set.to_string().parse::<ScopeSet>().expect("what was printed can be read"), set);
}
