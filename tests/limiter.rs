//! Clients that keep failing are locked out: the failure limiter through the public API, on a paused
//! clock.

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, Request, Response, header::RETRY_AFTER};
use http_body_util::{
    BodyExt,
    channel::{Channel, Sender},
};
use tokio::time::{Instant, advance, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    AuthMethod, Denied, Identity, StaticToken, StreamReauth, StreamReauthLayer, Tokens, VerifyToken,
    bearer::{AuthLayer, Authenticate, Bearer, Head},
    limiter::{Attempt, FailureLimiter, FailureLimits, Limited},
    proxy::{PeerAddr, TrustedNetworks, TrustedProxy},
    revoke::{Revision, Revocations},
    verify::{
        BearerToken, CredentialKey, Rejection, Token, TokenDigest, Verification, VerifyError, verify_async, verify_fn,
    },
};

const SECOND: Duration = Duration::from_secs(1);
const STRANGER: &str = "203.0.113.1";

/// A limiter, and the authentication that it stands in front of.
struct House {
    limiter: FailureLimiter,
    auth: Limited<Bearer>,
}

impl House {
    fn new(limits: FailureLimits, verifier: impl VerifyToken) -> Self {
        let limiter = FailureLimiter::new(limits);
        let auth = Limited::new(Bearer::new(verifier), limiter.clone(), |_, extensions| {
            extensions.get::<SocketAddr>().map(SocketAddr::ip)
        });
        Self { limiter, auth }
    }

    fn with_secret() -> Self {
        Self::new(FailureLimits::new(), StaticToken::new("right"))
    }

    /// The status, and `Retry-After`.
    async fn ask(&self, client: &str, token: &str) -> (u16, Option<u64>) {
        self.ask_by(&AuthLayer::from_authenticator(self.auth.clone()), client, token).await
    }

    async fn ask_by(&self, layer: &AuthLayer<Limited<Bearer>>, client: &str, token: &str) -> (u16, Option<u64>) {
        let service = ServiceBuilder::new()
            .layer(layer)
            .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
        let response = service.oneshot(request(client, token)).await.unwrap();
        let retry_after = response.headers().get(RETRY_AFTER).map(|value| value.to_str().unwrap().parse().unwrap());
        (response.status().as_u16(), retry_after)
    }

    async fn fail(&self, client: &str, times: usize) {
        for _ in 0..times {
            assert_eq!(self.ask(client, "wrong").await, (401, None));
        }
    }

    /// A stream of whatever is sent.
    async fn stream(&self, client: &str) -> (Sender<Bytes>, StreamReauth<Channel<Bytes>>) {
        let (sender, body) = Channel::new(8);
        let body = Arc::new(Mutex::new(Some(body)));
        let service = ServiceBuilder::new()
            .layer(AuthLayer::from_authenticator(self.auth.clone()))
            .layer(StreamReauthLayer::new())
            .service(service_fn(move |_: Request<()>| {
                let body = body.lock().unwrap().take().expect("one request");
                async { Ok::<_, Infallible>(Response::new(body)) }
            }));
        let response = service.oneshot(request(client, "right")).await.unwrap();
        assert_eq!(response.status(), 200);
        (sender, response.into_body())
    }
}

fn request(client: &str, token: &str) -> Request<()> {
    let mut request = Request::new(());
    if let Ok(address) = client.parse::<IpAddr>() {
        request.extensions_mut().insert(SocketAddr::new(address, 40_000));
    }
    if !token.is_empty() {
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    }
    request
}

#[tokio::test(start_paused = true)]
async fn the_tenth_failure_within_a_minute_locks_the_client_for_five_minutes() {
    let house = House::with_secret();
    house.fail(STRANGER, 10).await;

    for token in ["wrong", "right", ""] {
        assert_eq!(house.ask(STRANGER, token).await, (429, Some(300)), "{token:?}");
    }
    assert_eq!(house.ask("203.0.113.2", "right").await, (200, None));

    advance(300 * SECOND - Duration::from_millis(1)).await;
    assert_eq!(house.ask(STRANGER, "right").await, (429, Some(1)));
    advance(Duration::from_millis(1)).await;
    assert_eq!(house.ask(STRANGER, "right").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn after_the_lock_the_count_begins_anew() {
    let house = House::with_secret();
    house.fail(STRANGER, 10).await;
    // Asking while it is locked out counts for nothing.
    for _ in 0..20 {
        assert_eq!(house.ask(STRANGER, "wrong").await.0, 429);
    }
    advance(300 * SECOND).await;
    house.fail(STRANGER, 10).await;
    assert_eq!(house.ask(STRANGER, "right").await, (429, Some(300)));
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_for_a_minute_and_no_longer() {
    let house = House::with_secret();
    house.fail(STRANGER, 1).await;
    advance(30 * SECOND).await;
    house.fail(STRANGER, 8).await;
    advance(30 * SECOND).await;
    // The first one is a minute old: this is the ninth.
    house.fail(STRANGER, 1).await;
    assert_eq!(house.limiter.check(STRANGER.parse().unwrap()), Ok(()));
    house.fail(STRANGER, 1).await;
    assert_eq!(house.limiter.check(STRANGER.parse().unwrap()), Err(300 * SECOND));
}

#[tokio::test(start_paused = true)]
async fn a_success_clears_the_count() {
    let house = House::with_secret();
    for _ in 0..3 {
        house.fail(STRANGER, 9).await;
        assert_eq!(house.ask(STRANGER, "right").await, (200, None));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_without_a_credential_is_not_counted() {
    let house = House::with_secret();
    for _ in 0..20 {
        assert_eq!(house.ask(STRANGER, "").await, (401, None));
        assert_eq!(house.ask(STRANGER, "not a token").await, (400, None));
    }
    assert_eq!(house.ask(STRANGER, "right").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_cannot_tell_neither_counts_nor_clears() {
    let verifier = verify_fn(|token| match token.as_bytes() {
        b"right" => Err(VerifyError::unavailable()),
        _ => Err(VerifyError::Rejected),
    });
    let house = House::new(FailureLimits::new(), verifier);
    for _ in 0..20 {
        assert_eq!(house.ask(STRANGER, "right").await, (503, Some(1)));
    }
    house.fail(STRANGER, 9).await;
    assert_eq!(house.ask(STRANGER, "right").await, (503, Some(1)));
    house.fail(STRANGER, 1).await;
    assert_eq!(house.ask(STRANGER, "right").await, (429, Some(300)));
}

#[tokio::test(start_paused = true)]
async fn a_guess_counts_whatever_the_reason_for_which_it_is_rejected() {
    let verifier = verify_fn(|token| match token.as_bytes() {
        b"right" => Ok(Identity::new("boss", AuthMethod::Token)),
        _ => Err(VerifyError::rejected(Rejection::BAD_SIGNATURE)),
    });
    let house = House::new(FailureLimits::new(), verifier);
    house.fail(STRANGER, 10).await;
    assert_eq!(house.ask(STRANGER, "right").await, (429, Some(300)));
}

#[tokio::test(start_paused = true)]
async fn an_expired_credential_does_not_buy_ten_more_guesses() {
    let old = Identity::new("old", AuthMethod::Token).with_expires_at(SystemTime::UNIX_EPOCH);
    let verifier = verify_fn(move |token| match token.as_bytes() {
        b"old" => Ok(old.clone()),
        _ => Err(VerifyError::Rejected),
    });
    let house = House::new(FailureLimits::new(), verifier);
    house.fail(STRANGER, 9).await;
    assert_eq!(house.ask(STRANGER, "old").await, (401, None));
    house.fail(STRANGER, 1).await;
    assert_eq!(house.ask(STRANGER, "old").await, (429, Some(300)));
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_good_by_the_leeway_clears_the_count() {
    let late = Identity::new("late", AuthMethod::Token).with_expires_at(SystemTime::now());
    let verifier = verify_fn(move |token| match token.as_bytes() {
        b"late" => Ok(late.clone()),
        _ => Err(VerifyError::Rejected),
    });
    let house = House::new(FailureLimits::new(), verifier);
    let layer = AuthLayer::from_authenticator(house.auth.clone()).with_leeway(60 * SECOND);
    house.fail(STRANGER, 9).await;
    assert_eq!(house.ask_by(&layer, STRANGER, "late").await, (200, None));
    house.fail(STRANGER, 9).await;
    assert_eq!(house.ask_by(&layer, STRANGER, "late").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_credential_does_not_buy_ten_more_guesses() {
    let tokens = Tokens::new([Token::new("left", "left"), Token::new("boss", "right")]).unwrap();
    let house = House::new(FailureLimits::new(), tokens);
    let revocations = Revocations::new();
    let layer = AuthLayer::from_authenticator(house.auth.clone()).with_revocations(&revocations);
    revocations.revoke("left");
    for n in 0..10 {
        assert_eq!(house.ask_by(&layer, STRANGER, "left").await, (401, None), "after {n} guesses");
        assert_eq!(house.ask_by(&layer, STRANGER, "wrong").await, (401, None), "guess {n}");
    }
    for token in ["left", "right", "wrong"] {
        assert_eq!(house.ask_by(&layer, STRANGER, token).await, (429, Some(300)), "{token}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_credential_is_no_guess() {
    let tokens = Tokens::new([Token::new("left", "left"), Token::new("boss", "right")]).unwrap();
    let house = House::new(FailureLimits::new(), tokens);
    let revocations = Revocations::new();
    let layer = AuthLayer::from_authenticator(house.auth.clone()).with_revocations(&revocations);
    revocations.revoke("left");
    for _ in 0..20 {
        assert_eq!(house.ask_by(&layer, STRANGER, "left").await, (401, None));
    }
    assert_eq!(house.ask_by(&layer, STRANGER, "right").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn a_user_whom_the_proxy_may_not_name_counts() {
    let proxy = TrustedProxy::new(TrustedNetworks::parse(["10.0.0.1"]).unwrap(), HeaderName::from_static("x-user"))
        .with_allowed_users(["alice"]);
    let limiter = FailureLimiter::new(FailureLimits::new());
    let auth = Limited::new(proxy, limiter, |_, extensions| Some(extensions.get::<PeerAddr>()?.ip()));
    let ask = async |user: &str| {
        let service = ServiceBuilder::new()
            .layer(AuthLayer::from_authenticator(auth.clone()))
            .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new()))));
        let peer = PeerAddr(SocketAddr::from(([10, 0, 0, 1], 40_000)));
        let request = Request::builder().header("x-user", user).extension(peer).body(()).unwrap();
        service.oneshot(request).await.unwrap().status().as_u16()
    };
    for user in ["a", "b", "c", "d", "e", "f", "g", "h", "i"] {
        assert_eq!(ask(user).await, 401);
    }
    assert_eq!(ask("alice").await, 200, "and clears the count");
    for _ in 0..10 {
        assert_eq!(ask("mallory").await, 401);
    }
    assert_eq!(ask("alice").await, 429);
}

/// An authenticator of which each method can be told from a default.
#[derive(Clone)]
struct Peculiar(Revision);

impl Authenticate for Peculiar {
    type Credential = u8;

    fn present(&self, _: Head<'_>) -> Result<u8, Denied> {
        Ok(1)
    }

    fn verify(&self, _: &u8) -> Verification {
        Err(VerifyError::Rejected).into()
    }

    fn verify_again(&self, _: &u8) -> Verification {
        Err(VerifyError::Expired).into()
    }

    fn conclude(&self, _: &u8, verdict: Result<Identity, VerifyError>) -> Result<Identity, VerifyError> {
        verdict.or(Err(VerifyError::Revoked))
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0)
    }

    fn key(&self, credential: &u8) -> Option<CredentialKey> {
        Some(CredentialKey::new(TokenDigest::of([*credential])))
    }

    fn detach(&self, credential: &u8) -> u8 {
        credential + 1
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stands_in_front_hands_on_every_question() {
    async fn is_handed_on(auth: impl Authenticate<Credential = Attempt<u8>>, revision: &Revision) {
        let attempt = auth.present((&request(STRANGER, "")).into()).unwrap();
        assert_eq!(auth.verify(&attempt).await.unwrap_err(), VerifyError::Rejected);
        assert_eq!(auth.verify_again(&attempt).await.unwrap_err(), VerifyError::Expired);
        assert_eq!(auth.conclude(&attempt, Err(VerifyError::Rejected)).unwrap_err(), VerifyError::Revoked);
        assert_ne!(auth.key(&attempt), auth.key(&auth.detach(&attempt)), "{attempt:?}");
        let before = auth.revision().unwrap().current();
        revision.bump();
        assert_ne!(auth.revision().unwrap().current(), before);
    }
    let revision = Revision::new();
    let limiter = FailureLimiter::new(FailureLimits::new());
    let limited = Limited::new(Peculiar(revision.clone()), limiter, |_, _| None);
    is_handed_on(limited.clone(), &revision).await;
    is_handed_on(Arc::new(limited.clone()), &revision).await;
    is_handed_on(Box::new(limited.clone()), &revision).await;
    let erased: Arc<dyn Authenticate<Credential = Attempt<u8>>> = Arc::new(limited);
    is_handed_on(erased, &revision).await;
}

#[tokio::test(start_paused = true)]
async fn loopback_is_exempt_unless_it_is_counted() {
    let house = House::with_secret();
    for client in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        house.fail(client, 20).await;
        assert_eq!(house.ask(client, "right").await, (200, None));
    }
    let house = House::new(FailureLimits::new().with_loopback_counted(), StaticToken::new("right"));
    house.fail("127.0.0.1", 10).await;
    assert_eq!(house.ask("127.0.0.1", "right").await, (429, Some(300)));
}

#[tokio::test(start_paused = true)]
async fn the_64_bits_of_an_ipv6_subscriber_are_one_client() {
    let house = House::with_secret();
    for n in 1..=10 {
        house.fail(&format!("2001:db8:0:1:{n}::1"), 1).await;
    }
    assert_eq!(house.ask("2001:db8:0:1::ffff", "right").await, (429, Some(300)));
    assert_eq!(house.ask("2001:db8:0:2::ffff", "right").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn requests_without_an_address_are_counted_as_one_client() {
    let house = House::with_secret();
    house.fail("no address", 10).await;
    assert_eq!(house.ask("no address", "right").await, (429, Some(300)));
    assert_eq!(house.ask(STRANGER, "right").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_addresses_pushes_out_the_oldest_count_and_no_lock() {
    let house = House::new(FailureLimits::new().with_capacity(100), StaticToken::new("right"));
    house.fail(STRANGER, 10).await;
    house.fail("203.0.113.2", 9).await;
    for n in 0..1_000_u32 {
        advance(Duration::from_millis(1)).await;
        house.fail(&IpAddr::from((0x0a00_0000 + n).to_be_bytes()).to_string(), 1).await;
    }
    assert_eq!(house.ask(STRANGER, "right").await.0, 429);
    house.fail("203.0.113.2", 9).await;
    assert_eq!(house.ask("203.0.113.2", "right").await, (200, None));
}

#[tokio::test(start_paused = true)]
async fn other_limits_take_effect_at_once_and_a_lock_keeps_its_end() {
    let house = House::with_secret();
    house.fail(STRANGER, 10).await;
    house.fail("203.0.113.2", 4).await;
    house.limiter.set_limits(FailureLimits::new().with_max_attempts(5).with_lockout(2 * SECOND));
    house.fail("203.0.113.2", 1).await;
    assert_eq!(house.ask("203.0.113.2", "right").await, (429, Some(2)));
    assert_eq!(house.ask(STRANGER, "right").await, (429, Some(300)));
}

#[tokio::test(start_paused = true)]
async fn who_asks_a_hundred_times_at_once_learns_no_more_than_ten_answers() {
    let slow = verify_async(async |token: BearerToken| {
        sleep(SECOND).await;
        match token.as_bytes() {
            b"right" => Ok(Identity::new("caller", AuthMethod::Token)),
            _ => Err(VerifyError::Rejected),
        }
    });
    let house = House::new(FailureLimits::new(), slow);
    let mut guesses: Vec<_> = (0..99).map(|_| house.ask(STRANGER, "wrong")).collect();
    guesses.push(house.ask(STRANGER, "right"));

    let answers = join_all(guesses).await;
    assert_eq!(answers.iter().filter(|(status, _)| *status == 401).count(), 10);
    assert_eq!(answers.iter().filter(|(status, _)| *status == 429).count(), 90);
}

#[tokio::test(start_paused = true)]
async fn an_open_stream_ends_at_its_next_frame_once_its_client_is_locked_out() {
    let house = House::with_secret();
    let (mut sender, mut stream) = house.stream(STRANGER).await;
    sender.send_data("one".into()).await.unwrap();
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "one");

    house.fail(STRANGER, 10).await;
    sender.send_data("two".into()).await.unwrap();
    assert!(stream.frame().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_sees_the_lock_at_its_heartbeat_and_not_before() {
    let house = House::with_secret();
    let (_sender, mut stream) = house.stream(STRANGER).await;
    let start = Instant::now();
    // The stream is polled first, and then left alone.
    let (frame, ()) = tokio::join!(stream.frame(), house.fail(STRANGER, 10));
    assert!(frame.is_none());
    assert!(start.elapsed() > 10 * SECOND, "strangers must not wake streams: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_lock_of_somebody_else_leaves_a_stream_alone() {
    let house = House::with_secret();
    let (mut sender, mut stream) = house.stream("203.0.113.2").await;
    house.fail(STRANGER, 10).await;
    sender.send_data("one".into()).await.unwrap();
    assert_eq!(stream.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
}

#[tokio::test(start_paused = true)]
async fn a_recheck_that_fails_is_not_counted_as_an_attempt() {
    let limits = FailureLimits::new().with_max_attempts(1);
    let house = House::new(limits, StaticToken::new("right"));
    let attempt = house.auth.present((&request(STRANGER, "wrong")).into()).unwrap();
    for _ in 0..3 {
        assert_eq!(house.auth.verify_again(&attempt).await.unwrap_err(), VerifyError::Rejected);
    }
    assert_eq!(house.limiter.check(STRANGER.parse().unwrap()), Ok(()));

    let verdict = house.auth.verify(&attempt).await;
    assert_eq!(house.auth.conclude(&attempt, verdict).unwrap_err(), VerifyError::Rejected);
    assert!(matches!(house.auth.verify_again(&attempt).await, Err(VerifyError::LockedOut { .. })));
}

#[tokio::test(start_paused = true)]
async fn the_revision_is_there_only_where_the_inner_verifier_has_one() {
    let asked = Arc::new(AtomicUsize::new(0));
    let verifier = {
        let asked = Arc::clone(&asked);
        verify_fn(move |_| {
            asked.fetch_add(1, Ordering::Relaxed);
            Ok(Identity::new("caller", AuthMethod::Token))
        })
    };
    let house = House::new(FailureLimits::new(), verifier);
    assert!(house.auth.revision().is_none());
    let (mut sender, mut stream) = house.stream(STRANGER).await;
    let at_door = asked.load(Ordering::Relaxed);
    sender.send_data("one".into()).await.unwrap();
    stream.frame().await.unwrap().unwrap();
    assert!(asked.load(Ordering::Relaxed) > at_door, "each frame must be asked for");

    let house = House::with_secret();
    let before = house.auth.revision().unwrap().current();
    house.fail(STRANGER, 10).await;
    assert!(house.auth.revision().unwrap().current() > before);
}

#[tokio::test(start_paused = true)]
async fn neighbours_on_a_link_and_ipv4_behind_nat64_do_not_lock_each_other_out() {
    let house = House::with_secret();
    for (failing, neighbour) in [
        ("fe80::1", "fe80::2"),
        ("64:ff9b::203.0.113.7", "64:ff9b::203.0.113.8"),
        // Two clients of one Teredo server, 198.51.100.1 and 198.51.100.2.
        ("2001:0:4136:e378:8000:63bf:39cc:9bfe", "2001:0:4136:e378:8000:63bf:39cc:9bfd"),
    ] {
        house.fail(failing, 10).await;
        assert_eq!(house.ask(failing, "right").await, (429, Some(300)), "{failing}");
        assert_eq!(house.ask(neighbour, "right").await, (200, None), "{neighbour}");
    }
    // The same host by IPv4, and a /48 that belongs to one.
    assert_eq!(house.ask("203.0.113.7", "right").await.0, 429);
    assert_eq!(house.ask("2002:cb00:7107:1234::1", "right").await.0, 429);
}

#[tokio::test(start_paused = true)]
async fn a_hook_hears_of_each_lock_once_when_it_holds_already() {
    let house = House::with_secret();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (limiter, log) = (house.limiter.clone(), Arc::clone(&heard));
    house.limiter.on_lock(move |address, lockout| {
        // The limiter can be asked from within.
        log.lock().unwrap().push((address.to_string(), lockout, limiter.check(address)));
        limiter.failed(address);
    });

    house.fail(STRANGER, 9).await;
    assert!(heard.lock().unwrap().is_empty());
    house.fail(STRANGER, 1).await;
    for _ in 0..5 {
        assert_eq!(house.ask(STRANGER, "wrong").await.0, 429);
    }
    house.limiter.failed(STRANGER.parse().unwrap());
    house.fail("::ffff:203.0.113.2", 10).await;
    advance(300 * SECOND).await;
    house.fail(STRANGER, 10).await;

    let lock = |address: &str| (address.to_owned(), 300 * SECOND, Err(300 * SECOND));
    assert_eq!(*heard.lock().unwrap(), [lock(STRANGER), lock("203.0.113.2"), lock(STRANGER)]);
}

#[tokio::test(start_paused = true)]
async fn a_hook_that_panics_harms_neither_the_lock_nor_the_answer_nor_the_next_hook() {
    let house = House::with_secret();
    let heard = Arc::new(AtomicUsize::new(0));
    house.limiter.on_lock(|_, _| panic!("a hook"));
    let count = Arc::clone(&heard);
    house.limiter.on_lock(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    house.fail(STRANGER, 10).await;
    assert_eq!(house.ask(STRANGER, "right").await, (429, Some(300)));
    house.fail("203.0.113.2", 10).await;
    assert_eq!(house.ask("203.0.113.2", "right").await, (429, Some(300)));
    assert_eq!(house.ask("203.0.113.3", "right").await, (200, None));
    assert_eq!(heard.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lock_is_one_warning_in_the_log_with_the_address_and_the_time() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&log);
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer(move || Lines(Arc::clone(&lines)))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);

    let house = House::with_secret();
    house.fail(STRANGER, 10).await;
    for _ in 0..5 {
        assert_eq!(house.ask(STRANGER, "wrong").await.0, 429);
    }
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("WARN") && log.contains(STRANGER) && log.contains("300s"), "{log}");
    assert!(!log.contains("wrong"), "{log}");
}

struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
