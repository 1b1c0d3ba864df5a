//! Tags with which a reply asks for a way of delivery: `[[audio_as_voice]]`,
//! `[[reply_to_current]]` and `[[reply_to: x]]`. They are taken out, and nothing is put in place.

use std::borrow::Cow;

use memchr::memmem;

use crate::gateway::js::wtf8::{append, is_blank, trim, trim_start};

/// Takes out first all tags of the one kind, then all of the other.
pub fn strip(text: &[u8]) -> Cow<'_, [u8]> {
    match without(text, after_audio_tag) {
        Cow::Borrowed(text) => without(text, after_reply_tag),
        Cow::Owned(text) => Cow::Owned(without(&text, after_reply_tag).into_owned()),
    }
}

/// Takes out each tag that `after` recognises at the start of what it is shown, and steps over.
fn without(text: &[u8], after: fn(&[u8]) -> Option<&[u8]>) -> Cow<'_, [u8]> {
    let mut kept = Vec::new();
    let (mut done, mut from) = (0, 0);
    while let Some(open) = memmem::find(&text[from..], b"[[").map(|at| from + at) {
        match after(&text[open..]) {
            Some(rest) => {
                append(&mut kept, &text[done..open]);
                done = text.len() - rest.len();
                from = done;
            }
            None => from = open + 1,
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    append(&mut kept, &text[done..]);
    Cow::Owned(kept)
}

fn after_audio_tag(text: &[u8]) -> Option<&[u8]> {
    let name = trim_start(text.strip_prefix(b"[[")?);
    trim_start(strip_word(name, b"audio_as_voice")?).strip_prefix(b"]]")
}

fn after_reply_tag(text: &[u8]) -> Option<&[u8]> {
    let name = trim_start(text.strip_prefix(b"[[")?);
    if let Some(rest) = strip_word(name, b"reply_to_current").and_then(|rest| trim_start(rest).strip_prefix(b"]]")) {
        return Some(rest);
    }
    let target = trim_start(strip_word(name, b"reply_to")?).strip_prefix(b":")?;
    let close = memchr::memchr(b']', target)?;
    let (target, rest) = target.split_at(close);
    is_target(target).then_some(rest)?.strip_prefix(b"]]")
}

/// Whether this is one character or more without a newline, and whitespace of any kind around.
fn is_target(text: &[u8]) -> bool {
    match is_blank(text) {
        // A blank can be the target itself, but not a newline.
        true => text.iter().any(|byte| *byte != b'\n'),
        false => !trim(text).contains(&b'\n'),
    }
}

fn strip_word<'t>(text: &'t [u8], word: &[u8]) -> Option<&'t [u8]> {
    let (start, rest) = text.split_at_checked(word.len())?;
    start.eq_ignore_ascii_case(word).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn tags_go() {
        table::texts(
            strip,
            &[
                ("[[reply_to_current]] hi", " hi"),
                ("hi [[\n reply_to_current\u{a0}]]", "hi "),
                ("a [[AUDIO_AS_VOICE]] b", "a  b"),
                ("[[reply_to:abc]][[audio_as_voice]]hi", "hi"),
                ("[[Reply_To\u{a0}:\u{a0}x y]]z", "z"),
                ("[[reply_to: ]] x", " x"),
                ("[[reply_to:\nx\n]]y", "y"),
                ("[[[reply_to_current]]]", "[]"),
                ("[[reply_[[audio_as_voice]]to_current]]x", "x"),
            ],
        );
    }

    #[test]
    fn what_is_no_tag_stays() {
        for text in [
            "[[reply_to:]] x",
            "[[reply_to:\n]] x",
            "[[reply_to: a]b]] x",
            "[[reply_to: a\nb]] x",
            "[[reply_to_current] x",
            "[ [reply_to_current]] x",
            "[[reply_to_currently]] x",
            "[[audio as voice]] x",
            "[[",
        ] {
            table::texts(strip, &[(text, text)]);
        }
    }

    #[test]
    fn halves_of_a_pair_join_where_a_tag_stood_between_them() {
        let text = [b"\xED\xA0\xBD".as_slice(), b"[[audio_as_voice]]", b"\xED\xB8\x80"].concat();
        assert_eq!(strip(&text), "\u{1f600}".as_bytes());
    }
}
