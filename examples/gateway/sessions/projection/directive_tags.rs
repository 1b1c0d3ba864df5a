//! Tags with which a reply asks for a way of delivery: `[[audio_as_voice]]`,
//! `[[reply_to_current]]` and `[[reply_to: x]]`. They are taken out, and nothing is put in place.

use std::borrow::Cow;

use memchr::memmem::Finder;

use super::Words;
use crate::json::wtf8::{append, trim_end, trim_start};

/// Takes out first all tags of the one kind, then all of the other.
pub fn strip(text: &[u8]) -> Cow<'_, [u8]> {
    match without(text, after_audio_tag) {
        Cow::Borrowed(text) => without_reply_tags(text),
        Cow::Owned(text) => Cow::Owned(without_reply_tags(&text).into_owned()),
    }
}

fn without_reply_tags(text: &[u8]) -> Cow<'_, [u8]> {
    let mut closes = Closes { text, next: None };
    without(text, |tag| after_reply_tag(tag, &mut closes))
}

static OPENED: Words = Words::new(|| Finder::new("[["));

/// Takes out each tag that `after` recognises at the start of what it is shown, and steps over.
fn without<'t>(text: &'t [u8], mut after: impl FnMut(&'t [u8]) -> Option<&'t [u8]>) -> Cow<'t, [u8]> {
    let mut kept = Vec::new();
    let (mut done, mut from) = (0, 0);
    while let Some(open) = OPENED.find(&text[from..]).map(|at| from + at) {
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

fn after_reply_tag<'t>(text: &'t [u8], closes: &mut Closes<'t>) -> Option<&'t [u8]> {
    let name = trim_start(text.strip_prefix(b"[[")?);
    if let Some(rest) = strip_word(name, b"reply_to_current").and_then(|rest| trim_start(rest).strip_prefix(b"]]")) {
        return Some(rest);
    }
    let target = trim_start(strip_word(name, b"reply_to")?).strip_prefix(b":")?;
    closes.after_target(target)?.strip_prefix(b"]]")
}

/// The `]` of a text, for targets that are asked about from the front to the back.
///
/// Many targets can run up to one `]`, or to none. What stands before it is looked at once for them
/// all: a stranger's text of nothing but such targets costs no more than any other.
struct Closes<'t> {
    text: &'t [u8],
    next: Option<Close>,
}

/// The first `]` after a target. The places are counted in the text.
#[derive(Clone, Copy)]
struct Close {
    /// The length of the text if there is no `]`.
    at: usize,
    /// Where the whitespace before it begins.
    content_end: usize,
    /// The last newline before that.
    newline: Option<usize>,
}

impl<'t> Closes<'t> {
    /// What follows this target, from its `]` on. `target` begins the rest of the text.
    ///
    /// A target is one character or more without a newline, and whitespace of any kind around.
    fn after_target(&mut self, target: &'t [u8]) -> Option<&'t [u8]> {
        let start = self.text.len() - target.len();
        let close = match self.next {
            Some(close) if close.at >= start => close,
            _ => *self.next.insert(self.close_after(start)),
        };
        let is_target = if close.content_end <= start {
            // A blank can be the target itself, but not a newline.
            self.text[start..close.at].iter().any(|byte| *byte != b'\n')
        } else {
            let content = self.text.len() - trim_start(target).len();
            close.newline.is_none_or(|newline| newline < content)
        };
        (is_target && close.at < self.text.len()).then(|| &self.text[close.at..])
    }

    fn close_after(&self, start: usize) -> Close {
        let rest = &self.text[start..];
        let before = &rest[..memchr::memchr(b']', rest).unwrap_or(rest.len())];
        let content = trim_end(before);
        Close {
            at: start + before.len(),
            content_end: start + content.len(),
            newline: memchr::memrchr(b'\n', content).map(|at| start + at),
        }
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
    fn tags_that_never_end_cost_no_more_than_other_text() {
        let many = |text: &str| text.repeat(1_000_000 / text.len());
        let opened = many("[[reply_to:");
        table::is_linear(
            strip,
            &[
                format!("{opened}x"),
                format!("{opened}x]"),
                format!("{opened}x\ny]]"),
                format!("{opened}x\n{}y]]", many(" ")),
                format!("{opened}x\ny{}]]", many(" ")),
                format!("{}]]", many("[[reply_to:\n")),
                many("[[reply_to:x]"),
                many("[[ \n"),
                many("[[audio_as_voice"),
                many("["),
            ],
        );
    }

    #[test]
    fn halves_of_a_pair_join_where_a_tag_stood_between_them() {
        let text = [b"\xED\xA0\xBD".as_slice(), b"[[audio_as_voice]]", b"\xED\xB8\x80"].concat();
        assert_eq!(strip(&text), "\u{1f600}".as_bytes());
    }
}
