//! What a viewer is told of a turn that failed: as much as is certain, and nothing that a provider wrote.

use crate::json::{Fields, Object, Value, text::trim};

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

/// What is known of the failure, from its code and what the provider said of it.
pub fn known(message: &Object) -> Option<String> {
    let said = message.text("errorMessage").map_or("", trim);
    if let Some(failure) = storage_failure(message, said) {
        return Some(format!("⚠️ Agent run failed: {failure}"));
    }
    if message.says("errorCode", "incomplete_tool_call") {
        return Some(UNFINISHED_CALL.to_owned());
    }
    let status = status(said);
    let lower = said.to_lowercase();
    let code = message.text("errorCode").or(message.text("errorType")).unwrap_or_default().to_lowercase();
    let mentions = |words: &[&str]| words.iter().any(|word| lower.contains(word) || code == *word);
    if mentions(&OVERFLOW) {
        return Some(TOO_LARGE.to_owned());
    }
    let by_words = REASONS.iter().find(|(words, _)| mentions(words)).map(|(_, reason)| *reason);
    let reason = status.and_then(by_status).or(by_words);
    if status.is_none() && reason.is_none_or(|reason| reason == TIMEOUT) {
        if let Some((_, failure)) = TRANSPORT.iter().find(|(words, _)| mentions(words)) {
            return Some(format!("LLM request failed: {failure}"));
        }
    }
    if reason.is_none() && status.is_none() {
        return None;
    }
    let status = status.map(|status| format!("HTTP {status}"));
    let details: Vec<&str> = reason.into_iter().chain(status.as_deref()).collect();
    let advice = match reason {
        Some(OVERLOADED | SERVER | TIMEOUT | RATE) => " This is usually temporary — try again shortly.",
        Some(AUTH) => " Re-authenticate the provider and try again.",
        Some(BILLING) => " Check provider billing and try again.",
        _ => "",
    };
    Some(format!("⚠️ LLM request failed ({}).{advice}", details.join(", ")))
}

const UNFINISHED_CALL: &str = "⚠️ The provider returned an unfinished tool call. Earlier actions may have completed; verify their results before continuing.";
const TOO_LARGE: &str = "Context overflow: this conversation is too large for the model. Try /compact, use /new to start a fresh session, or retry the command with a tighter output limit.";

const AUTH: &str = "authentication failed";
const FORMAT: &str = "request format rejected";
const RATE: &str = "rate limited";
const OVERLOADED: &str = "provider overloaded";
const BILLING: &str = "provider billing issue";
const SERVER: &str = "provider internal error";
const TIMEOUT: &str = "request timed out";
const CERTIFICATE: &str = "TLS certificate error";
const MODEL: &str = "model not found";
const SESSION: &str = "provider session expired";

fn by_status(status: u16) -> Option<&'static str> {
    match status {
        400 | 422 => Some(FORMAT),
        401 | 403 => Some(AUTH),
        402 => Some(BILLING),
        404 => Some(MODEL),
        408 => Some(TIMEOUT),
        429 => Some(RATE),
        503 | 529 => Some(OVERLOADED),
        500..=599 => Some(SERVER),
        _ => None,
    }
}

/// Words by which a reason is known, in lower case. The first that fits counts.
const REASONS: [(&[&str], &str); 9] = [
    (&["overloaded"], OVERLOADED),
    (&["insufficient credit", "insufficient_quota", "insufficient balance", "credit balance"], BILLING),
    (&["rate limit", "rate_limit", "too many requests", "quota exceeded", "usage limit"], RATE),
    (&["invalid api key", "invalid x-api-key", "authentication_error", "unauthorized"], AUTH),
    (&["model not found", "unknown model", "not_found_error"], MODEL),
    (&["session expired"], SESSION),
    (&["self signed certificate", "self-signed certificate"], CERTIFICATE),
    (&["internal server error", "server_error"], SERVER),
    (&["timed out", "timeout", "etimedout", "terminated", "econnre", "enotfound", "socket hang up"], TIMEOUT),
];

const OVERFLOW: [&str; 4] =
    ["prompt is too long", "context length exceeded", "context_overflow", "context_length_exceeded"];

const TRANSPORT: [(&[&str], &str); 5] = [
    (&["econnrefused", "connection refused", "actively refused"], "connection refused by the provider endpoint."),
    (
        &["econnreset", "econnaborted", "socket hang up", "connection reset", "connection aborted"],
        "network connection was interrupted.",
    ),
    (&["enotfound", "eai_again", "getaddrinfo", "no such host"], "DNS lookup for the provider endpoint failed."),
    (
        &["enetunreach", "ehostunreach", "network is unreachable", "host is unreachable"],
        "the provider endpoint is unreachable from this host.",
    ),
    (&["fetch failed", "connection error", "network request failed"], "network connection error."),
];

/// The status of HTTP that a text begins with, or names as one.
fn status(said: &str) -> Option<u16> {
    let named = said.get(..5).filter(|start| start.eq_ignore_ascii_case("http ")).map_or(said, |_| &said[5..]);
    let (digits, rest) = named.split_at_checked(3)?;
    let is_status =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && !rest.starts_with(|c: char| c.is_alphanumeric());
    digits.parse().ok().filter(|status| is_status && (100..600).contains(status))
}

/// What failed in the gateway itself: by the code that SQLite gave, or the words.
fn storage_failure(message: &Object, said: &str) -> Option<&'static str> {
    const FAILURES: [(&str, &str, &str); 6] = [
        (
            "SQLITE_BUSY",
            "database is locked",
            "the Gateway state database was busy (SQLite: database is locked). Retry; if it repeats, check Gateway storage health.",
        ),
        (
            "SQLITE_LOCKED",
            "database table is locked",
            "the Gateway state database was locked (SQLite: database table is locked). Retry; if it repeats, check Gateway storage health.",
        ),
        (
            "SQLITE_READONLY",
            "attempt to write a readonly database",
            "the Gateway state database was read-only (SQLite: attempt to write a readonly database). Check Gateway storage permissions and retry.",
        ),
        (
            "SQLITE_IOERR",
            "disk I/O error",
            "the Gateway state database had an I/O error (SQLite: disk I/O error). Check Gateway storage health and filesystem access before retrying.",
        ),
        (
            "SQLITE_FULL",
            "database or disk is full",
            "the Gateway state database was full (SQLite: database or disk is full). Free disk space on the Gateway host and retry.",
        ),
        (
            "transcript_writer_fenced",
            "session writer claim changed before transcript persistence",
            "the transcript writer no longer owned this session. Retry in the current session; if it repeats, check Gateway logs.",
        ),
    ];
    let code = message.text("errorCode").or(message.text("code")).unwrap_or_default();
    let is_code = |name: &str| code == name || name.starts_with("SQLITE_") && code.starts_with(&format!("{name}_"));
    let found = FAILURES.iter().find(|(name, ..)| is_code(name));
    found.or_else(|| FAILURES.iter().find(|(_, words, _)| said == *words)).map(|(.., failure)| *failure)
}

#[cfg(test)]
mod tests {
    use super::{super::table::object, *};

    #[test]
    fn a_failure_is_told_as_far_as_it_is_known() {
        for (said, told) in [
            ("upstream x", UNKNOWN),
            (
                "429 slow down",
                "⚠️ LLM request failed (rate limited, HTTP 429). This is usually temporary — try again shortly.",
            ),
            ("HTTP 418", "⚠️ LLM request failed (HTTP 418)."),
            (
                "403 no",
                "⚠️ LLM request failed (authentication failed, HTTP 403). Re-authenticate the provider and try again.",
            ),
            (
                "Overloaded",
                "⚠️ LLM request failed (provider overloaded). This is usually temporary — try again shortly.",
            ),
            ("connect ECONNRESET", "LLM request failed: network connection was interrupted."),
            ("Prompt is too long: 9 tokens", TOO_LARGE),
            ("4290 x", UNKNOWN),
        ] {
            let message = object(&format!(r#"{{"errorMessage":"{said}"}}"#));
            assert_eq!(text(&message), told, "{said}");
        }
        for (json, told) in [
            (r#"{"errorCode":"incomplete_tool_call"}"#, UNFINISHED_CALL),
            (
                r#"{"diagnostics":[{"type":"provider_refusal","details":{"category":"a b"}}]}"#,
                "The provider refused this request. Revise the request and try again.",
            ),
            (r#"{}"#, UNKNOWN),
        ] {
            assert_eq!(text(&object(json)), told, "{json}");
        }
        let busy = text(&object(r#"{"errorCode":"SQLITE_BUSY_SNAPSHOT"}"#));
        assert!(busy.contains("was busy"), "{busy}");
    }
}
