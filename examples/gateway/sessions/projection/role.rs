//! Who a message is from.
//!
//! Some rules take the role as it is written and some in any case. The words are ASCII, and no
//! letter outside ASCII has one of theirs as its lower case, so ASCII case is all there is to it.

use crate::json::Object;

/// Whether the role is exactly `assistant`.
pub fn is_assistant(message: &Object<'_>) -> bool {
    is_exactly(message, "assistant")
}

pub fn is_exactly(message: &Object<'_>, role: &str) -> bool {
    message.text("role").is_some_and(|own| own == role)
}

/// Whether the role is this one, in any case.
pub fn is(message: &Object<'_>, role: &str) -> bool {
    message.text("role").is_some_and(|own| own.is_word(role))
}
