//! The spoken form of an answer is merged into the answer.
//!
//! A *supplement* is an assistant message of blocks other than text (the audio), with a marker that says which text
//! was spoken: the text itself, or its SHA-256. Its *partner* is the nearest earlier assistant message with that text.
//! The blocks move to the partner; a supplement without a partner stays what it is.

use std::collections::HashMap;

use sha2::{Digest as _, Sha256};

use super::{block, forwarded, sanitise::text_block, text_source};
use crate::json::{Fields, Object, Value, text::trim};

/// Merges supplements into their partners.
pub fn merge(messages: Vec<Object>) -> Vec<Object> {
    if !messages.iter().any(is_supplement) {
        return messages;
    }
    let mut merged: Vec<Object> = Vec::with_capacity(messages.len());
    // The last message of each text.
    let mut latest = HashMap::new();
    for message in messages {
        match Marker::of(&message).filter(|_| is_supplement(&message)).and_then(|marker| marker.place_in(&latest)) {
            Some(partner) => adopt(&mut merged[partner], message),
            None => {
                if let Some(text) = spoken_text(&message) {
                    latest.insert(digest_of(&text), merged.len());
                }
                merged.push(message);
            }
        }
    }
    merged
}

/// Which text a supplement speaks, by its digest.
struct Marker {
    digest: Option<String>,
    spoken: Option<String>,
}

impl Marker {
    fn of(message: &Object) -> Option<Self> {
        let marker = message.object("openclawTtsSupplement")?;
        let digest = marker.trimmed("textSha256").map(str::to_owned);
        let spoken = marker.trimmed("spokenText").map(digest_of);
        (digest.is_some() || spoken.is_some()).then_some(Self { digest, spoken })
    }

    /// The latest of the places where this text stands.
    fn place_in(&self, latest: &HashMap<String, usize>) -> Option<usize> {
        let place = |digest: &Option<String>| latest.get(digest.as_ref()?).copied();
        place(&self.digest).max(place(&self.spoken))
    }
}

/// Whether a message has a marker, holds audio, and no words of its own.
fn is_supplement(message: &Object) -> bool {
    if Marker::of(message).is_none() || block::role(message) != "assistant" {
        return false;
    }
    let blocks = || block::blocks(message).iter().filter(|block| block.is_object());
    let is_silent = |block: &Value| {
        let text = block.as_object().and_then(|block| block.text("text")).map_or("", trim);
        text.is_empty() || text == "Audio reply"
    };
    let is_text = |block: &&Value| block::kind(block) == Some("text");
    blocks().any(|block| !is_text(&block)) && blocks().filter(is_text).all(is_silent)
}

/// What an assistant message says, if it can be a partner.
fn spoken_text(message: &Object) -> Option<String> {
    let is_partner =
        block::role(message) == "assistant" && !forwarded::is_shown(message) && Marker::of(message).is_none();
    block::whole_text(message).filter(|_| is_partner)
}

/// Moves the audio of a supplement to its partner.
fn adopt(partner: &mut Object, mut supplement: Object) {
    let Some(Value::Array(blocks)) = supplement.take("content") else { return };
    let audio = blocks.into_iter().filter(|block| block.is_object() && block::kind(block) != Some("text"));
    if let Some(Value::Array(own)) = partner.member_mut("content") {
        own.extend(audio);
        return;
    }
    let text = block::lines_of(text_source(partner));
    let text = Some(trim(&text)).filter(|text| !text.is_empty()).map(text_block);
    let content: Vec<Value> = text.into_iter().chain(audio).collect();
    partner.set("content", content);
}

/// In hexadecimal.
fn digest_of(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}
