//! The parts of an array `content`.

use crate::json::{Text, Value};

const TOOLS: [&str; 6] = ["toolcall", "tool_call", "tooluse", "tool_use", "toolresult", "tool_result"];

/// Whether this is an object of type `text`.
pub fn is_text(block: &Value<'_>) -> bool {
    has_type(block, "text")
}

/// The text of an object of type `text`.
pub fn text<'b, 'a>(block: &'b Value<'a>) -> Option<&'b Text<'a>> {
    block.as_object().filter(|_| is_text(block))?.text("text")
}

/// Whether this is an object (or array, as JavaScript has it) of another type than `text`.
pub fn is_not_text(block: &Value<'_>) -> bool {
    matches!(block, Value::Object(_) | Value::Array(_)) && !is_text(block)
}

/// Whether this is a tool call or a tool's result.
pub fn is_tool(block: &Value<'_>) -> bool {
    let kind = block.as_object().and_then(|block| block.text("type"));
    kind.is_some_and(|kind| TOOLS.iter().any(|tool| kind.trim().is_word(tool)))
}

pub fn has_type(block: &Value<'_>, kind: &str) -> bool {
    block.as_object().and_then(|block| block.text("type")).is_some_and(|own| own == kind)
}
