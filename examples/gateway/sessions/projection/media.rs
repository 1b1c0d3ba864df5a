//! Pictures, sound and files: what they hold is left out, and what they are known by is made fit to be shown.

use url::Url;

use super::block;
use crate::json::{Fields, Object, Value, text};

/// Where the bytes are, or a place on this machine.
const PRIVATE: [&str; 6] = ["data", "blob", "path", "file", "filePath", "localPath"];
const REFERENCES: [&str; 5] = ["url", "openUrl", "image_url", "audio_url", "video_url"];

/// Leaves out what a block of media or an attachment holds.
pub fn sanitise_block(block: &mut Object) {
    match block.text("type") {
        Some(kind @ ("image" | "audio" | "video")) => {
            let kind = kind.to_owned();
            sanitise_media(block, &kind);
        }
        Some("attachment") => {
            if let Some(Value::Object(attachment)) = block.member_mut("attachment") {
                PRIVATE.iter().for_each(|key| drop(attachment.take(key)));
                show_reference(attachment, "url");
            }
        }
        _ => {}
    }
}

fn sanitise_media(block: &mut Object, kind: &str) {
    let payload = |object: &Object| object.text("data").or_else(|| object.text("blob")).map(decoded_length);
    let own = payload(block);
    let inside = block.object("source").and_then(payload);
    // A source that is no object may be a reference itself.
    let mut references = REFERENCES.to_vec();
    if !block.member("source").is_some_and(Value::is_object) {
        references.push("source");
    }
    let mut omits = leave_out(block, &PRIVATE, &references);
    if omits {
        block.set("omitted", true);
    }
    if let Some(Value::Object(source)) = block.member_mut("source") {
        if leave_out(source, &PRIVATE, &REFERENCES) {
            if kind != "image" {
                source.set("omitted", true);
            }
            omits |= kind != "audio";
        }
    }
    if omits {
        block.set("omitted", true);
    }
    if let Some(bytes) = own.or(inside) {
        match block.member_mut("source") {
            Some(Value::Object(source)) if kind == "audio" && own.is_none() => source.set("bytes", bytes),
            _ => block.set("bytes", bytes),
        }
    }
}

/// Takes out what is private and what refers to nothing that may be shown. Says whether there was any.
fn leave_out(object: &mut Object, private: &[&str], references: &[&str]) -> bool {
    let mut omits = false;
    for key in private {
        omits |= object.take(key).is_some();
    }
    for key in references {
        omits |= object.has(key) && !show_reference(object, key);
    }
    omits
}

/// Makes a reference fit to be shown, or takes it out. Says whether there is one now.
fn show_reference(object: &mut Object, key: &str) -> bool {
    let shown = object.text(key).and_then(reference);
    let is_shown = shown.is_some();
    match shown {
        Some(shown) => object.set(key, shown),
        None => drop(object.take(key)),
    }
    is_shown
}

/// A path of the gateway, a file that came in, or an address without who asks for it and what is asked.
fn reference(text: &str) -> Option<String> {
    let text = text::trim(text);
    if ["/api/chat/media/outgoing/", "/media/", "/__openclaw__/"].iter().any(|path| text.starts_with(path)) {
        return Some(text.split(['?', '#']).next().unwrap_or_default().to_owned());
    }
    if text.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("media:")) {
        return inbound(text);
    }
    let mut url = Url::parse(text).ok().filter(|url| ["http", "https"].contains(&url.scheme()))?;
    url.set_username("").and_then(|()| url.set_password(None)).ok()?;
    url.set_query(None);
    url.set_fragment(None);
    Some(url.into())
}

/// `media://inbound/<name>`.
fn inbound(text: &str) -> Option<String> {
    let is_media = |text: &str| text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("media://"));
    // An older mark before any reference.
    let text = if is_media(text) { text } else { text::trim(&text[6..]) };
    let url = Url::parse(text).ok().filter(|_| is_media(text))?;
    let is_plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    let name = percent_encoding::percent_decode_str(url.path().trim_start_matches('/')).decode_utf8().ok()?;
    let is_name = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0']);
    (url.host_str() == Some("inbound") && is_plain && is_name).then(|| text.to_owned())
}

/// What the meta of a message says of the files that came with it.
pub fn sanitise_facts(facts: &Value) -> Option<Value> {
    let facts = facts.as_array()?.iter().map(|fact| {
        let mut fact = fact.as_object().cloned().unwrap_or_default();
        let private = ["workspaceDir", "data", "blob", "file", "filePath", "localPath"];
        let is_reference =
            fact.text("source").is_none_or(|source| source.contains(['/', '\\', ':']) || source.starts_with('~'));
        for key in ["path", "url", "source"] {
            if let Some(inbound) = fact.text(key).and_then(inbound_path) {
                fact.set(key, inbound);
            }
        }
        let references = ["path", "url", "source"];
        leave_out(&mut fact, &private, if is_reference { &references } else { &references[..2] });
        Value::from(fact)
    });
    Some(facts.collect())
}

/// The name of a file that came in, by where the gateway keeps it.
fn inbound_path(path: &str) -> Option<String> {
    let path = text::trim(path);
    let (folder, name) = path.strip_prefix("file://").unwrap_or(path).rsplit_once('/')?;
    (folder.starts_with('/') && folder.ends_with("/media/inbound")).then_some(())?;
    inbound(&format!("media://inbound/{name}"))
}

/// How many bytes Base64 decodes to.
fn decoded_length(text: &str) -> u64 {
    let padding = text.bytes().rev().filter(|byte| *byte > b' ').take(2).take_while(|byte| *byte == b'=').count();
    let spaces = text.bytes().filter(|byte| *byte <= b' ').count();
    ((text::units(text) - spaces) * 3 / 4).saturating_sub(padding) as u64
}

/// Whether a block may show something other than text.
pub fn is_media(block: &Value) -> bool {
    matches!(block::kind(block), Some("image" | "audio" | "video" | "attachment" | "attachment_error"))
}

#[cfg(test)]
mod tests {
    use super::{super::table, *};

    #[test]
    fn what_media_hold_is_left_out() {
        table::messages(
            sanitise_block,
            &[
                (
                    r#"{"type":"image","data":"iVBORw0K","mimeType":"image/png"}"#,
                    r#"{"type":"image","mimeType":"image/png","omitted":true,"bytes":6}"#,
                ),
                (
                    r#"{"type":"image","source":{"type":"base64","data":"AAA="}}"#,
                    r#"{"type":"image","source":{"type":"base64"},"omitted":true,"bytes":2}"#,
                ),
                (
                    r#"{"type":"audio","source":{"data":"AAAA"}}"#,
                    r#"{"type":"audio","source":{"omitted":true,"bytes":3}}"#,
                ),
                (r#"{"type":"audio","data":"A A\nA="}"#, r#"{"type":"audio","omitted":true,"bytes":2}"#),
                (
                    r#"{"type":"video","url":"https://u:p@h.example/a?b#c","path":"/x"}"#,
                    r#"{"type":"video","url":"https://h.example/a","omitted":true}"#,
                ),
                (r#"{"type":"image","url":"data:x"}"#, r#"{"type":"image","omitted":true}"#),
                (
                    r#"{"type":"image","url":"/media/a?x","source":"file:///a"}"#,
                    r#"{"type":"image","url":"/media/a","omitted":true}"#,
                ),
                (
                    r#"{"type":"image","url":"media://inbound/a%20b"}"#,
                    r#"{"type":"image","url":"media://inbound/a%20b"}"#,
                ),
                (r#"{"type":"image","url":"media://inbound/a%2Fb"}"#, r#"{"type":"image","omitted":true}"#),
                (
                    r#"{"type":"attachment","attachment":{"url":"x","path":"/p","label":"l"}}"#,
                    r#"{"type":"attachment","attachment":{"label":"l"}}"#,
                ),
                (r#"{"type":"file","data":"x"}"#, r#"{"type":"file","data":"x"}"#),
            ],
        );
    }

    #[test]
    fn files_are_named_by_what_may_be_asked_for() {
        let facts = table::object(
            r#"{"f":[{"path":"/s/media/inbound/a.png","workspaceDir":"/w","kind":"image"},{"path":"/etc/x","source":"paste"},7]}"#,
        );
        let shown = sanitise_facts(&facts["f"]).unwrap().to_string();
        assert_eq!(shown, r#"[{"path":"media://inbound/a.png","kind":"image"},{"source":"paste"},{}]"#);
    }
}
