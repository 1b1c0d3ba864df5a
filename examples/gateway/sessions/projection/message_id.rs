//! Rule A.4: lines in a user's text that hold nothing but a message id.

use std::borrow::Cow;

use crate::json::wtf8::{lines, trim};

const TAG: &[u8] = b"[message_id:";

/// Drops the hint lines. If there are any, the other lines end in `\n`.
pub fn strip(text: &[u8]) -> Cow<'_, [u8]> {
    let tags = memchr::memchr_iter(b'[', text).any(|at| starts_with_tag(&text[at..]));
    if !tags || !lines(text).any(is_hint) {
        return Cow::Borrowed(text);
    }
    let kept: Vec<&[u8]> = lines(text).filter(|line| !is_hint(line)).collect();
    Cow::Owned(kept.join(&b'\n'))
}

/// `[message_id: x]`, where x is anything but a closing bracket, blanks included.
fn is_hint(line: &[u8]) -> bool {
    let line = trim(line);
    starts_with_tag(line)
        && line[TAG.len()..]
            .split_last()
            .is_some_and(|(last, id)| *last == b']' && !id.is_empty() && !id.contains(&b']'))
}

fn starts_with_tag(text: &[u8]) -> bool {
    text.get(..TAG.len()).is_some_and(|start| start.eq_ignore_ascii_case(TAG))
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn lines_with_nothing_but_an_id_go() {
        table::texts(
            strip,
            &[
                ("hi\n[message_id: abc]", "hi"),
                ("[message_id: abc]\nhi", "hi"),
                ("hi\r\n  [MESSAGE_ID:1]  \r\nthere\r\n", "hi\nthere\n"),
                ("[message_id:  ]", ""),
                ("a\n\n[message_id: q]\n\nb", "a\n\n\nb"),
            ],
        );
    }

    #[test]
    fn other_lines_stay() {
        for text in [
            "hi [message_id: abc]",
            "a\n[message_id:]\nb",
            "a\n[message_id: x] y\nb",
            "a\n[message_id: x]]\nb",
            "a\r\n[message_id: z",
            "a\n[message_id: a\nb]\nc",
        ] {
            table::texts(strip, &[(text, text)]);
        }
    }
}
