//! What a channel put in front of a user's text, a bracketed header, and lines that hold nothing but a message id.

use std::borrow::Cow;

use crate::json::text::{is_space, trim, trim_start};

const CHANNELS: [&str; 12] = [
    "WebChat ",
    "WhatsApp ",
    "Telegram ",
    "Signal ",
    "Slack ",
    "Discord ",
    "Google Chat ",
    "iMessage ",
    "Teams ",
    "Matrix ",
    "Zalo ",
    "Zalo Personal ",
];

pub fn strip(text: &str) -> Cow<'_, str> {
    without_message_ids(without_header(text))
}

/// Drops one header and the space after it.
fn without_header(text: &str) -> &str {
    let header = text.strip_prefix('[').and_then(|text| text.split_once(']'));
    match header {
        Some((header, rest)) if is_header(header) => trim_start(rest),
        _ => text,
    }
}

fn is_header(header: &str) -> bool {
    has_time(header, b"dddd-dd-ddTdd:ddZ")
        || has_time(header, b"dddd-dd-dd dd:dd")
        || CHANNELS.iter().any(|channel| header.starts_with(channel))
}

/// Whether a time of this shape (`d` for a digit) stands in the header and no word goes on after it.
fn has_time(header: &str, shape: &[u8]) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    header
        .as_bytes()
        .windows(shape.len())
        .enumerate()
        .any(|(at, window)| fits(window, shape) && !header.as_bytes().get(at + shape.len()).is_some_and(is_word))
}

/// Whether a text begins with this shape: `d` for a digit, `a` for a letter.
pub fn fits(text: &[u8], shape: &[u8]) -> bool {
    text.len() >= shape.len()
        && text.iter().zip(shape).all(|(byte, shape)| match shape {
            b'a' => byte.is_ascii_alphabetic(),
            b'd' => byte.is_ascii_digit(),
            _ => byte == shape,
        })
}

const TAG: &str = "[message_id:";

/// Drops the lines of message ids that are not in a block of code. If there are any, the other lines end in `\n`.
fn without_message_ids(text: &str) -> Cow<'_, str> {
    let starts_with_tag = |text: &str| text.get(..TAG.len()).is_some_and(|start| start.eq_ignore_ascii_case(TAG));
    if !memchr::memchr_iter(b'[', text.as_bytes()).any(|at| starts_with_tag(&text[at..])) {
        return Cow::Borrowed(text);
    }
    let is_hint = |line: &str| {
        let line = trim(line);
        let id = line.strip_suffix(']').filter(|line| starts_with_tag(line)).map(|line| &line[TAG.len()..]);
        id.is_some_and(|id| !id.is_empty() && !id.contains(']'))
    };
    let normal = text.replace("\r\n", "\n");
    let mut code = Code::default();
    let kept: Vec<&str> = normal.split('\n').filter(|line| code.holds(line) || !is_hint(line)).collect();
    if kept.len() == normal.split('\n').count() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(kept.join("\n"))
}

/// Which lines are code (CommonMark sections 4.4 and 4.5), from the first to the last.
#[derive(Default)]
struct Code<'t> {
    fence: Option<&'t str>,
    /// The line before is of a paragraph, which an indented line continues.
    in_paragraph: bool,
}

impl<'t> Code<'t> {
    fn holds(&mut self, line: &'t str) -> bool {
        let (content, indent) = unindented(line);
        let fence = fence_of(content).filter(|_| indent < 4);
        if let Some(open) = self.fence {
            let closes = fence.is_some_and(|fence| fence.starts_with(open) && trim(content) == fence);
            if closes {
                self.fence = None;
            }
            return true;
        }
        self.fence = fence;
        let is_blank = content.chars().all(is_space);
        let is_code = fence.is_some() || indent >= 4 && !self.in_paragraph && !is_blank;
        self.in_paragraph = !is_code && !is_blank;
        is_code
    }
}

/// The line without the space it begins with, and how wide that is.
fn unindented(line: &str) -> (&str, usize) {
    let content = line.trim_start_matches([' ', '\t']);
    let indent = line[..line.len() - content.len()].bytes();
    (content, indent.fold(0, |width, byte| if byte == b'\t' { width / 4 * 4 + 4 } else { width + 1 }))
}

/// The marks of a fence at the start of a line.
fn fence_of(line: &str) -> Option<&str> {
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let rest = line.trim_start_matches(mark);
    let marks = &line[..line.len() - rest.len()];
    (marks.len() >= 3 && !(mark == '`' && rest.contains('`'))).then_some(marks)
}

#[cfg(test)]
mod tests {
    use super::strip;

    #[test]
    fn a_header_of_a_channel_or_a_time_is_dropped() {
        for (text, left) in [
            ("[WhatsApp Ann +1 2026-01-02 10:00] hi", "hi"),
            ("[Sat 2026-01-03T10:00Z]\n hi", "hi"),
            ("[Zalo Personal Ann] hi", "hi"),
            ("[2026-01-02 10:00x] hi", "[2026-01-02 10:00x] hi"),
            ("[Telegram] hi", "[Telegram] hi"),
            ("[] hi", "[] hi"),
            (" [Slack a] hi", " [Slack a] hi"),
            ("[Slack a] [Slack b] hi", "[Slack b] hi"),
        ] {
            assert_eq!(strip(text), left, "{text}");
        }
    }

    #[test]
    fn lines_of_message_ids_are_dropped_but_in_code() {
        for (text, left) in [
            ("a\n [MESSAGE_ID: 7 ] \r\nb", "a\nb"),
            ("[message_id:]\r\nb", "[message_id:]\r\nb"),
            ("a [message_id: 7]", "a [message_id: 7]"),
            ("[message_id: 7]x]", "[message_id: 7]x]"),
            ("```\n[message_id: 7]\n```\n[message_id: 8]", "```\n[message_id: 7]\n```"),
            ("a\n\n    [message_id: 7]", "a\n\n    [message_id: 7]"),
            ("a\n    [message_id: 7]", "a"),
            ("~~~~\n~~~\n[message_id: 7]\n~~~~~\n[message_id: 8]", "~~~~\n~~~\n[message_id: 7]\n~~~~~"),
        ] {
            assert_eq!(strip(text), left, "{text}");
        }
    }
}
