//! Rule A.3: the envelope, a bracketed header that a channel put in front of a user's text.

use std::borrow::Cow;

use crate::json::wtf8::{is_word, trim_start};

const CHANNELS: [&[u8]; 12] = [
    b"WebChat ",
    b"WhatsApp ",
    b"Telegram ",
    b"Signal ",
    b"Slack ",
    b"Discord ",
    b"Google Chat ",
    b"iMessage ",
    b"Teams ",
    b"Matrix ",
    b"Zalo ",
    b"Zalo Personal ",
];

/// Drops one envelope and the whitespace after it from the start of the text.
pub fn strip(text: &[u8]) -> Cow<'_, [u8]> {
    let close = memchr::memchr(b']', text);
    match close.and_then(|close| Some((text[..close].strip_prefix(b"[")?, &text[close + 1..]))) {
        Some((header, rest)) if is_envelope(header) => Cow::Borrowed(trim_start(rest)),
        _ => Cow::Borrowed(text),
    }
}

fn is_envelope(header: &[u8]) -> bool {
    has_time(header, b"dddd-dd-ddTdd:ddZ")
        || has_time(header, b"dddd-dd-dd dd:dd")
        || CHANNELS.iter().any(|channel| header.starts_with(channel))
}

/// Whether a time of this shape (`d` for a digit) stands in the header and no word goes on after it.
fn has_time(header: &[u8], shape: &[u8]) -> bool {
    header.windows(shape.len()).enumerate().any(|(at, window)| {
        let fits = window.iter().zip(shape).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            _ => byte == shape,
        });
        fits && !header.get(at + shape.len()).is_some_and(|next| is_word(*next))
    })
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn one_envelope_goes() {
        table::texts(
            strip,
            &[
                ("[WebChat 2026-01-24 13:36] hello", "hello"),
                ("[Telegram Bob id:1] hi", "hi"),
                ("[Zalo Personal x]\n\u{a0} hi", "hi"),
                ("[Teams ] hi", "hi"),
                ("[2026-01-24T13:36Z]hi", "hi"),
                ("[x 2026-01-24 13:36 y] hi", "hi"),
                ("[x 12026-01-24 13:36] hi", "hi"),
                ("[Slack a\nb] hi", "hi"),
                ("[Slack a] [Slack b] hi", "[Slack b] hi"),
                ("[Slack [a] b] hi", "b] hi"),
            ],
        );
    }

    #[test]
    fn other_brackets_stay() {
        for text in [
            "[WebChat] hi",
            "[telegram Bob] hi",
            "[Foo bar] hi",
            "[2026-01-24T13:36:07Z] hi",
            "[2026-01-24T13:36Zulu] hi",
            "[2026-01-24 13:365] hi",
            " [Slack x] hi",
            "a [Slack x] hi",
            "[Slack x",
            "[]hi",
            "",
        ] {
            table::texts(strip, &[(text, text)]);
        }
    }
}
