//! Times as text: what JavaScript's `Date.parse` makes of them.
//!
//! The forms are those of ISO 8601 that the language defines:
//!
//! - a date: `2026`, `2026-01` or `2026-01-02`, the year also as `+002026` or `-002026`;
//! - or a date, `T`, and a time: `03:04`, `03:04:05` or `03:04:05.6`, with any number of digits of
//!   which the first three count;
//! - and after a time a zone: `Z`, `+02:00` or `+0200`.
//!
//! A date alone is at midnight UTC; a time without a zone is local time. The day may be one that the
//! month does not have (`2026-02-30` is March 2), and the hour may be 24 if nothing follows it.
//! (What else an engine takes for a date is its own affair, and is not taken here.)

use jiff::{Timestamp, tz::TimeZone};

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// The farthest time that JavaScript has, before and after 1970.
const FARTHEST: i64 = 100_000_000 * DAY;

/// Milliseconds since 1970.
pub(super) fn parse(text: &str) -> Option<f64> {
    let mut text = Reader(text.as_bytes());
    let year = text.year()?;
    let month = text.part(b'-')?.unwrap_or(1);
    let day = text.part(b'-')?.unwrap_or(1);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let midnight = (days_before(year, month) + day - 1) * DAY;
    let time = if text.skip(b'T') || text.skip(b't') {
        let time = midnight + text.time()?;
        match text.zone()? {
            Some(offset) => time - offset,
            None => from_local(time),
        }
    } else {
        midnight
    };
    (text.0.is_empty() && time.abs() <= FARTHEST).then_some(time as f64)
}

/// What is left of the text.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn year(&mut self) -> Option<i64> {
        if self.skip(b'+') {
            self.digits(6)
        } else if self.skip(b'-') {
            // There is no year -0.
            self.digits(6).filter(|year| *year > 0).map(|year| -year)
        } else {
            self.digits(4)
        }
    }

    /// `hh:mm`, `hh:mm:ss` or `hh:mm:ss.s`, in milliseconds.
    fn time(&mut self) -> Option<i64> {
        let hour = self.digits(2)?;
        let minute = self.part(b':')??;
        let second = self.part(b':')?;
        let milliseconds = match second {
            Some(_) if self.skip(b'.') => self.fraction()?,
            _ => 0,
        };
        let rest = minute * MINUTE + second.unwrap_or(0) * SECOND + milliseconds;
        let is_time = minute < 60 && second.unwrap_or(0) < 60 && (hour < 24 || hour == 24 && rest == 0);
        is_time.then_some(hour * HOUR + rest)
    }

    /// The digits after the point, in milliseconds.
    fn fraction(&mut self) -> Option<i64> {
        let length = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(length);
        self.0 = rest;
        let digit = |at| digits.get(at).map_or(0, |byte| i64::from(byte - b'0'));
        (length > 0).then(|| digit(0) * 100 + digit(1) * 10 + digit(2))
    }

    /// A zone's distance from UTC. `Some(None)` if there is no zone.
    fn zone(&mut self) -> Option<Option<i64>> {
        let sign = match self.0.first() {
            None => return Some(None),
            Some(b'Z' | b'z') => 0,
            Some(b'+') => 1,
            Some(b'-') => -1,
            Some(_) => return None,
        };
        self.0 = &self.0[1..];
        if sign == 0 {
            return Some(Some(0));
        }
        let hours = self.digits(2)?;
        self.skip(b':');
        let minutes = self.digits(2)?;
        let is_zone = hours < 24 && minutes < 60;
        is_zone.then_some(Some(sign * (hours * HOUR + minutes * MINUTE)))
    }

    /// Two digits after `mark`. `Some(None)` if there is no mark.
    fn part(&mut self, mark: u8) -> Option<Option<i64>> {
        if self.skip(mark) { self.digits(2).map(Some) } else { Some(None) }
    }

    /// A number of exactly so many digits.
    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits.iter().try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
    }

    fn skip(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        self.0 = &self.0[usize::from(found)..];
        found
    }
}

/// How many days lie between the first of January 1970 and the first of this month.
fn days_before(year: i64, month: i64) -> i64 {
    // Years are counted from March, so that a leap day is the last of its year; eras of 400 years
    // have all the same number of days.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let days = year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5;
    era * 146_097 + days - 719_468
}

/// A time of the local clocks, given as if they showed UTC.
fn from_local(time: i64) -> i64 {
    let utc = |time| {
        let clock = Timestamp::from_millisecond(time).ok()?.to_zoned(TimeZone::UTC);
        let local = TimeZone::system().to_timestamp(clock.datetime()).ok()?;
        Some(local.as_millisecond())
    };
    // Beyond the years that time zones are known for, clocks show UTC.
    utc(time).unwrap_or(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_times_are_read() {
        for (text, time) in [
            ("1970-01-01", 0.0),
            ("2026-01-02T03:04:05.678Z", 1_767_323_045_678.0),
            ("2026-01-02T03:04:05Z", 1_767_323_045_000.0),
            ("2026-01-02t03:04:05z", 1_767_323_045_000.0),
            ("2026-01-02T03:04:05+02:00", 1_767_315_845_000.0),
            ("2026-01-02T03:04:05-0030", 1_767_324_845_000.0),
            ("2026-01-02", 1_767_312_000_000.0),
            ("2026-01", 1_767_225_600_000.0),
            ("2026", 1_767_225_600_000.0),
            ("2026-01-02T03:04:05.6789123Z", 1_767_323_045_678.0),
            ("2026-01-02T03:04:05.5Z", 1_767_323_045_500.0),
            ("2026-01-02T03:04Z", 1_767_323_040_000.0),
            ("2026-01-02T24:00:00Z", 1_767_398_400_000.0),
            ("2026-02-30T00:00:00Z", 1_772_409_600_000.0),
            ("2000-02-29", 951_782_400_000.0),
            ("+275760-09-13T00:00:00Z", 8.64e15),
            ("-271821-04-20T00:00:00Z", -8.64e15),
            ("0000-01-01", -62_167_219_200_000.0),
        ] {
            assert_eq!(parse(text), Some(time), "{text}");
        }
    }

    #[test]
    fn other_text_is_no_time() {
        for text in [
            "",
            "not a date",
            "2026-13-02T03:04:05Z",
            "2026-00-02",
            "2026-01-00",
            "2026-01-32",
            "2026-1-2",
            "2026-01-02T",
            "2026-01-02T03",
            "2026-01-02T25:00:00Z",
            "2026-01-02T24:00:01Z",
            "2026-01-02T03:60Z",
            "2026-01-02T03:04:60Z",
            "2026-01-02T03:04:05.Z",
            "2026-01-02T03:04:05+24:00",
            "2026-01-02T03:04:05Zx",
            "2026-01-02Z",
            "-000000-01-01",
            "+275760-09-13T00:00:00.001Z",
            "２026-01-02",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_without_a_zone_is_local() {
        let noon = "2026-01-02T12:00";
        let local: jiff::civil::DateTime = noon.parse().unwrap();
        let local = local.to_zoned(TimeZone::system()).unwrap();
        assert_eq!(parse(noon), Some(local.timestamp().as_millisecond() as f64));
    }
}
