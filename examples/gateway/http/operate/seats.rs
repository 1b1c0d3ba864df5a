//! How many streams may be open: in all, and of one client.
//!
//! A seat is taken before anything is opened, and given back when the body of the stream is dropped, however it
//! ended. Both counts are behind one lock, so that none of them is ever passed.
//!
//! One client is a subject, where its credential names one: with a token of its own, or by a trusted proxy's word.
//! All who show one shared secret, or nothing, are told apart by their address, that behind trusted proxies; of IPv6
//! by the first half of it, which is what one client is given.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::{IpAddr, Ipv6Addr},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Frame, SizeHint};
use tower_reauth::{AuthMethod, Identity};

use crate::{
    config::MaxStreams,
    http::{operate::Refused, reply},
};

/// How long a client is asked to wait, in seconds.
pub const LATER: u16 = 10;

/// All seats. Clones share them.
#[derive(Clone)]
pub struct Seats(Arc<Shared>);

struct Shared {
    most: MaxStreams,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    in_all: u32,
    /// None is zero.
    by_client: HashMap<Client, u32>,
}

/// Whose streams are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Client {
    Named { issuer: Option<String>, subject: String },
    At(IpAddr),
    Unknown,
}

/// A seat, for as long as it is held.
pub struct Seat {
    seats: Seats,
    client: Client,
}

/// Which seats are all taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    InAll,
    OfThisClient,
}

impl Seats {
    pub fn new(most: MaxStreams) -> Self {
        Self(Arc::new(Shared { most, taken: Mutex::default() }))
    }

    /// A seat for a stream of this caller, who calls from there.
    pub fn take(&self, identity: Option<&Identity>, address: Option<IpAddr>) -> Result<Seat, Full> {
        let client = Client::of(identity, address);
        let mut taken = self.taken();
        if taken.in_all >= self.0.most.in_all {
            return Err(Full::InAll);
        }
        let of_client = taken.by_client.get(&client).copied().unwrap_or(0);
        if of_client >= self.0.most.of_one_client {
            return Err(Full::OfThisClient);
        }
        taken.in_all += 1;
        taken.by_client.insert(client.clone(), of_client + 1);
        Ok(Seat { seats: self.clone(), client })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Client {
    fn of(identity: Option<&Identity>, address: Option<IpAddr>) -> Self {
        match (identity, address) {
            (Some(identity), _) if matches!(identity.method(), AuthMethod::Token | AuthMethod::TrustedProxy) => {
                Self::Named { issuer: identity.issuer().map(str::to_owned), subject: identity.subject().to_owned() }
            }
            (_, Some(address)) => Self::At(match address.to_canonical() {
                IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)).into(),
                address => address,
            }),
            (_, None) => Self::Unknown,
        }
    }
}

impl Seat {
    /// The body, which has this seat until it is dropped.
    pub fn held_by(self, body: Body) -> Body {
        Body::new(Seated { body, _seat: self })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.taken();
        taken.in_all -= 1;
        if let Entry::Occupied(mut of_client) = taken.by_client.entry(self.client.clone()) {
            *of_client.get_mut() -= 1;
            if *of_client.get() == 0 {
                of_client.remove();
            }
        }
    }
}

impl Full {
    /// 503 where the gateway has no more seats, 429 where the client has its share (RFC 6585 section 4).
    pub fn answer(self) -> Response {
        self.answer_by(reply::error)
    }

    /// The same in the words of another API.
    pub fn answer_by(self, error: impl FnOnce(StatusCode, &str, &str) -> Response) -> Response {
        let mut response = match self {
            Self::InAll => error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "As many streams are open as may be."),
            Self::OfThisClient => error(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_streams",
                "As many streams of this client are open as may be.",
            ),
        };
        response.headers_mut().insert(http::header::RETRY_AFTER, LATER.into());
        response.extensions_mut().insert(Refused(self.as_str()));
        response
    }

    /// The flag by which it is so.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InAll => "max_streams",
            Self::OfThisClient => "max_streams_per_client",
        }
    }
}

struct Seated {
    body: Body,
    _seat: Seat,
}

impl http_body::Body for Seated {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn seats(in_all: u32, of_one_client: u32) -> Seats {
        Seats::new(MaxStreams { in_all, of_one_client })
    }

    fn token(subject: &str) -> Identity {
        Identity::new(subject, AuthMethod::Token)
    }

    #[test]
    fn a_subject_is_one_client_wherever_it_calls_from_and_an_address_whoever_shows_the_secret() {
        let secret = Identity::new("shared-secret", AuthMethod::SharedSecret);
        let address = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (one, other, is_one_client) in [
            ((token("a"), "192.0.2.1"), (token("a"), "192.0.2.2"), true),
            ((token("a"), "192.0.2.1"), (token("b"), "192.0.2.1"), false),
            ((token("a"), "192.0.2.1"), (token("a").with_issuer("https://i.example"), "192.0.2.1"), false),
            ((token("a"), "192.0.2.1"), (Identity::new("a", AuthMethod::TrustedProxy), "192.0.2.2"), true),
            ((secret.clone(), "192.0.2.1"), (secret.clone(), "192.0.2.1"), true),
            ((secret.clone(), "192.0.2.1"), (secret.clone(), "::ffff:192.0.2.1"), true),
            ((secret.clone(), "192.0.2.1"), (secret.clone(), "192.0.2.2"), false),
            ((secret.clone(), "2001:db8::1"), (secret.clone(), "2001:db8::2"), true),
            ((secret.clone(), "2001:db8::1"), (secret.clone(), "2001:db8:0:1::1"), false),
            ((Identity::new("anonymous", AuthMethod::Anonymous), "192.0.2.1"), (secret, "192.0.2.1"), true),
        ] {
            let seats = seats(2, 1);
            let _held = seats.take(Some(&one.0), address(one.1)).ok();
            let next = seats.take(Some(&other.0), address(other.1)).map(drop);
            assert_eq!(next == Err(Full::OfThisClient), is_one_client, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_place_is_given_back_and_nothing_is_kept_of_who_had_it() {
        let seats = seats(2, 2);
        let held = [seats.take(Some(&token("a")), None), seats.take(Some(&token("b")), None)];
        assert_eq!(seats.take(Some(&token("c")), None).map(drop), Err(Full::InAll));
        drop(held);
        assert_eq!(seats.taken().in_all, 0);
        assert!(seats.taken().by_client.is_empty());
        let body = seats.take(Some(&token("c")), None).map(|seat| seat.held_by(Body::empty())).ok();
        assert_eq!(seats.taken().in_all, 1);
        drop(body);
        assert_eq!(seats.taken().in_all, 0);
    }

    #[test]
    fn no_race_leads_past_a_bound() {
        let seats = seats(10, 4);
        thread::scope(|threads| {
            for n in 0..8 {
                let seats = &seats;
                threads.spawn(move || {
                    let subject = token(if n % 2 == 0 { "a" } else { "b" });
                    for _ in 0..2000 {
                        let _held = seats.take(Some(&subject), None);
                        let taken = seats.taken();
                        assert!(taken.in_all <= 10 && taken.by_client.values().all(|count| *count <= 4));
                    }
                });
            }
        });
        assert!(seats.taken().by_client.is_empty());
    }
}
