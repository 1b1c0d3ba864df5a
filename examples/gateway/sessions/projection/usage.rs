//! What an answer took and cost, reduced to the numbers that a viewer may see.

use super::block;
use crate::json::{Fields, Object, Value};

const COSTS: [&str; 5] = ["input", "output", "cacheRead", "cacheWrite", "total"];
const COUNTS: [&str; 17] = [
    "input",
    "output",
    "total",
    "totalTokens",
    "inputTokens",
    "outputTokens",
    "promptTokens",
    "completionTokens",
    "cacheRead",
    "cacheWrite",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "input_tokens",
    "output_tokens",
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
];

/// Reduces `usage` and `cost`; only an assistant has any.
pub fn sanitise(message: &mut Object) {
    let is_assistant = block::is_assistant(message);
    for (key, numbers) in [("usage", &COUNTS[..]), ("cost", &COSTS)] {
        let Some(value) = message.member(key) else { continue };
        match reduced(value, numbers).filter(|_| is_assistant) {
            Some(reduced) => message.set(key, reduced),
            None => drop(message.take(key)),
        }
    }
}

/// The known numbers, in their order, and what they cost.
fn reduced(value: &Value, numbers: &[&str]) -> Option<Object> {
    let value = value.as_object()?;
    let mut reduced = Object::new();
    for key in numbers {
        if let Some(number) = value.get(*key).filter(|number| number.is_number()) {
            reduced.set(key, number.clone());
        }
    }
    if numbers.len() == COUNTS.len() {
        if let Some(cost) = value.member("cost").and_then(|cost| self::reduced(cost, &COSTS)) {
            reduced.set("cost", cost);
        }
    }
    (!reduced.is_empty()).then_some(reduced)
}

#[cfg(test)]
mod tests {
    use super::{super::table, sanitise};

    #[test]
    fn only_the_numbers_of_an_assistant_stay() {
        table::messages(
            sanitise,
            &[
                (
                    r#"{"role":"assistant","usage":{"extra":9,"cost":{"total":0.5,"input":1,"x":1},"total_tokens":0,"input":-1.5}}"#,
                    r#"{"role":"assistant","usage":{"input":-1.5,"total_tokens":0,"cost":{"input":1,"total":0.5}}}"#,
                ),
                (r#"{"role":"assistant","usage":{"input":"1","cost":{"total":"x"}}}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"assistant","usage":[1],"cost":5}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"assistant","cost":{"total":0,"x":1}}"#, r#"{"role":"assistant","cost":{"total":0}}"#),
                (r#"{"role":"user","usage":{"input":1},"cost":{"total":1}}"#, r#"{"role":"user"}"#),
            ],
        );
    }
}
