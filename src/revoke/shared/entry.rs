//! What is written to the log, and how.
//!
//! An entry is a line of words: `1`, which is the version, what it is about, and the rank of that. Of two that are about
//! the same the one with the higher rank holds, so that an entry may come twice, late, and in any order. One that forgets
//! has the time at which that was said in place of a rank, by which it is known when it comes twice.

use std::{
    array, fmt,
    str::FromStr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::super::{Revocation, Subject, remembered::MARGIN};
use crate::verify::TokenDigest;

/// An entry of a [`RevocationLog`](super::RevocationLog): that something is revoked, or is so no longer, or that what was
/// answered about a token is no answer any more.
///
/// [`Display`](fmt::Display) writes it and [`FromStr`] reads it. A time is in whole milliseconds since 1970.
///
/// ```
/// use tower_reauth::revoke::{Revocation, shared::Entry};
///
/// let entry = Entry::from(Revocation::of_credential("laptop", None));
/// assert_eq!(entry.to_string(), "1 credential laptop 9007199254740991");
/// assert_eq!(entry.to_string().parse(), Ok(entry));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    topic: Topic,
    says: Says,
}

/// What an entry says of its topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// It is revoked, with this rank.
    Revoked(u64),
    /// It is not any more, as of this many milliseconds after 1970.
    Forgotten(u64),
}

/// What an entry is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in super::super) enum Topic {
    Token(TokenDigest),
    /// What verifiers have answered about a token, or about all of them.
    Answers(Option<TokenDigest>),
    Credential(String),
    Session {
        issuer: Option<String>,
        id: String,
    },
    Subject {
        issuer: Option<String>,
        subject: String,
    },
    IssuedBefore,
    All,
}

/// What an entry says.
pub(super) enum Said {
    Revoked(Revocation),
    /// Everything was revoked at this time.
    All(SystemTime),
    /// What was answered about this token, or about any, before this time is void.
    Void(Option<TokenDigest>, SystemTime),
    Forgotten(Topic),
}

/// A text that is no entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidEntry {
    /// It is of a version that this release does not know.
    Version,
    /// It is about something that this release does not know.
    Topic,
    /// Its rank is no number, or its words are no text.
    Syntax,
}

/// A rank without an end: the highest number that every language with floating point has exactly.
const FOR_EVER: u64 = (1 << 53) - 1;

const VERSION: &str = "1";

/// What stands for a word that is not there.
const NONE: &str = "~";

impl Entry {
    /// What it is about, as text: of entries with equal topics that of the highest rank holds.
    #[must_use]
    pub fn topic(&self) -> String {
        self.topic.to_string()
    }

    /// How it compares with others of its topic, up to 2^53 - 1. `None` where what was revoked is to be forgotten:
    /// whatever came before it is void.
    #[must_use]
    pub fn rank(&self) -> Option<u64> {
        match self.says {
            Says::Revoked(rank) => Some(rank),
            Says::Forgotten(_) => None,
        }
    }

    /// From when on it need not be kept any more, if ever: a day after what it revokes has expired by itself, as clocks
    /// disagree.
    #[must_use]
    pub fn kept_until(&self) -> Option<SystemTime> {
        let ends =
            matches!(self.topic, Topic::Token(_) | Topic::Answers(_) | Topic::Credential(_) | Topic::Session { .. });
        let rank = self.rank().filter(|rank| ends && *rank < FOR_EVER)?;
        time(rank)?.checked_add(MARGIN)
    }

    pub(in super::super) fn all(at: SystemTime) -> Self {
        Self { topic: Topic::All, says: Says::Revoked(milliseconds(at)) }
    }

    /// At this time by the log's clock.
    pub(in super::super) fn forgotten(topic: Topic, at: SystemTime) -> Self {
        Self { topic, says: Says::Forgotten(milliseconds(at)) }
    }

    /// Since when it was to be forgotten, if it was.
    pub(super) fn forgotten_at(&self) -> Option<SystemTime> {
        match self.says {
            Says::Revoked(_) => None,
            Says::Forgotten(at) => time(at),
        }
    }

    pub(in super::super) fn void(token: Option<TokenDigest>, at: SystemTime) -> Self {
        Self { topic: Topic::Answers(token), says: Says::Revoked(milliseconds(at)) }
    }

    pub(super) fn about(&self) -> &Topic {
        &self.topic
    }

    /// About how many bytes it takes to write it.
    pub(super) fn size(&self) -> usize {
        let words = match &self.topic {
            Topic::Credential(id) => id.len(),
            Topic::Session { issuer, id } => issuer.as_ref().map_or(0, String::len) + id.len(),
            Topic::Subject { issuer, subject } => issuer.as_ref().map_or(0, String::len) + subject.len(),
            Topic::Token(_) | Topic::Answers(_) => 64,
            Topic::IssuedBefore | Topic::All => 0,
        };
        2 * words + 64
    }

    /// Of two that revoke the same, the one that holds.
    pub(super) fn or(self, other: Self) -> Self {
        if self.rank() < other.rank() { other } else { self }
    }

    pub(super) fn said(self) -> Said {
        let Self { topic, says } = self;
        let Says::Revoked(rank) = says else { return Said::Forgotten(topic) };
        let until = if rank == FOR_EVER { None } else { time(rank) };
        let date = time(rank).unwrap_or(UNIX_EPOCH);
        Said::Revoked(match topic {
            Topic::Token(digest) => Revocation::Token { digest, until },
            Topic::Answers(token) => return Said::Void(token, date),
            Topic::Credential(id) => Revocation::Credential { id, until },
            Topic::Session { issuer, id } => Revocation::Session { issuer, id, until },
            Topic::Subject { issuer, subject } => Revocation::Subject { issuer, subject, issued_before: date },
            Topic::IssuedBefore => Revocation::IssuedBefore(date),
            Topic::All => return Said::All(date),
        })
    }
}

impl From<Revocation> for Entry {
    fn from(revocation: Revocation) -> Self {
        let ends = |until: Option<SystemTime>| until.map_or(FOR_EVER, milliseconds);
        let (topic, rank) = match revocation {
            Revocation::Token { digest, until } => (Topic::Token(digest), ends(until)),
            Revocation::Credential { id, until } => (Topic::Credential(id), ends(until)),
            Revocation::Session { issuer, id, until } => (Topic::Session { issuer, id }, ends(until)),
            Revocation::Subject { issuer, subject, issued_before } => {
                (Topic::Subject { issuer, subject }, milliseconds(issued_before))
            }
            Revocation::IssuedBefore(time) => (Topic::IssuedBefore, milliseconds(time)),
        };
        Self { topic, says: Says::Revoked(rank) }
    }
}

impl Topic {
    pub(in super::super) fn of_subject(subject: Subject<'_>) -> Self {
        Self::Subject { issuer: subject.issuer.map(str::to_owned), subject: subject.subject.to_owned() }
    }
}

/// In whole milliseconds, the last of which counts: what is revoked is so for no shorter than was said.
fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let whole = u64::try_from(since.as_nanos().div_ceil(1_000_000)).unwrap_or(FOR_EVER);
    whole.min(FOR_EVER - 1)
}

fn time(milliseconds: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds))
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(digest) => write!(f, "token {}", Hex(digest)),
            Self::Answers(Some(digest)) => write!(f, "answers {}", Hex(digest)),
            Self::Answers(None) => f.write_str("answers"),
            Self::Credential(id) => write!(f, "credential {}", Word(Some(id))),
            Self::Session { issuer, id } => write!(f, "session {} {}", Word(issuer.as_deref()), Word(Some(id))),
            Self::Subject { issuer, subject } => {
                write!(f, "subject {} {}", Word(issuer.as_deref()), Word(Some(subject)))
            }
            Self::IssuedBefore => f.write_str("issued-before"),
            Self::All => f.write_str("all"),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION} {} ", self.topic)?;
        match self.says {
            Says::Revoked(rank) => write!(f, "{rank}"),
            Says::Forgotten(at) => write!(f, "{NONE}{at}"),
        }
    }
}

impl FromStr for Entry {
    type Err = InvalidEntry;

    fn from_str(text: &str) -> Result<Self, InvalidEntry> {
        let words: Vec<_> = text.split(' ').collect();
        let (version, words) = words.split_first().ok_or(InvalidEntry::Syntax)?;
        if *version != VERSION {
            return Err(InvalidEntry::Version);
        }
        let (rank, words) = words.split_last().ok_or(InvalidEntry::Syntax)?;
        let some = |text: &str| word(text)?.ok_or(InvalidEntry::Syntax);
        let topic = match words {
            ["token", digest] => Topic::Token(from_hex(digest)?),
            ["answers", digest] => Topic::Answers(Some(from_hex(digest)?)),
            ["answers"] => Topic::Answers(None),
            ["credential", id] => Topic::Credential(some(id)?),
            ["session", issuer, id] => Topic::Session { issuer: word(issuer)?, id: some(id)? },
            ["subject", issuer, subject] => Topic::Subject { issuer: word(issuer)?, subject: some(subject)? },
            ["issued-before"] => Topic::IssuedBefore,
            ["all"] => Topic::All,
            _ => return Err(InvalidEntry::Topic),
        };
        let number = |text: &str| text.parse().ok().filter(|number| *number <= FOR_EVER).ok_or(InvalidEntry::Syntax);
        let says = match rank.strip_prefix(NONE) {
            Some(at) => Says::Forgotten(number(at)?),
            None => Says::Revoked(number(rank)?),
        };
        Ok(Self { topic, says })
    }
}

/// A digest as it is written.
struct Hex<'a>(&'a TokenDigest);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Equal digests are equal words: there is one way to write one.
fn from_hex(written: &str) -> Result<TokenDigest, InvalidEntry> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let digits: Option<Vec<u8>> = written.bytes().map(digit).collect();
    let digits: [u8; 64] = digits.and_then(|digits| digits.try_into().ok()).ok_or(InvalidEntry::Syntax)?;
    Ok(TokenDigest::from_bytes(array::from_fn(|n| digits[2 * n] << 4 | digits[2 * n + 1])))
}

/// A word as it is written: without what would end it, or a line.
struct Word<'a>(Option<&'a str>);

impl fmt::Display for Word<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(text) = self.0 else { return f.write_str(NONE) };
        if text == NONE {
            return f.write_str("%7E");
        }
        for character in text.chars() {
            match character {
                '%' | ' ' => write!(f, "%{:02X}", u32::from(character))?,
                _ if character.is_ascii_control() => write!(f, "%{:02X}", u32::from(character))?,
                _ => write!(f, "{character}")?,
            }
        }
        Ok(())
    }
}

/// The text of a word, if there is one.
fn word(written: &str) -> Result<Option<String>, InvalidEntry> {
    if written == NONE {
        return Ok(None);
    }
    let mut parts = written.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_at_checked(2).ok_or(InvalidEntry::Syntax)?;
        let code = u8::from_str_radix(code, 16).ok().filter(u8::is_ascii).ok_or(InvalidEntry::Syntax)?;
        text.push(char::from(code));
        text.push_str(rest);
    }
    Ok(Some(text))
}

impl fmt::Display for InvalidEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "it is of a version that this release does not know",
            Self::Topic => "it is about something that this release does not know",
            Self::Syntax => "it is no entry of a revocation log",
        })
    }
}

impl std::error::Error for InvalidEntry {}
