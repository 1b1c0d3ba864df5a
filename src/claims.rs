//! What an issuer says in JSON: members by name, each read as what it must be.
//!
//! A member of another type than its own is an error and never an absence: an expiry that cannot be read must
//! not become a token without one.

use std::{
    borrow::Cow,
    collections::HashSet,
    fmt,
    time::{Duration, SystemTime},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

pub(crate) type Claims = Map<String, Value>;

/// A member that is not what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WrongType {
    pub(crate) name: &'static str,
    pub(crate) expected: &'static str,
}

impl fmt::Display for WrongType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not {}", self.name, self.expected)
    }
}

/// The object that `text` is. Whether a name that occurs twice is an error is left to the reader by RFC 8259
/// section 4 and RFC 7519 section 4; here it is one, at any depth, for another reader may take the other value.
pub(crate) fn object(text: &[u8]) -> Result<Claims, serde_json::Error> {
    serde_json::from_slice::<Distinct>(text)?;
    serde_json::from_slice(text)
}

pub(crate) fn text<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a str>, WrongType> {
    of(claims, name, "a text", Value::as_str)
}

#[cfg(feature = "introspection")]
pub(crate) fn flag(claims: &Claims, name: &'static str) -> Result<Option<bool>, WrongType> {
    of(claims, name, "true or false", Value::as_bool)
}

#[cfg(feature = "security-events")]
pub(crate) fn member<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<&'a Claims>, WrongType> {
    of(claims, name, "an object", Value::as_object)
}

/// A text, or several: the `aud` of RFC 7519 section 4.1.3.
pub(crate) fn texts<'a>(claims: &'a Claims, name: &'static str) -> Result<Option<Vec<&'a str>>, WrongType> {
    of(claims, name, "a text or an array of texts", |value| match value {
        Value::String(one) => Some(vec![one.as_str()]),
        Value::Array(all) => all.iter().map(Value::as_str).collect(),
        _ => None,
    })
}

/// A `NumericDate` (RFC 7519 section 2): seconds since 1970, of which there may be parts.
pub(crate) fn date(claims: &Claims, name: &'static str) -> Result<Option<SystemTime>, WrongType> {
    of(claims, name, "a date in seconds since 1970", |value| {
        let seconds = value.as_number()?;
        if let Some(whole) = seconds.as_u64() {
            return SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(whole));
        }
        let seconds = seconds.as_f64()?;
        let distance = Duration::try_from_secs_f64(seconds.abs()).ok()?;
        if seconds < 0.0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    })
}

fn of<'a, T>(
    claims: &'a Claims,
    name: &'static str,
    expected: &'static str,
    read: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<Option<T>, WrongType> {
    claims.get(name).map(|value| read(value).ok_or(WrongType { name, expected })).transpose()
}

/// The name of a member, copied only where it is written with escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;

        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(NameVisitor)
    }
}

/// Any value without an object that has a name twice.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        // As many as most objects have are looked through faster than they are hashed.
        const FEW: usize = 16;
        let (mut few, mut more) = (Vec::with_capacity(FEW), HashSet::new());
        while let Some(Name(name)) = map.next_key()? {
            map.next_value::<Self>()?;
            if few.contains(&name) || more.contains(&name) {
                return Err(A::Error::custom(format_args!("`{name}` occurs twice")));
            }
            if few.len() < FEW {
                few.push(name);
            } else {
                more.insert(name);
            }
        }
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self, A::Error> {
        while seq.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }
}
