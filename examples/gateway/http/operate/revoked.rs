//! Revocations as JSON: what is asked for, and what there is.

use std::time::SystemTime;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};
use tower_reauth::{
    revoke::{Revocation, Revocations, Subject},
    verify::TokenDigest,
};

use super::open::date;
use crate::config::from_hex;

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What can be said by a date or an id.
    Revoke(Revocation),
    /// Whatever was issued to this subject until now.
    Subject { issuer: Option<String>, subject: String },
    /// Whatever is open now, and whatever was issued until now.
    All,
}

/// The JSON of a revocation: as it is sent, and as it is kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default, deserialize_with = "said")]
    sha256: Option<String>,
    #[serde(default, deserialize_with = "said")]
    credential: Option<String>,
    #[serde(default, deserialize_with = "said")]
    session: Option<String>,
    #[serde(default, deserialize_with = "said")]
    subject: Option<String>,
    #[serde(default, deserialize_with = "said")]
    issuer: Option<String>,
    #[serde(default, deserialize_with = "said")]
    issued_before: Option<String>,
    #[serde(default, deserialize_with = "said")]
    until: Option<String>,
    #[serde(default, deserialize_with = "said")]
    all: Option<bool>,
}

/// What is said: a `null` is no way to leave something out, as by what was left out more would be revoked.
fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

impl Order {
    /// Reads what a request says. The error ends a sentence about it.
    pub fn parse(json: &[u8], now: SystemTime) -> Result<Self, String> {
        let written: Written =
            serde_json::from_slice(json).map_err(|error| format!("The body is no such JSON: {error}."))?;
        let order = written.order()?;
        match &order {
            Self::Revoke(
                Revocation::Token { until: Some(until), .. }
                | Revocation::Credential { until: Some(until), .. }
                | Revocation::Session { until: Some(until), .. },
            ) if *until <= now => Err("until is over.".to_owned()),
            _ => Ok(order),
        }
    }

    /// Does what is asked for: when this returns it holds, and the streams that it concerns are being ended.
    pub fn apply(&self, revocations: &Revocations) {
        match self {
            Self::Revoke(revocation) => revocations.restore([revocation.clone()]),
            Self::Subject { issuer, subject } => match issuer {
                Some(issuer) => revocations.revoke_subject((issuer.as_str(), subject.as_str())),
                None => revocations.revoke_subject(subject),
            },
            Self::All => revocations.revoke_all(),
        }
    }

    /// The same for a log, which no digest goes to.
    pub fn told(&self) -> Value {
        let mut shown = self.shown();
        if let Some(digest) = shown.get_mut("sha256") {
            *digest = "of a token".into();
        }
        shown
    }

    /// What was asked for, as it was.
    pub fn shown(&self) -> Value {
        match self {
            Self::Revoke(revocation) => shown(revocation),
            Self::Subject { issuer, subject } => without_null(json!({ "subject": subject, "issuer": issuer })),
            Self::All => json!({ "all": true }),
        }
    }
}

const ONE_OF: &str = "It takes one of: sha256 (until), credential (until), session (issuer, until), subject (issuer, \
                      issued_before), issued_before, all: true.";

impl Written {
    fn order(self) -> Result<Order, String> {
        let time = |name: &str, text: Option<String>| {
            let parse = |text: String| text.parse::<Timestamp>().map(SystemTime::from);
            text.map(parse).transpose().map_err(|_| format!("{name} needs to be an RFC 3339 time with its offset."))
        };
        let (until, issued_before) = (time("until", self.until)?, time("issued_before", self.issued_before)?);
        for (name, text) in [
            ("credential", &self.credential),
            ("session", &self.session),
            ("subject", &self.subject),
            ("issuer", &self.issuer),
        ] {
            if text.as_deref() == Some("") {
                return Err(format!("{name} is empty."));
            }
        }
        let issuer = self.issuer;
        if let Some(hex) = self.sha256 {
            let is_alone = self.credential.is_none()
                && self.session.is_none()
                && self.subject.is_none()
                && issuer.is_none()
                && issued_before.is_none()
                && self.all.is_none();
            let digest = from_hex(&hex).ok_or("sha256 needs to be 64 hex digits.")?;
            return if is_alone {
                Ok(Order::Revoke(Revocation::of_token(digest, until)))
            } else {
                Err(ONE_OF.to_owned())
            };
        }
        Ok(match (self.credential, self.session, self.subject, issued_before, self.all) {
            (Some(id), None, None, None, None) if issuer.is_none() => {
                Order::Revoke(Revocation::of_credential(id, until))
            }
            (None, Some(id), None, None, None) => Order::Revoke(Revocation::of_session(issuer, id, until)),
            (None, None, Some(subject), None, None) if until.is_none() => Order::Subject { issuer, subject },
            (None, None, Some(subject), Some(before), None) if until.is_none() => {
                let subject = match &issuer {
                    Some(issuer) => Subject::from((issuer.as_str(), subject.as_str())),
                    None => Subject::from(subject.as_str()),
                };
                Order::Revoke(Revocation::of_subject(subject, before))
            }
            (None, None, None, Some(before), None) if issuer.is_none() && until.is_none() => {
                Order::Revoke(Revocation::IssuedBefore(before))
            }
            (None, None, None, None, Some(true)) if issuer.is_none() && until.is_none() => Order::All,
            _ => {
                return Err(ONE_OF.to_owned());
            }
        })
    }
}

/// What is revoked, as [`Order::parse`] reads it.
pub fn shown(revocation: &Revocation) -> Value {
    without_null(match revocation {
        Revocation::Token { digest, until, .. } => json!({ "sha256": hex(digest), "until": until.and_then(date) }),
        Revocation::Credential { id, until, .. } => json!({ "credential": id, "until": until.and_then(date) }),
        Revocation::Session { issuer, id, until, .. } => {
            json!({ "session": id, "issuer": issuer, "until": until.and_then(date) })
        }
        Revocation::Subject { issuer, subject, issued_before, .. } => {
            json!({ "subject": subject, "issuer": issuer, "issued_before": date(*issued_before) })
        }
        Revocation::IssuedBefore(time) => json!({ "issued_before": date(*time) }),
        _ => Value::Null,
    })
}

/// Everything that is revoked, in an order that stays.
pub fn all(revocations: &Revocations) -> Value {
    let mut all: Vec<Value> = revocations.list().iter().map(shown).collect();
    all.sort_by_cached_key(Value::to_string);
    json!({ "revocations": all })
}

/// Reads what [`all`] wrote.
pub fn read(json: &[u8]) -> Result<Vec<Revocation>, String> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct All {
        revocations: Vec<Written>,
    }
    let All { revocations } = serde_json::from_slice(json).map_err(|error| error.to_string())?;
    let one = |written: Written| match written.order()? {
        Order::Revoke(revocation) => Ok(revocation),
        Order::Subject { .. } | Order::All => Err("a subject without issued_before".to_owned()),
    };
    revocations.into_iter().map(one).collect()
}

/// A digest as the file of tokens has it.
fn hex(digest: &TokenDigest) -> String {
    digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn without_null(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, value| !value.is_null());
    }
    value
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn parse(json: &str) -> Result<Value, String> {
        Order::parse(json.as_bytes(), SystemTime::now()).map(|order| order.shown())
    }

    #[test]
    fn what_is_asked_for_is_read_as_it_is_shown() {
        for json in [
            r#"{"credential":"ci"}"#,
            r#"{"credential":"ci","until":"2999-01-01T00:00:00Z"}"#,
            r#"{"session":"s","issuer":"i"}"#,
            r#"{"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#,
            r#"{"subject":"alice"}"#,
            r#"{"subject":"alice","issuer":"https://i.example","issued_before":"2020-01-01T00:00:00Z"}"#,
            r#"{"issued_before":"2020-01-01T00:00:00.000000001Z"}"#,
            r#"{"all":true}"#,
        ] {
            assert_eq!(parse(json).unwrap().to_string(), json);
        }
        let parsed = parse(r#"{"credential":"ci","until":"2999-01-01T01:00:00+01:00"}"#).unwrap();
        assert_eq!(parsed["until"], "2999-01-01T00:00:00Z");
    }

    #[test]
    fn what_cannot_be_meant_is_an_error() {
        for json in [
            "",
            "[]",
            "{}",
            "null",
            r#"{"credential":""}"#,
            r#"{"credential":1}"#,
            r#"{"credential":"a","credential":"b"}"#,
            r#"{"credential":"a","subject":"b"}"#,
            r#"{"credential":"a","issuer":"b"}"#,
            r#"{"credential":"a","until":"2020-01-01T00:00:00Z"}"#,
            r#"{"credential":"a","until":"2999-01-01T00:00:00"}"#,
            r#"{"credential":"a","until":"soon"}"#,
            r#"{"subject":"a","until":"2999-01-01T00:00:00Z"}"#,
            r#"{"issuer":"a"}"#,
            r#"{"sha256":"9f86"}"#,
            r#"{"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","all":true}"#,
            r#"{"sha256":"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08","until":"2020-01-01T00:00:00Z"}"#,
            r#"{"issued_before":7}"#,
            r#"{"all":false}"#,
            r#"{"all":true,"subject":"a"}"#,
            r#"{"credentials":"a"}"#,
            r#"{"all":true} {}"#,
            r#"{"subject":"a","issued_before":null}"#,
            r#"{"credential":"a","until":null}"#,
            r#"{"all":true,"issuer":null}"#,
            r#"["a",null,null,null,null,null,null]"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn what_is_kept_revokes_the_same() {
        let (now, revocations) = (SystemTime::now(), Revocations::new());
        revocations.revoke("a");
        revocations.revoke_until("b", now + Duration::new(90, 7));
        revocations.revoke_token(TokenDigest::of("t0ken"));
        revocations.revoke_token_until(TokenDigest::of("another"), now + Duration::new(90, 7));
        revocations.revoke_session(Some("i"), "s");
        revocations.revoke_subject(("i", "alice"));
        revocations.revoke_subject("bob");
        revocations.revoke_all();
        let written = all(&revocations);
        let again = Revocations::new();
        again.restore(read(written.to_string().as_bytes()).unwrap());
        assert_eq!(all(&again), written);
        assert_eq!(written["revocations"].as_array().unwrap().len(), 8);
        for broken in ["", "{}", r#"{"revocations":[{"subject":"a"}]}"#, r#"{"revocations":[],"x":1}"#] {
            assert!(read(broken.as_bytes()).is_err(), "{broken}");
        }
    }
}
