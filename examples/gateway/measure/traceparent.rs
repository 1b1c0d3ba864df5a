//! Which trace a request is part of (W3C Trace Context, Level 1, section 3.2).
//!
//! Whoever calls may say so: an id is hexadecimal digits and no more, nothing is decided by it, and who joins
//! somebody's trace has only given their own lines another's number. What is malformed is ignored, as the
//! specification has it, and a trace of the request's own begins. That a caller wants it sampled changes nothing.

use http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A request's place in a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace {
    pub id: u128,
    /// Of the request's own span.
    pub span: u64,
    /// Of the span of who called.
    pub parent: Option<u64>,
}

impl Trace {
    /// The place of a request with these headers; `None` without random bits.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        // Zero is no id.
        let span = getrandom::u64().ok()? | 1;
        Some(match taken_over(headers) {
            Some((id, parent)) => Self { id, span, parent: Some(parent) },
            None => {
                let half = || getrandom::u64().ok().map(u128::from);
                Self { id: half()? << 64 | half()? | 1, span, parent: None }
            }
        })
    }
}

/// The ids of the trace and of the caller's span, if the headers name them well, and once.
fn taken_over(headers: &HeaderMap) -> Option<(u128, u64)> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let (Some(one), None) = (all.next(), all.next()) else { return None };
    parse(one.as_bytes())
}

fn parse(text: &[u8]) -> Option<(u128, u64)> {
    let (known, more) = text.split_at_checked(55)?;
    let version = digits(&known[..2])?;
    // A later version may have more to say, behind another dash.
    let is_whole = match version {
        0x00 => more.is_empty(),
        0xff => false,
        _ => more.is_empty() || more[0] == b'-',
    };
    let are_dashes = [2, 35, 52].iter().all(|&at| known[at] == b'-');
    digits(&known[53..])?;
    let (id, parent) = (digits(&known[3..35])?, digits(&known[36..52])?);
    (is_whole && are_dashes && id != 0 && parent != 0).then_some((id, u64::try_from(parent).ok()?))
}

/// Hexadecimal digits, none of them upper case.
fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number: u128, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const IDS: (u128, u64) = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7);

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (TRACEPARENT, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn a_trace_that_is_named_well_is_taken_over() {
        for text in [
            GOOD.to_owned(),
            GOOD.replace("-01", "-00"),
            GOOD.replace("-01", "-ff"),
            GOOD.replacen("00", "cc", 1),
            format!("{}-what comes later", GOOD.replacen("00", "01", 1)),
            format!("{}-", GOOD.replacen("00", "fe", 1)),
        ] {
            let trace = Trace::of(&headers(&[&text])).unwrap();
            assert_eq!((trace.id, trace.parent), (IDS.0, Some(IDS.1)), "{text}");
            assert!(trace.span != 0 && trace.span != IDS.1);
        }
    }

    #[test]
    fn what_is_malformed_is_ignored_and_a_trace_begins() {
        let malformed = [
            String::new(),
            "00".to_owned(),
            GOOD.to_uppercase(),
            GOOD.replace("4bf9", "4BF9"),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replacen("00", "ff", 1),
            GOOD.replacen("00", "0", 1),
            GOOD.replacen("00", "0x", 1),
            GOOD.replace('-', "_"),
            format!("{GOOD}-"),
            format!("{GOOD}0"),
            format!("{GOOD} "),
            format!(" {GOOD}"),
            format!("{}.", GOOD.replacen("00", "01", 1)),
            GOOD[..54].to_owned(),
            GOOD.replace("-01", "-0g"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            format!("{GOOD}, {GOOD}"),
        ];
        for text in &malformed {
            let trace = Trace::of(&headers(&[text])).unwrap();
            assert!(trace.parent.is_none() && trace.id != IDS.0 && trace.id != 0, "{text}");
        }
        assert!(Trace::of(&headers(&[GOOD, GOOD])).unwrap().parent.is_none());
        assert!(Trace::of(&headers(&[])).unwrap().parent.is_none());
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(text in prop::collection::vec(32u8..=255, 0..80)) {
            let mut headers = HeaderMap::new();
            if let Ok(value) = HeaderValue::from_bytes(&text) {
                headers.insert(TRACEPARENT, value);
            }
            prop_assert!(Trace::of(&headers).is_some());
        }
    }
}
