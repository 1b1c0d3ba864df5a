//! The `Forwarded` header (RFC 7239 section 4).
//!
//! It is read from the right, as proxies append to it: whatever a client has written further to the
//! left, an open quotation included, changes nothing in how an appended element is read.

use std::{borrow::Cow, net::IpAddr};

use super::client;

/// The elements of a field line, the last one first.
pub(super) fn elements_from_right(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut left = Some(line);
    std::iter::from_fn(move || {
        let line = left?;
        let comma = last_unquoted_comma(line);
        left = comma.map(|comma| &line[..comma]);
        Some(comma.map_or(line, |comma| &line[comma + 1..]))
    })
}

fn last_unquoted_comma(line: &[u8]) -> Option<usize> {
    let mut quoted = false;
    (0..line.len()).rev().find(|&at| {
        quoted ^= line[at] == b'"' && !(quoted && is_escaped(line, at));
        line[at] == b',' && !quoted
    })
}

/// Whether an odd number of backslashes stands before the character.
fn is_escaped(line: &[u8], at: usize) -> bool {
    line[..at].iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1
}

/// The address that an element names by its one `for`. None for one that is obfuscated (section 6.3),
/// `unknown` or breaks the syntax.
pub(super) fn client(element: &[u8]) -> Option<IpAddr> {
    let mut pairs = std::str::from_utf8(element).ok()?;
    let mut node = None;
    while !pairs.is_empty() {
        let (name, rest) = pairs.split_once('=')?;
        let (value, rest) = value(rest)?;
        if name.trim().eq_ignore_ascii_case("for") && node.replace(value).is_some() {
            return None;
        }
        pairs = rest;
    }
    let node = node?;
    // An IPv6 address has brackets (section 6): without them its end could be a port.
    let is_bare_v6 = !node.starts_with('[') && node.matches(':').count() > 1;
    client::address(node.as_bytes()).filter(|_| !is_bare_v6)
}

/// A value, and the pairs behind it.
fn value(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let (token, rest) = text.split_once(';').unwrap_or((text, ""));
        return Some((token.trim_end().into(), rest));
    };
    let mut unescaped = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => {
                let rest = quoted[at + 1..].trim();
                let rest = if rest.is_empty() { rest } else { rest.strip_prefix(';')? };
                return Some((unescaped.into(), rest));
            }
            '\\' => unescaped.push(characters.next()?.1),
            _ => unescaped.push(character),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_parted_by_commas_outside_of_quotations() {
        for (line, elements) in [
            ("a", vec!["a"]),
            ("a,b", vec!["b", "a"]),
            ("a,", vec!["", "a"]),
            (r#"a="x,y",b"#, vec!["b", r#"a="x,y""#]),
            (r#"a="x\",y",b"#, vec!["b", r#"a="x\",y""#]),
            (r#"a="x\\",b="y""#, vec![r#"b="y""#, r#"a="x\\""#]),
        ] {
            assert_eq!(
                elements_from_right(line.as_bytes()).collect::<Vec<_>>(),
                elements.iter().map(|element| element.as_bytes()).collect::<Vec<_>>(),
                "{line}"
            );
        }
    }

    #[test]
    fn an_element_names_an_address_by_its_one_for() {
        for (element, address) in [
            ("for=192.0.2.43", "192.0.2.43"),
            (" FOR=192.0.2.43 ", "192.0.2.43"),
            (r#"for="192.0.2.43:47011""#, "192.0.2.43"),
            (r#"For="[2001:db8:cafe::17]:4711""#, "2001:db8:cafe::17"),
            (r#"for="[2001:db8::17]:_obf""#, "2001:db8::17"),
            (r#"for="192.0.2\.43""#, "192.0.2.43"),
            ("for=192.0.2.60;proto=http; by=203.0.113.43", "192.0.2.60"),
            (r#"host="a;for=6.6.6.6";for=192.0.2.60"#, "192.0.2.60"),
            (r#"for="[::ffff:192.0.2.1]""#, "192.0.2.1"),
        ] {
            assert_eq!(client(element.as_bytes()), Some(address.parse().unwrap()), "{element}");
        }
    }

    #[test]
    fn any_other_element_names_nobody() {
        for element in [
            "",
            "for",
            "for=",
            "for=unknown",
            "for=_hidden",
            r#"for="_gazonk:80""#,
            "for=2001:db8::17",
            r#"for="2001:db8::17""#,
            "for=192.0.2.1;for=192.0.2.2",
            r#"for="192.0.2.1"#,
            r#"for="192.0.2.1"x"#,
            r#"for="192.0.2.1\"#,
            "by=192.0.2.1",
            "192.0.2.1",
            "for=192.0.2.1;;",
        ] {
            assert_eq!(client(element.as_bytes()), None, "{element}");
        }
        assert_eq!(client(b"for=192.0.2.1;x=\xff"), None);
    }
}
