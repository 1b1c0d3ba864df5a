//! Open streams by id, so that a client can renew the credential of one.
//!
//! 1. A stream's id is 128 random bits, sent to its client only: to know it is to have opened it.
//! 2. Who asks to renew has come through the door with the fresh credential. Whether that may take the
//!    place of the other one is for [`Access::renew`] to say.
//! 3. An id means something for as long as its stream is open.

use std::{
    collections::HashMap,
    fmt::{self, Display},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tower_reauth::{Access, access::RenewError};

/// What a stream is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamId(u128);

/// The streams that can be renewed.
#[derive(Clone, Default)]
pub struct Renewals(Arc<Mutex<HashMap<StreamId, Access>>>);

/// A stream's entry, until this is dropped.
pub struct Renewable {
    id: StreamId,
    renewals: Renewals,
}

impl StreamId {
    /// Reads what [`Display`] writes, and nothing else.
    pub fn parse(text: &str) -> Option<Self> {
        let id = u128::from_str_radix(text, 16).ok().map(Self)?;
        (id.to_string() == text).then_some(id)
    }

    fn random() -> Option<Self> {
        let mut bits = [0; 16];
        match getrandom::fill(&mut bits) {
            Ok(()) => Some(Self(u128::from_ne_bytes(bits))),
            Err(error) => {
                tracing::warn!(%error, "no random bits: a stream cannot be renewed");
                None
            }
        }
    }
}

impl Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Renewals {
    /// Adds a stream that goes by this access.
    pub fn add(&self, access: Access) -> Option<Renewable> {
        let id = StreamId::random()?;
        self.entries().insert(id, access);
        Some(Renewable { id, renewals: self.clone() })
    }

    /// Lets a stream go by the fresh access from now on. `None` if there is no such stream.
    pub fn renew(&self, id: StreamId, fresh: &Access) -> Option<Result<(), RenewError>> {
        let access = self.entries().get(&id).cloned();
        access.map(|access| access.renew(fresh))
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<StreamId, Access>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Renewable {
    pub fn id(&self) -> StreamId {
        self.id
    }
}

impl Drop for Renewable {
    fn drop(&mut self) {
        // The access is dropped after the lock: what hangs on it is not known here.
        let _access = self.renewals.entries().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use tower_reauth::{AuthMethod, Identity};

    use super::*;

    fn access(subject: &str) -> Access {
        Access::new(Identity::new(subject, AuthMethod::Token))
    }

    #[test]
    fn a_stream_is_renewed_by_its_subject_for_as_long_as_it_is_open() {
        let renewals = Renewals::default();
        let stream = renewals.add(access("a")).unwrap();
        let id = stream.id();
        assert_eq!(renewals.renew(id, &access("a")), Some(Ok(())));
        assert_eq!(renewals.renew(id, &access("b")), Some(Err(RenewError::OtherSubject)));
        drop(stream);
        assert_eq!(renewals.renew(id, &access("a")), None);
        assert!(renewals.entries().is_empty());
    }

    #[test]
    fn an_id_is_read_as_it_was_written() {
        let renewals = Renewals::default();
        let [one, other] = [(); 2].map(|()| renewals.add(access("a")).unwrap());
        assert!(one.id() != other.id());
        let text = one.id().to_string();
        assert_eq!(text.len(), 32);
        assert!(StreamId::parse(&text) == Some(one.id()));
        for other in ["", "0", &text[1..], &format!("{text}0"), &format!("+{}", &text[1..]), &"A".repeat(32)] {
            assert!(StreamId::parse(other).is_none(), "{other}");
        }
    }
}
