//! Whether a request asks for a stream of events (RFC 9110 section 12.5.1).

use http::{HeaderMap, header::ACCEPT};

/// What a stream of events is. Its charset may be asked for, and nothing else.
const TYPE: &str = "text/event-stream";
const CHARSET: (&str, &str) = ("charset", "utf-8");

/// Whether a client names the type of a stream, and does not say that it is the last that it wants: `q=0`. Of ranges
/// that name it the one with most parameters counts. A wildcard does not ask for a stream.
pub fn wants_events(headers: &HeaderMap) -> bool {
    let names_it = |line: &[u8]| line.windows(TYPE.len()).any(|text| text.eq_ignore_ascii_case(TYPE.as_bytes()));
    if !headers.get_all(ACCEPT).iter().any(|line| names_it(line.as_bytes())) {
        // Most requests: they ask for a page.
        return false;
    }
    let lines = headers.get_all(ACCEPT).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let accept = lines.collect::<Vec<_>>().join(", ");
    let Some(ranges) = split(&accept, ',') else { return false };
    let best = ranges.into_iter().filter_map(Range::parse).max_by_key(|range| (range.parameters, range.quality));
    best.is_some_and(|range| range.quality > 0)
}

/// A range that a stream of events is in.
struct Range {
    parameters: usize,
    /// In thousandths.
    quality: u16,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = split(text, ';')?.into_iter();
        let kind = parts.next().map(trim).filter(|kind| kind.eq_ignore_ascii_case(TYPE));
        kind?;
        let mut range = Self { parameters: 0, quality: 1000 };
        let mut has_quality = false;
        for part in parts.map(trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=')?;
            if name.eq_ignore_ascii_case("q") {
                range.quality = quality(value).filter(|_| !has_quality)?;
                has_quality = true;
            } else {
                let value = unquoted(value)?;
                let is_charset = name.eq_ignore_ascii_case(CHARSET.0) && value.eq_ignore_ascii_case(CHARSET.1);
                range.parameters = Some(1).filter(|_| is_charset && range.parameters == 0)?;
            }
        }
        Some(range)
    }
}

/// `0`, `1`, or one of both with up to three digits behind a point (RFC 9110 section 12.4.2).
fn quality(text: &str) -> Option<u16> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = digits.len() <= 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths: u16 = format!("{digits:0<3}").parse().ok().filter(|_| is_digits)?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(1000),
        _ => None,
    }
}

/// A token or a quoted string (RFC 9110 section 5.6).
fn unquoted(value: &str) -> Option<String> {
    let Some(quoted) = value.strip_prefix('"') else {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        return (!value.is_empty() && value.bytes().all(is_token)).then(|| value.to_owned());
    };
    let mut chars = quoted.strip_suffix('"')?.chars();
    let mut text = String::new();
    while let Some(char) = chars.next() {
        match char {
            '\\' => text.push(chars.next()?),
            '"' => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

/// The parts between separators that are not quoted. `None` if a quote is never closed.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let mut parts = Vec::new();
    let (mut start, mut is_quoted, mut is_escaped) = (0, false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            char if char == separator && !is_quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[start..]);
    (!is_quoted).then_some(parts)
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_client_asks_for_a_stream_by_its_type_and_may_take_it_back() {
        for (lines, expected) in [
            (&["text/event-stream"][..], true),
            (&["Text/Event-Stream ; charset=UTF-8"], true),
            (&["application/json, text/event-stream;q=0.1"], true),
            (&["text/html", "text/event-stream"], true),
            (&["text/event-stream;q=0"], false),
            (&["text/event-stream; Q=0.000"], false),
            (&["text/event-stream;q=0, text/event-stream;charset=utf-8"], true),
            (&["text/event-stream, text/event-stream;charset=utf-8;q=0"], false),
            (&["text/event-stream;q=0, text/event-stream;q=0.001"], true),
            (&["text/event-stream;q=2"], false),
            (&["text/event-stream;q=0.1234"], false),
            (&["text/event-stream;q=1;q=1"], false),
            (&["text/event-stream;charset=\"utf-\\8\""], true),
            (&["text/event-stream;charset=latin1"], false),
            (&["text/event-stream;level=1"], false),
            (&["text/event-streams"], false),
            (&["x;a=\"text/event-stream,text/event-stream\""], false),
            (&["text/event-stream;a=\""], false),
            (&["text/*, */*"], false),
            (&[""], false),
            (&[], false),
        ] {
            let headers = lines.iter().map(|line| (ACCEPT, HeaderValue::from_static(line))).collect();
            assert_eq!(wants_events(&headers), expected, "{lines:?}");
        }
    }
}
