//! Rule C.1: what an answer took and cost, reduced to the numbers a viewer may see.

use super::role;
use crate::json::{Object, Value};

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
pub fn sanitise(message: &mut Object<'_>) {
    let assistant = role::is_assistant(message);
    if let Some(usage) = message.get_mut("usage")
        && (!assistant || !keep_counts(usage))
    {
        message.remove("usage");
    }
    if let Some(cost) = message.get_mut("cost")
        && (!assistant || !keep_total(cost))
    {
        message.remove("cost");
    }
}

/// Keeps the known counts and the total cost. Says whether there are any.
fn keep_counts(usage: &mut Value<'_>) -> bool {
    let Value::Object(usage) = usage else {
        return false;
    };
    if usage.get_mut("cost").is_some_and(|cost| !keep_total(cost)) {
        usage.remove("cost");
    }
    usage.retain(|key, value| match value {
        Value::Number(number) => number.is_finite() && COUNTS.iter().any(|count| key == count),
        _ => *key == "cost",
    });
    !usage.is_empty()
}

/// Keeps the `total`. Says whether there is one.
fn keep_total(cost: &mut Value<'_>) -> bool {
    let Value::Object(cost) = cost else {
        return false;
    };
    cost.retain(|key, value| *key == "total" && matches!(value, Value::Number(number) if number.is_finite()));
    !cost.is_empty()
}

#[cfg(test)]
mod tests {
    use super::super::table;
    use super::*;

    #[test]
    fn only_the_sums_of_an_assistant_stay() {
        table::messages(
            sanitise,
            &[
                (
                    r#"{"role":"assistant","usage":{"input":1,"output":-1.5,"total_tokens":0,"extra":9,"cost":{"input":1,"total":0.5}}}"#,
                    r#"{"role":"assistant","usage":{"input":1,"output":-1.5,"total_tokens":0,"cost":{"total":0.5}}}"#,
                ),
                (r#"{"role":"assistant","usage":{"input":"1","output":1e999}}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"assistant","usage":{"cost":{"total":"x"}}}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"assistant","usage":{"cost":5}}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"assistant","usage":[1],"cost":5}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"assistant","cost":{"total":0,"input":1}}"#, r#"{"role":"assistant","cost":{"total":0}}"#),
                (r#"{"role":"assistant","cost":{"input":1}}"#, r#"{"role":"assistant"}"#),
                (r#"{"role":"Assistant","usage":{"input":1},"cost":{"total":1}}"#, r#"{"role":"Assistant"}"#),
            ],
        );
    }
}
