//! What a viewer is told of a turn that failed: as much as is certain, and nothing that a provider wrote.

use crate::json::{Fields, Object, Value};

/// What is said where no more is known.
const UNKNOWN: &str = "The agent run failed before producing a reply.";

/// What is said of the failure of this message.
pub fn text(message: &Object) -> String {
    refusal(message).or_else(|| known(message)).unwrap_or_else(|| UNKNOWN.to_owned())
}

/// A provider that refused says of what category the request was.
fn refusal(message: &Object) -> Option<String> {
    let diagnostics = message.array("diagnostics")?.iter().filter_map(Value::as_object);
    let refusal = diagnostics.into_iter().find(|diagnostic| diagnostic.says("type", "provider_refusal"))?;
    let category = refusal.object("details").and_then(|details| details.text("category"));
    let is_name = |name: &&str| {
        (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
    };
    Some(match category.filter(is_name) {
        Some("misalignment") => {
            "Chat stopped as a precaution. Review the findings in chat before continuing.".to_owned()
        }
        Some(category) => {
            format!("The provider refused this request (category: {category}). Revise the request and try again.")
        }
        None => "The provider refused this request. Revise the request and try again.".to_owned(),
    })
}

/// What is known of the failure.
pub fn known(message: &Object) -> Option<String> {
    None.filter(|_: &String| message.is_empty())
}
