//! What a tool said besides its answer, as far as a viewer has a use for it.

use super::{block, sanitise::cut};
use crate::json::{
    Fields, Object, Value,
    text::{first_units, trim, units},
};

/// Reduces the `details` of a message or a block. Says whether text was cut.
pub fn sanitise(object: &mut Object, is_tool_result: bool, limit: Option<usize>) -> bool {
    let Some(details) = object.member("details") else { return false };
    let (reduced, is_cut) = match conflict(object, details) {
        Some(conflict) => (Some(conflict), false),
        None if is_tool_result => reduced(details, limit),
        None => (None, false),
    };
    match reduced {
        Some(reduced) => object.set("details", reduced),
        None => drop(object.take("details")),
    }
    is_cut
}

/// Whether this is the role of a tool, in lower case.
pub fn is_role_of_tool(role: &str) -> bool {
    matches!(role, "toolresult" | "tool_result" | "tool" | "function")
}

/// Whether the message is a tool's result, by its role, its blocks or the ids it has.
pub fn is_tool_result(message: &Object) -> bool {
    let has = |keys: &[&str]| keys.iter().any(|key| message.text(key).is_some());
    let kinds = || block::blocks(message).iter().map(block::kind);
    is_role_of_tool(&block::role(message))
        || kinds().any(block::is_tool_result_kind)
        || has(&["toolCallId", "tool_call_id", "toolUseId", "tool_use_id"])
            && has(&["toolName", "tool_name"])
            && !kinds().any(block::is_tool_kind)
}

fn reduced(details: &Value, limit: Option<usize>) -> (Option<Object>, bool) {
    let Some(details) = details.as_object() else { return (None, false) };
    let mut reduced = Object::new();
    let mut is_cut = false;
    if let Some(tab) = details.object("browserTab").and_then(browser_tab) {
        reduced.set("browserTab", tab);
    }
    for key in ["changed", "created"] {
        if let Some(flag) = details.member(key).filter(|flag| flag.is_boolean()) {
            reduced.set(key, flag.clone());
        }
    }
    if let Some(diff) = details.text("diff").filter(|diff| !trim(diff).is_empty()) {
        let mut diff = diff.to_owned();
        is_cut = cut(&mut diff, limit, false);
        reduced.set("diff", diff);
    }
    if let Some(reviews) = details.array("approvalReviews") {
        let latest = &reviews[reviews.len().saturating_sub(16)..];
        let reviews: Vec<Value> = latest.iter().filter_map(|review| Some(approval_review(review)?.into())).collect();
        if !reviews.is_empty() {
            reduced.set("approvalReviews", reviews);
        }
    }
    if let Some(outcome @ ("approved" | "denied" | "reviewing")) = details.text("approvalReviewOutcome") {
        reduced.set("approvalReviewOutcome", outcome);
    }
    if let Some(preview) = details.object("mcpAppPreview").and_then(app_preview) {
        reduced.set("mcpAppPreview", preview);
    }
    ((!reduced.is_empty()).then_some(reduced), is_cut)
}

fn browser_tab(tab: &Object) -> Option<Object> {
    let id = |key: &str, most| tab.text(key).filter(|id| trim(id) == *id && (1..=most).contains(&units(id)));
    let mut shown = Object::new();
    shown.set("targetId", id("targetId", 128)?);
    shown.set("profile", id("profile", 128)?);
    match tab.text("target")? {
        "host" if !tab.has("node") => shown.set("target", "host"),
        "node" => {
            shown.set("target", "node");
            shown.set("node", id("node", 256)?);
        }
        _ => return None,
    }
    for (key, most) in [("url", 2048), ("title", 512)] {
        if let Some(text) = tab.text(key) {
            shown.set(key, first_units(text, most));
        }
    }
    Some(shown)
}

fn approval_review(review: &Value) -> Option<Object> {
    let review = review.as_object()?;
    let mut shown = Object::new();
    for (key, most) in [("id", 256), ("label", 80), ("status", 32)] {
        shown.set(key, first_units(review.trimmed(key)?, most));
    }
    if !["in_progress", "approved", "denied", "timed_out", "aborted"].contains(&shown.text("status")?) {
        return None;
    }
    for (key, most) in [("riskLevel", 40), ("userAuthorization", 40), ("rationale", 2000)] {
        if let Some(text) = review.trimmed(key) {
            shown.set(key, first_units(text, most));
        }
    }
    Some(shown)
}

/// An app that a tool offers to show.
fn app_preview(preview: &Object) -> Option<Object> {
    let text =
        |object: Option<&Object>, key: &str| object?.text(key).filter(|text| !trim(text).is_empty()).map(str::to_owned);
    let is_canvas = text(Some(preview), "kind").is_some_and(|kind| trim(&kind).eq_ignore_ascii_case("canvas"));
    let (view, presentation) = (preview.object("view"), preview.object("presentation"));
    let target = text(presentation, "target").or_else(|| text(Some(preview), "target"));
    let is_surface = target.is_none_or(|target| target == "assistant_message" || target == "node_panel");
    let app = preview.object("mcpApp").and_then(app).filter(|_| is_canvas && is_surface)?;
    let id = text(view, "id").or_else(|| text(view, "docId"))?;
    let url = text(view, "url").or_else(|| text(view, "entryUrl")).filter(|_| !app.says("viewId", &id));
    if url.is_none() && !app.says("viewId", &id) {
        return None;
    }
    let title = text(presentation, "title").or_else(|| text(view, "title"));
    let height = [presentation, view]
        .into_iter()
        .flatten()
        .find_map(|object| object.number("preferred_height").or_else(|| object.number("preferredHeight")));
    let height = height.filter(|height| *height >= 160.0).map(|height| height.trunc().min(1200.0) as u64);
    let sandbox = text(presentation, "sandbox").filter(|sandbox| sandbox == "strict" || sandbox == "scripts");
    let with = |pairs: Vec<(&str, Option<Value>)>| {
        let mut object = Object::new();
        for (key, value) in pairs {
            if let Some(value) = value {
                object.set(key, value);
            }
        }
        Some(Value::from(object))
    };
    let title = title.map(Value::from);
    let view = with(vec![("id", Some(id.into())), ("url", url.map(Value::from)), ("title", title.clone())]);
    let presentation = with(vec![
        ("target", Some("assistant_message".into())),
        ("title", title),
        ("preferred_height", height.map(Value::from)),
        ("sandbox", sandbox.map(Value::from)),
    ]);
    let preview = with(vec![
        ("kind", Some("canvas".into())),
        ("view", view),
        ("presentation", presentation),
        ("mcpApp", Some(app.into())),
    ]);
    preview.and_then(|preview| preview.as_object().cloned())
}

fn app(app: &Object) -> Option<Object> {
    let text = |key: &str, most| app.text(key).filter(|text| !trim(text).is_empty() && units(text) <= most);
    let mut shown = Object::new();
    shown.set("viewId", text("viewId", 128)?);
    let known = [("serverName", 256), ("toolName", 256), ("uiResourceUri", 2048), ("toolCallId", 512)];
    let is_whole = known.iter().all(|(key, most)| text(key, *most).is_some())
        && app.text("uiResourceUri").is_some_and(|uri| uri.starts_with("ui://"));
    if is_whole {
        for (key, most) in known.into_iter().chain([("originSessionKey", 512)]) {
            if let Some(text) = text(key, most) {
                shown.set(key, text);
            }
        }
        if app.says("resultMetaState", "unavailable") {
            shown.set("resultMetaState", "unavailable");
        }
    }
    Some(shown)
}

/// Which files of a workspace were changed on both sides.
fn conflict(message: &Object, details: &Value) -> Option<Object> {
    let is_conflict = message.says("role", "custom") && message.says("customType", "cloud-workspace-conflict");
    let details = details.as_object().filter(|_| is_conflict)?;
    let paths = details.array("paths").filter(|paths| !paths.is_empty())?;
    let mut paths: Vec<&str> = paths.iter().map(Value::as_str).collect::<Option<_>>()?;
    let staged = details.text("stagedResultRef")?;
    let name = staged.strip_prefix("refs/openclaw/worker-results/").filter(|name| !name.is_empty())?;
    let is_name = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let total = match details.member("totalCount") {
        Some(total) => Some(total.as_u64().filter(|total| *total >= paths.len() as u64)?),
        None => None,
    };
    if !is_name || paths.contains(&"") {
        return None;
    }
    // As JavaScript sorts: by UTF-16 units.
    paths.sort_by(|a, b| a.encode_utf16().cmp(b.encode_utf16()));
    paths.dedup();
    let mut left = 32 * 1024_usize;
    let fits = |path: &&&str| {
        let room = left.checked_sub(path.len());
        left = room.unwrap_or(0);
        room.is_some()
    };
    let count = paths.len() as u64;
    let shown: Vec<Value> = paths.iter().take(256).take_while(fits).map(|path| Value::from(*path)).collect();
    let mut conflict = Object::new();
    conflict.set("paths", shown);
    conflict.set("stagedResultRef", staged);
    conflict.set("totalCount", total.unwrap_or(count).max(count));
    Some(conflict)
}

#[cfg(test)]
mod tests {
    use super::{super::table, *};

    #[test]
    fn what_a_tool_says_besides_its_answer_is_reduced() {
        table::messages(
            |object| {
                sanitise(object, true, Some(3));
            },
            &[
                (r#"{"details":{"x":1}}"#, "{}"),
                (r#"{"details":"x","a":1}"#, r#"{"a":1}"#),
                (
                    r#"{"details":{"diff":"abcd","created":true,"changed":1}}"#,
                    r#"{"details":{"created":true,"diff":"abc\n...(truncated)..."}}"#,
                ),
                (
                    r#"{"details":{"browserTab":{"targetId":"t","profile":"p","target":"host","title":"x","y":1}}}"#,
                    r#"{"details":{"browserTab":{"targetId":"t","profile":"p","target":"host","title":"x"}}}"#,
                ),
                (r#"{"details":{"browserTab":{"targetId":" t","profile":"p","target":"host"}}}"#, "{}"),
                (
                    r#"{"details":{"approvalReviews":[{"id":"i","label":" l ","status":"denied","x":1},{"id":"i"}],"approvalReviewOutcome":"denied"}}"#,
                    r#"{"details":{"approvalReviews":[{"id":"i","label":"l","status":"denied"}],"approvalReviewOutcome":"denied"}}"#,
                ),
                (
                    r#"{"details":{"mcpAppPreview":{"kind":"canvas","mcpApp":{"viewId":"v"},"view":{"id":"v","title":"t"}}}}"#,
                    r#"{"details":{"mcpAppPreview":{"kind":"canvas","view":{"id":"v","title":"t"},"presentation":{"target":"assistant_message","title":"t"},"mcpApp":{"viewId":"v"}}}}"#,
                ),
            ],
        );
        table::messages(
            |object| {
                sanitise(object, false, None);
            },
            &[(
                r#"{"role":"custom","customType":"cloud-workspace-conflict","details":{"paths":["b","a","b"],"stagedResultRef":"refs/openclaw/worker-results/x1","y":1}}"#,
                r#"{"role":"custom","customType":"cloud-workspace-conflict","details":{"paths":["a","b"],"stagedResultRef":"refs/openclaw/worker-results/x1","totalCount":2}}"#,
            )],
        );
    }
}
