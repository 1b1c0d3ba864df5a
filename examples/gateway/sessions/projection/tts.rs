//! Rule F: the spoken form of an answer is merged into the answer.
//!
//! A *supplement* is an assistant message of blocks other than text (the audio), with a marker
//! that says which text was spoken: the text itself, or its SHA-256. Its *partner* is the nearest
//! earlier assistant message with that text. The blocks move to the partner; a supplement without
//! a partner stays what it is.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{Dependency, Preceding, Projected, assistant, block, role};
use crate::json::{Object, Text, Value, wtf8};

/// The field by which a supplement is known. A record without this text in it is none.
pub const MARKER: &str = "openclawTtsSupplement";

/// Which text a supplement speaks.
///
/// Texts are told apart by their digest, as UTF-8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupplementKey {
    digest: Option<Digest>,
    spoken: Option<Digest>,
}

type Digest = [u8; 32];

impl SupplementKey {
    /// The key of a message with a marker.
    pub fn of(message: &Object<'_>) -> Option<Self> {
        let marker = message.object(MARKER)?;
        let digest = marker.opt_string("textSha256");
        let spoken = marker.opt_string("spokenText");
        if digest.is_none() && spoken.is_none() {
            return None;
        }
        Some(Self { digest: digest.and_then(|hex| from_hex(hex.as_wtf8())), spoken: spoken.as_ref().map(sha256) })
    }

    /// The latest of the places where this text stands.
    fn place_in(&self, latest: &HashMap<Digest, usize>) -> Option<usize> {
        let place = |digest: &Option<Digest>| latest.get(digest.as_ref()?).copied();
        place(&self.digest).max(place(&self.spoken))
    }
}

/// Merges supplements into their partners.
///
/// `later` are the supplements that come after the list, by position. They are not merged, but
/// show which messages another one may still be merged into.
pub fn merge<'a>(messages: Vec<Object<'a>>, before: Preceding, later: &[(usize, SupplementKey)]) -> Vec<Projected<'a>> {
    if later.is_empty() && !messages.iter().any(|message| message.contains(MARKER)) {
        return messages.into_iter().map(Projected::surely).collect();
    }
    let mut shown: Vec<Projected<'a>> = Vec::with_capacity(messages.len());
    let mut latest = HashMap::new();
    for message in messages {
        let Some(key) = SupplementKey::of(&message) else {
            if let Some(text) = spoken_text(&message) {
                latest.insert(sha256(&text), shown.len());
            }
            shown.push(Projected::surely(message));
            continue;
        };
        if !is_supplement(&message) {
            shown.push(Projected::surely(message));
        } else if let Some(partner) = key.place_in(&latest) {
            adopt(&mut shown[partner].message, message);
        } else {
            let depends_on = (before == Preceding::Unknown).then_some(Dependency::PartnerBefore);
            shown.push(Projected { message, depends_on });
        }
    }
    for (position, key) in later {
        if let Some(partner) = key.place_in(&latest) {
            shown[partner].depends_on.get_or_insert(Dependency::SupplementAfter(*position));
        }
    }
    shown
}

/// Whether a message with a marker holds audio and no words of its own.
fn is_supplement(message: &Object<'_>) -> bool {
    let blocks = message.array("content").unwrap_or_default();
    role::is(message, "assistant")
        && blocks.iter().any(block::is_not_text)
        && blocks.iter().filter_map(block::text).map(Text::trim).all(|text| text.is_empty() || text == "Audio reply")
}

/// The trimmed text of an assistant message, whatever other blocks it has, if there is any.
fn spoken_text(message: &Object<'_>) -> Option<Text<'static>> {
    if !role::is(message, "assistant") {
        return None;
    }
    let text = match message.get("content") {
        Some(Value::String(text)) => text.as_wtf8().to_vec(),
        Some(Value::Array(blocks)) => assistant::join_lines(blocks.iter().filter_map(block::text)),
        _ => message.text("text")?.as_wtf8().to_vec(),
    };
    Text::from_wtf8(wtf8::trim(&text).to_vec()).opt_string().map(Text::into_owned)
}

/// Moves the audio of a supplement to its partner.
fn adopt<'a>(partner: &mut Object<'a>, mut supplement: Object<'a>) {
    let Some(Value::Array(blocks)) = supplement.remove("content") else {
        return;
    };
    let audio = blocks.into_iter().filter(block::is_not_text);
    if let Some(Value::Array(own)) = partner.get_mut("content") {
        own.extend(audio);
    } else if let Some(text) = spoken_text(partner) {
        let text = Object::from([("type", Value::from("text")), ("text", text.into())]);
        let content = std::iter::once(text.into()).chain(audio).collect();
        partner.insert("content", Value::Array(content));
    }
}

fn sha256(text: &Text<'_>) -> Digest {
    Sha256::digest(text.to_utf8().as_bytes()).into()
}

/// Reads 64 digits in lower case.
fn from_hex(hex: &[u8]) -> Option<Digest> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let mut digest = Digest::default();
    if hex.len() != 2 * digest.len() {
        return None;
    }
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    const HELLO: &str = r#"{"role":"assistant","content":" Hello "}"#;
    const HELLO_TEXT: &str = r#"{"role":"assistant","text":"Hello"}"#;
    const HELLO_BLOCKS: &str = r#"{"role":"Assistant","content":[{"type":"text","text":"Hello"},{"type":"x"}]}"#;
    const SPOKEN: &str = r#"{"role":"assistant","content":[{"type":"text","text":" Audio reply "},{"type":"audio"}],"openclawTtsSupplement":{"spokenText":" Hello "}}"#;
    const DIGEST: &str = r#"{"role":"Assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"textSha256":" 185f8db32271fe25f561a6fc938b2e264306ec304eda518007d1764826381969 ","spokenText":"x"}}"#;
    const MERGED: &str = r#"{"role":"assistant","content":[{"type":"text","text":"Hello"},{"type":"audio"}]}"#;
    const MERGED_TEXT: &str =
        r#"{"role":"assistant","text":"Hello","content":[{"type":"text","text":"Hello"},{"type":"audio"}]}"#;
    const MERGED_BLOCKS: &str =
        r#"{"role":"Assistant","content":[{"type":"text","text":"Hello"},{"type":"x"},{"type":"audio"}]}"#;
    const X: &str = r#"{"role":"assistant","content":"x"}"#;
    const MERGED_X: &str = r#"{"role":"assistant","content":[{"type":"text","text":"x"},{"type":"audio"}]}"#;
    const USER: &str = r#"{"role":"user","content":"Hello"}"#;

    fn merged(list: &[&str], before: Preceding, later: &[&str]) -> Vec<Projected<'static>> {
        let keys = table::objects(later);
        let later: Vec<_> = keys.iter().filter_map(SupplementKey::of).enumerate().collect();
        merge(table::objects(list), before, &later)
    }

    #[test]
    fn supplements_join_the_nearest_earlier_answer() {
        for (list, expected) in [
            (&[HELLO, SPOKEN][..], &[MERGED][..]),
            (&[HELLO, DIGEST], &[MERGED]),
            (&[HELLO_TEXT, USER, SPOKEN], &[MERGED_TEXT, USER]),
            (&[HELLO, HELLO_BLOCKS, SPOKEN], &[HELLO, MERGED_BLOCKS]),
            (&[HELLO, SPOKEN, HELLO_TEXT, DIGEST], &[MERGED, MERGED_TEXT]),
            (&[X, HELLO, DIGEST], &[X, MERGED]),
            (&[HELLO, X, DIGEST], &[HELLO, MERGED_X]),
            (&[SPOKEN, HELLO], &[SPOKEN, HELLO]),
            (&[USER, SPOKEN], &[USER, SPOKEN]),
        ] {
            let messages: Vec<_> = merged(list, Preceding::None, &[]).into_iter().map(|shown| shown.message).collect();
            assert_eq!(messages, table::objects(expected), "{list:?}");
        }
    }

    #[test]
    fn what_is_no_supplement_stays() {
        for message in [
            r#"{"role":"assistant","content":[{"type":"text","text":"other"},{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#,
            r#"{"role":"assistant","content":[{"type":"text","text":"Audio reply"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#,
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":5}}"#,
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":["Hello"]}"#,
            r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"textSha256":"185F8DB32271FE25F561A6FC938B2E264306EC304EDA518007D1764826381969"}}"#,
            r#"{"role":"user","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#,
        ] {
            let messages: Vec<_> =
                merged(&[HELLO, message], Preceding::None, &[]).into_iter().map(|shown| shown.message).collect();
            assert_eq!(messages, table::objects(&[HELLO, message]), "{message}");
        }
    }

    #[test]
    fn doubts_tell_where_a_partner_may_be() {
        let doubts = |list, before, later| -> Vec<_> {
            merged(list, before, later).into_iter().map(|shown| shown.depends_on).collect()
        };
        assert_eq!(doubts(&[USER, SPOKEN], Preceding::Unknown, &[]), [None, Some(Dependency::PartnerBefore)]);
        assert_eq!(doubts(&[USER, SPOKEN], Preceding::None, &[]), [None, None]);
        assert_eq!(doubts(&[HELLO, SPOKEN], Preceding::Unknown, &[]), [None]);
        let other = r#"{"openclawTtsSupplement":{"spokenText":"other"}}"#;
        assert_eq!(
            doubts(&[HELLO, HELLO, USER], Preceding::None, &[other, SPOKEN, DIGEST]),
            [None, Some(Dependency::SupplementAfter(1)), None]
        );
    }
}
