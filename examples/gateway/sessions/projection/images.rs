//! Images whose data is left out get a name by which they can be asked for.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{META, block, seq};
use crate::json::{Fields, Object, Value, Write as _, text};

const PREFIX: &str = "artifact_transcript_image_";
const LONGEST_ID: usize = 1024;
const LONGEST_SOURCE: usize = 128;

/// Where an image stands, as its name says it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Reference<'a> {
    source: &'a str,
    raw_seq: u64,
    message_id: &'a str,
    message_seq: u64,
    content_index: usize,
}

impl<'a> Reference<'a> {
    /// That of the message itself.
    fn of(message: &'a Object) -> Option<Self> {
        let meta = message.object(META)?;
        let position = meta.object("transcriptPosition")?;
        let source = position.text("source").filter(|source| (1..=LONGEST_SOURCE).contains(&text::units(source)))?;
        let message_id = meta.text("id").filter(|id| (1..=LONGEST_ID).contains(&text::units(id)))?;
        let raw_seq = position.member("rawSeq")?.as_u64()?;
        Some(Self { source, raw_seq, message_id, message_seq: seq(message)?, content_index: 0 })
    }

    fn name(&self) -> String {
        PREFIX.to_owned() + &BASE64_URL_SAFE_NO_PAD.encode(self.to_json())
    }
}

/// Names the images of a message that carries their data and says where it is stored.
pub fn name(message: &mut Object) {
    let displayed = block::is_assistant(message) && message.array("openclawDisplayContent").is_some();
    let field = if displayed { "openclawDisplayContent" } else { "content" };
    let Some(content) = message.array(field) else { return };
    let images = content.iter().enumerate().filter(|(_, block)| carries_image(block)).map(|(at, _)| at);
    let images: Vec<usize> = images.collect();
    if images.is_empty() {
        return;
    }
    let Some(reference) = Reference::of(message) else { return };
    let names: Vec<_> =
        images.into_iter().map(|at| (at, Reference { content_index: at, ..reference }.name())).collect();
    if let Some(Value::Array(content)) = message.get_mut(field) {
        for (at, name) in names {
            if let Value::Object(block) = &mut content[at] {
                block.set("artifactId", name);
            }
        }
    }
}

fn carries_image(block: &Value) -> bool {
    let Some(block) = block.as_object() else { return false };
    let has_data = |object: &Object| object.text("data").is_some_and(|data| !data.is_empty());
    block.says("type", "image")
        && (has_data(block) || block.object("source").is_some_and(has_data))
        && block.trimmed("url").is_none()
}
