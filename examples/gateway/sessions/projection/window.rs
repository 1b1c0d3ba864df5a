//! Projecting a stretch of a transcript, so that a page costs the page and not the transcript.
//!
//! What is shown of a message depends on messages around it, but not on many:
//!
//! - On what came before: whether a reply is pending (rule B), whether the message acknowledges a
//!   prompt or copies the message shown before it (rule E). [`project_window`] therefore begins
//!   its answer at the first message for which none of this can matter: one that is surely shown,
//!   after all that was pending has surely ended. From there on the answer is what a projection
//!   of the whole transcript would show, but for supplements (rule F).
//! - On what comes after: only on supplements.
//! - A supplement is merged into the nearest earlier answer with its text, however far away.
//!   Where that cannot be settled inside the window, the message carries a [`Dependency`].
//!
//! So a page is right when the window reaches over both its ends and none of its messages depends on
//! what is outside. For a [`Dependency`] a longer window is taken: `page` does this.

use super::{
    hide, mirrors, sanitise, strip,
    tts::{self, SupplementKey},
};
use crate::json::{Object, Value};

/// What the caller knows of the messages before a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preceding {
    /// There are none.
    None,
    /// There may be any.
    Unknown,
}

/// A message as a viewer sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Projected<'a> {
    pub message: Object<'a>,
    pub depends_on: Option<Dependency>,
}

/// Why a message may look different, or be gone, when more of the transcript is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// It is a supplement, and the answer it belongs to may stand before the window.
    PartnerBefore,
    /// The supplement at this position after the window may belong to it, and does unless an
    /// answer in between has the same text. It is the first such supplement.
    SupplementAfter(usize),
}

impl<'a> Projected<'a> {
    pub(super) fn surely(message: Object<'a>) -> Self {
        Self { message, depends_on: None }
    }
}

/// What a viewer sees of a stretch of a transcript.
///
/// `messages` is the stretch; `later` are all messages after it that have a [`SupplementKey`], by
/// their position, in order. (Only a record that contains
/// [`SUPPLEMENT_MARKER`](super::SUPPLEMENT_MARKER) can have one.)
///
/// With [`Preceding::None`] the answer begins where the transcript does. With
/// [`Preceding::Unknown`] it begins at the first message that is settled, so the stretch has to
/// begin some way before the page; how far is found by trying.
pub fn project_window<'a>(
    messages: Vec<Value<'a>>,
    before: Preceding,
    later: &[(usize, SupplementKey)],
    max_chars: usize,
) -> Vec<Projected<'a>> {
    let mut messages: Vec<Object<'a>> = messages.into_iter().filter_map(into_object).collect();
    messages.iter_mut().for_each(strip::strip);
    let mut messages = mirrors::insert(messages, before);
    sanitise::sanitise_all(&mut messages, None);
    let messages = hide::hide(messages, before);
    let mut shown = tts::merge(messages, before, later);
    shown.retain_mut(|shown| sanitise::sanitise_or_drop(&mut shown.message, Some(max_chars)));
    shown
}

fn into_object<'a>(message: Value<'a>) -> Option<Object<'a>> {
    match message {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

/// Random transcripts of awkward messages, to compare parts with the whole.
#[cfg(test)]
pub(super) mod awkward {
    use proptest::{prelude::*, sample::select};

    use super::*;
    use crate::sessions::projection::table;

    /// A user message that is always shown.
    pub const REAL: &str = r#"{"role":"user","content":"real"}"#;

    const PIECES: [&str; 31] = [
        REAL,
        REAL,
        r#"{"role":"user","content":" "}"#,
        r#"{"role":"user","content":"x","display":false}"#,
        r#"{"role":"user","content":"[OpenClaw heartbeat poll]"}"#,
        r#"{"role":"user","content":"[OpenClaw heartbeat poll]"}"#,
        r#"{"role":"USER","content":"not exactly a user"}"#,
        r#"{"role":"assistant","content":"HEARTBEAT_OK"}"#,
        r#"{"role":"assistant","content":""}"#,
        r#"{"role":"assistant","content":""}"#,
        r#"{"role":"assistant","content":"NO_REPLY"}"#,
        r#"{"role":"assistant","content":"NO_REPLY"}"#,
        r#"{"role":"assistant","content":"NO_REPLY"}"#,
        r#"{"role":"assistant","content":"[[audio[[audio_as_voice]]_as_voice]]NO_REPLY"}"#,
        r#"{"role":"assistant","content":"thinking aloud","phase":"commentary"}"#,
        r#"{"role":"assistant","content":[{"type":"toolCall","id":"c","name":"message","arguments":{"action":"send","message":"Hello"}}]}"#,
        r#"{"role":"assistant","content":[{"type":"text","text":"beside"},{"type":"toolCall","name":"message","arguments":{"action":"send","message":"ho"}}]}"#,
        r#"{"role":"toolResult","toolCallId":"c","content":"ok"}"#,
        r#"{"role":"toolResult","toolCallId":"c","content":"ok"}"#,
        r#"{"role":"toolResult","toolCallId":"c","content":"{\"ok\":false}"}"#,
        r#"{"role":"toolResult","content":"ok"}"#,
        r#"{"role":"assistant","content":"a","provider":"openclaw","model":"acp-runtime"}"#,
        r#"{"role":"assistant","content":"a","provider":"openclaw","model":"gateway-injected"}"#,
        r#"{"role":"assistant","content":"","provider":"openclaw","model":"gateway-injected"}"#,
        r#"{"role":"assistant","content":"Hello"}"#,
        r#"{"role":"assistant","content":"A text of more than twenty characters"}"#,
        r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"Hello"}}"#,
        r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"textSha256":"ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"}}"#,
        r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"A text of more than twenty characters"}}"#,
        r#"{"role":"assistant","content":[{"type":"audio"}],"openclawTtsSupplement":{"spokenText":"beside"}}"#,
        "",
    ];

    /// How long text may be in these tests.
    pub const MAX_CHARS: usize = 20;

    /// A transcript: messages with their seq, and some that are no objects.
    pub fn transcript() -> impl Strategy<Value = Vec<Value<'static>>> {
        prop::collection::vec(select(&PIECES[..]), 0..40).prop_map(|pieces| {
            let mut transcript = Vec::new();
            for piece in pieces {
                transcript.push(match piece {
                    "" => Value::Bool(true),
                    json => numbered(json, transcript.len()),
                });
            }
            transcript
        })
    }

    /// The message, as it would be read at this position.
    pub fn numbered(json: &str, position: usize) -> Value<'static> {
        let mut message = table::object(json);
        message.insert("__openclaw", Object::from([("seq", position as f64 + 1.0)]));
        message.into()
    }

    pub fn supplements(transcript: &[Value<'_>]) -> Vec<(usize, SupplementKey)> {
        let keys = transcript.iter().map(|message| SupplementKey::of(message.as_object()?));
        keys.enumerate().filter_map(|(at, key)| Some((at, key?))).collect()
    }

    pub fn config() -> ProptestConfig {
        ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::{super::page::seq, awkward::MAX_CHARS, *};

    fn window(transcript: &[Value<'static>], start: usize, end: usize) -> Vec<Projected<'static>> {
        let before = if start == 0 { Preceding::None } else { Preceding::Unknown };
        let mut later = awkward::supplements(transcript);
        later.retain(|(at, _)| *at >= end);
        project_window(transcript[start..end].to_vec(), before, &later, MAX_CHARS)
    }

    proptest! {
        #![proptest_config(awkward::config())]

        #[test]
        fn a_window_shows_the_tail_of_what_everything_before_its_end_shows(
            transcript in awkward::transcript(),
            cuts in any::<[Index; 2]>(),
        ) {
            let mut cuts = cuts.map(|cut| cut.index(transcript.len() + 1));
            cuts.sort_unstable();
            let [start, end] = cuts;
            let mut all = window(&transcript, 0, end);
            let mut part = window(&transcript, start, end);
            while let Some(shown) = part.pop() {
                if shown.depends_on == Some(Dependency::PartnerBefore) {
                    // Either it is merged into a message before the window, or it is there too.
                    if all.last().is_some_and(|last| last.message == shown.message) {
                        all.pop();
                    }
                } else {
                    prop_assert_eq!(all.pop(), Some(shown));
                }
            }
        }

        #[test]
        fn messages_before_a_cut_look_the_same_whatever_follows_but_for_their_doubts(
            transcript in awkward::transcript(),
            cut in any::<Index>(),
        ) {
            let end = cut.index(transcript.len() + 1);
            let whole = window(&transcript, 0, transcript.len());
            let part = window(&transcript, 0, end);
            prop_assert!(part.len() <= whole.len());
            for (before, after) in part.into_iter().zip(whole) {
                match before.depends_on {
                    None => prop_assert_eq!(before, after),
                    Some(_) => prop_assert_eq!(seq(&before.message), seq(&after.message)),
                }
            }
        }

        #[test]
        fn a_plain_user_message_is_always_settled(
            transcript in awkward::transcript(),
            start in any::<Index>(),
        ) {
            let start = start.index(transcript.len() + 1);
            let shown = window(&transcript, start, transcript.len());
            let real = awkward::numbered(awkward::REAL, 0);
            let plain = real.as_object().and_then(|real| real.text("content"));
            for (at, message) in transcript.iter().enumerate().skip(start) {
                if message.as_object().is_some_and(|message| message.text("content") == plain) {
                    let found = shown.iter().any(|shown| seq(&shown.message) == Some(at as u64 + 1));
                    prop_assert!(found, "message {} is missing", at);
                }
            }
        }
    }
}
