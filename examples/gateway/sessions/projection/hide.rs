//! What is no part of the conversation is hidden: heartbeats, announcements, empty turns, and copies of what is shown.

use super::{META, block, forwarded, heartbeat, meta_mut, provenance::Provenance, text_source};
use crate::json::{Fields, Object, text::trim};

/// Hides messages. What follows a hidden heartbeat is marked as the start of a turn; `pending` says that one is hidden
/// before the first message, and the answer whether one is at the end.
pub fn hide(messages: Vec<Object>, mut pending: bool) -> (Vec<Object>, bool) {
    let mut shown = Vec::with_capacity(messages.len());
    // Copies are of the message before them, shown or not.
    let mut previous: Option<Object> = None;
    let mut messages = messages.into_iter().peekable();
    let has_mirrors = |message: &Object| openclaw_model(message).is_some();
    while let Some(mut message) = messages.next() {
        let is_prompt = heartbeat::is_prompt(&message);
        let acknowledges = |next: &Object| heartbeat::is_acknowledgement(next) && !forwarded::is_shown(next);
        if is_prompt && messages.next_if(acknowledges).is_some() {
            pending = true;
            previous = None;
            continue;
        }
        // Kept only where the next one may be a copy.
        let copy = messages.peek().is_some_and(has_mirrors).then(|| message.clone());
        if is_hidden(&message, is_prompt) {
            pending |= is_prompt && !forwarded::is_input(&message);
        } else if !previous.as_ref().is_some_and(|previous| is_copy(&message, previous)) {
            if pending && !matches!(&*block::role(&message), "" | "system" | "custom") {
                meta_mut(&mut message).set("turnBoundary", true);
                pending = false;
            }
            shown.push(message);
        }
        previous = copy;
    }
    (shown, pending)
}

/// Whether a message is the hidden prompt of a heartbeat, after which a turn begins.
pub fn is_turn_boundary(message: &Object) -> bool {
    !forwarded::is_input(message) && heartbeat::is_prompt(message)
}

fn is_hidden(message: &Object, is_prompt: bool) -> bool {
    let is_context = message.says("role", "custom") && message.says("customType", "openclaw.runtime-context");
    if message.is("display", false) || is_context {
        return true;
    }
    if forwarded::is_shown(message) {
        return false;
    }
    match &*block::role(message) {
        "user" => {
            Provenance::of(message).is_some_and(Provenance::is_report)
                || is_announcement(message)
                || block::is_blank(text_source(message)) && !block::has_media_facts(message)
                || is_prompt
        }
        "assistant" => !block::is_blank(text_source(message)) && heartbeat::is_acknowledgement(message),
        _ => false,
    }
}

/// What an agent announces to the one that began it, by its text.
fn is_announcement(message: &Object) -> bool {
    let text = block::lines_of(text_source(message));
    text.contains("[Inter-session message]") && text.contains("sourceTool=subagent_announce")
}

fn openclaw_model(message: &Object) -> Option<&str> {
    message.text("model").filter(|_| block::is_assistant(message) && message.says("provider", "openclaw"))
}

/// Whether a message of the gateway's own says what the one before it says.
fn is_copy(message: &Object, previous: &Object) -> bool {
    match openclaw_model(message) {
        Some("gateway-injected") => openclaw_model(previous) == Some("acp-runtime") && says_the_same(message, previous),
        Some("delivery-mirror") => is_mirror(message, previous),
        _ => false,
    }
}

/// Whether a message is what was delivered to a channel of the answer before it.
fn is_mirror(message: &Object, previous: &Object) -> bool {
    let Some(mirror) = message.object("openclawDeliveryMirror").filter(|mirror| mirror.says("kind", "channel-final"))
    else {
        return false;
    };
    if block::role(previous) != "assistant"
        || openclaw_model(previous) == Some("delivery-mirror")
        || forwarded::is_shown(previous)
    {
        return false;
    }
    let meta = previous.object(META);
    match mirror.text("sourceAssistantMessageId") {
        Some(source) => {
            let answer = |message| block::answer(message).map(|text| trim(&text).to_owned());
            !source.is_empty()
                && meta.and_then(|meta| meta.text("id")) == Some(source)
                && !block::has_displayable_other(previous)
                && !block::has_other(message)
                && !block::has_media_facts(previous)
                && !block::has_media_facts(message)
                && answer(previous).is_some_and(|text| !text.is_empty() && Some(text) == answer(message))
        }
        None => meta.and_then(|meta| meta.trimmed("mirrorIdentity")).is_some() && says_the_same(message, previous),
    }
}

fn says_the_same(message: &Object, previous: &Object) -> bool {
    !block::has_other(previous)
        && !block::has_other(message)
        && block::whole_text(message).is_some_and(|text| block::whole_text(previous) == Some(text))
}
