//! Revocation by hand, for a verifier that cannot revoke: at the door, and at once for the streams
//! that it concerns and no others.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Wake, Waker},
    time::{Duration, SystemTime},
};

use allocation_counter::measure;
use http::Response;
use http_body::Body;
use tokio::time::{advance, timeout};
use tokio_test::{assert_pending, task};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Clock, Denied, Identity, StreamReauth, Tokens, VerifyToken,
    reauth::EndReason,
    revoke::{Revision, Revocations, Subject},
    verify::{BearerToken, Token, Verification, verify_fn},
};

use crate::support::{
    Feed, Oracle, Reader, Script, Seen, Wall, alice, event_stream, handler, header, knock, open, open_with, reauth,
    request_with, script,
};

/// Believes what a token says of itself, as one does with a signed one: its id, subject and date of
/// issue in seconds, with a slash between them.
struct Signed {
    wall: Wall,
    revision: Revision,
}

impl VerifyToken for Signed {
    fn verify(&self, token: &BearerToken) -> Verification {
        let mut parts = token.to_str().expect("text").split('/');
        let (id, subject) = (parts.next().expect("an id"), parts.next().expect("a subject"));
        let identity = Identity::new(subject, AuthMethod::Token).with_credential_id(id);
        let issued_at =
            parts.next().map(|date| self.wall.started() + Duration::from_secs(date.parse().expect("a date")));
        Ok(match issued_at {
            Some(issued_at) => identity.with_issued_at(issued_at),
            None => identity,
        })
        .into()
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.revision)
    }
}

struct House {
    wall: Wall,
    revocations: Revocations,
    auth: BearerAuthLayer,
}

impl House {
    fn new() -> Self {
        let wall = Wall::new();
        let revocations = Revocations::with_clock(wall.clock());
        let auth = BearerAuthLayer::new(Signed { wall: wall.clone(), revision: Revision::new() })
            .with_clock(wall.clock())
            .with_revocations(&revocations);
        Self { wall, revocations, auth }
    }

    async fn open(&self, token: &str) -> (Feed, Reader<Script>) {
        let (feed, mut stream) = open_with(self.auth.clone(), reauth().without_heartbeat(), token).await;
        assert_eq!(stream.now(), None);
        (feed, stream)
    }

    async fn knock(&self, token: &str) -> Response<StreamReauth<Script>> {
        knock(self.auth.clone(), reauth(), token).await
    }

    async fn is_refused(&self, token: &str) -> bool {
        let response = self.knock(token).await;
        let is_refused = response.status() == 401;
        let challenge = header(&response, "www-authenticate").map(str::to_owned);
        assert_eq!(challenge.as_deref(), is_refused.then_some(r#"Bearer error="invalid_token""#));
        is_refused
    }
}

/// What is revoked, and of whose tokens it takes which.
fn cases() -> [(&'static str, fn(&House), &'static [&'static str]); 5] {
    [
        ("an id", |house| house.revocations.revoke("a1"), &["a1/alice/0"]),
        ("a subject", |house| house.revocations.revoke_subject("alice"), &["a1/alice/0", "a2/alice/5", "a3/alice"]),
        (
            "a date",
            |house| house.revocations.revoke_issued_before(house.wall.started() + Duration::from_secs(5)),
            &["a1/alice/0", "b1/bob/4"],
        ),
        ("nothing", |house| house.revocations.revoke("c1"), &[]),
        ("nobody", |house| house.revocations.revoke_subject("carol"), &[]),
    ]
}

const TOKENS: [&str; 6] = ["a1/alice/0", "a2/alice/5", "a3/alice", "b1/bob/4", "b2/bob/6", "b3/bob"];

#[tokio::test(start_paused = true)]
async fn what_is_revoked_is_refused_at_the_door_and_its_streams_end_and_no_others() {
    for (name, revoke, taken) in cases() {
        let house = House::new();
        advance(Duration::from_secs(10)).await;
        let mut streams = Vec::new();
        for token in TOKENS {
            streams.push((token, house.open(token).await));
        }
        revoke(&house);
        for (token, (feed, stream)) in &mut streams {
            feed.data("data: 1\n\n");
            let is_taken = taken.contains(token);
            let expected = if is_taken { Seen::Cut(EndReason::Revoked) } else { Seen::data("data: 1\n\n") };
            assert_eq!(stream.next().await, expected, "{name}: {token}");
            assert_eq!(feed.is_dropped(), is_taken);
            assert_eq!(house.is_refused(token).await, is_taken, "{name}: {token}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn only_the_streams_that_it_concerns_are_woken() {
    for (name, revoke, taken) in cases() {
        let house = House::new();
        advance(Duration::from_secs(10)).await;
        let mut streams = Vec::new();
        for token in TOKENS {
            let (feed, stream) = house.open(token).await;
            let mut body = task::spawn(stream.into_body());
            assert_pending!(body.enter(|cx, body| http_body::Body::poll_frame(body.get_mut().as_mut(), cx)));
            streams.push((token, feed, body));
        }
        revoke(&house);
        for (token, _, body) in &streams {
            assert_eq!(body.is_woken(), taken.contains(token), "{name}: {token}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everything_can_be_revoked_whatever_a_credential_says() {
    let house = House::new();
    advance(Duration::from_secs(10)).await;
    let mut streams = Vec::new();
    for token in TOKENS {
        streams.push(house.open(token).await);
    }
    house.revocations.revoke_all();
    for token in TOKENS {
        let says_when = token.matches('/').count() == 2;
        assert_eq!(house.is_refused(token).await, says_when, "{token}");
    }
    // Before the old streams noticed anything.
    let (feed, mut back) = house.open("a3/alice").await;
    let (_, mut fresh) = house.open("a4/alice/10").await;
    for (feed, stream) in &mut streams {
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
        assert!(feed.is_dropped());
    }
    feed.data("data: 1\n\n");
    assert_eq!(back.next().await, Seen::data("data: 1\n\n"));
    assert_eq!(fresh.now(), None);
}

#[tokio::test(start_paused = true)]
async fn what_is_issued_after_a_revocation_is_good() {
    let house = House::new();
    house.revocations.revoke_subject("alice");
    house.revocations.revoke_all();
    for token in ["a1/alice/0", "b1/bob/0", "a2/alice/1"] {
        assert!(!house.is_refused(token).await, "{token}");
    }
    house.revocations.revoke_issued_before(SystemTime::UNIX_EPOCH);
    assert!(!house.is_refused("a1/alice/0").await, "an earlier date changes nothing");
    advance(Duration::from_secs(1)).await;
    house.revocations.revoke_all();
    house.revocations.revoke_issued_before(house.wall.started());
    assert!(house.is_refused("a1/alice/0").await);
}

#[tokio::test(start_paused = true)]
async fn what_is_forgotten_is_good_again() {
    let house = House::new();
    advance(Duration::from_secs(10)).await;
    let (_feed, mut stream) = house.open("a1/alice/0").await;
    house.revocations.revoke("a1");
    house.revocations.revoke_subject("alice");
    assert!(house.revocations.forget("a1"));
    assert!(house.is_refused("a1/alice/0").await);
    assert!(house.revocations.forget_subject("alice"));
    assert!(!house.is_refused("a1/alice/0").await);
    assert!(!house.revocations.forget("a1") && !house.revocations.forget_subject("alice"));
    let (_other, mut back) = house.open("a1/alice/0").await;
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "what is over is over");
    assert_eq!(back.now(), None);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_between_the_door_and_the_stream_is_not_lost() {
    let revokes: [fn(&Revocations); 4] = [
        |revocations| revocations.revoke("a1"),
        |revocations| revocations.revoke_subject("alice"),
        |revocations| revocations.revoke_issued_before(SystemTime::now() + Duration::from_secs(1 << 40)),
        Revocations::revoke_all,
    ];
    for revoke in revokes {
        let house = House::new();
        advance(Duration::from_secs(10)).await;
        let (feed, body) = script();
        feed.data("data: 1\n\n");
        let inner = handler(event_stream(body));
        let revocations = house.revocations.clone();
        let service = ServiceBuilder::new().layer(house.auth.clone()).layer(reauth()).service_fn(move |request| {
            revoke(&revocations);
            inner.clone().oneshot(request)
        });
        let Ok(response) = service.oneshot(request_with("Bearer a1/alice/0")).await;
        assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Revoked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_in_the_middle_of_a_poll_stops_the_frame_that_it_finds() {
    let house = House::new();
    let (feed, mut stream) = house.open("a1/alice/0").await;
    let revocations = house.revocations.clone();
    feed.aside(move || revocations.revoke("a1"));
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_verifier_that_cannot_be_reached_does_not_keep_what_is_revoked_open() {
    let revocations = Revocations::new();
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_credential_id("a1")));
    let auth = BearerAuthLayer::new(oracle.clone()).with_revocations(&revocations);
    let (feed, mut stream) = open(auth, reauth().with_grace(Duration::from_secs(3_600))).await;
    oracle.waits();
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), None);
    revocations.revoke("a1");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    assert_eq!(oracle.open_questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_turns_out_to_be_another_one_is_followed_under_its_new_name() {
    let revocations = Revocations::new();
    let oracle = Oracle::with_revision();
    let auth = BearerAuthLayer::new(oracle.clone()).with_revocations(&revocations);
    let (_feed, mut stream) = open(auth, reauth()).await;
    oracle.says(Ok(alice().with_credential_id("a2")));
    oracle.moves();
    assert_eq!(stream.now(), None);
    revocations.revoke("a2");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_streams_and_layers_that_are_gone() {
    let revocations = Revocations::new();
    let verifier = Arc::new(Signed { wall: Wall::new(), revision: Revision::new() });
    for _ in 0..3 {
        let auth = BearerAuthLayer::new(Arc::clone(&verifier)).with_revocations(&revocations);
        let (_feed, mut stream) = open_with(auth, reauth(), "a1/alice").await;
        assert_eq!(stream.now(), None);
    }
    revocations.revoke_all();
    assert_eq!(Arc::strong_count(&verifier), 1);
    assert!(!format!("{revocations:?}").contains("a1"));
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_gives_nothing_back() {
    let house = House::new();
    advance(Duration::from_secs(10)).await;
    for again in [Revocations::revoke_all as fn(&Revocations), |revocations| revocations.revoke_subject("alice")] {
        house.revocations.revoke_subject("alice");
        assert!(house.is_refused("a2/alice/5").await);
        house.wall.set_by(-20);
        again(&house.revocations);
        assert!(house.is_refused("a2/alice/5").await);
        house.wall.set_by(20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_ends_the_stream_of_the_name_that_it_was_opened_under() {
    let tokens = Tokens::new([Token::new("laptop", "t0ken").with_subject("alice")]).expect("no duplicates");
    let revocations = Revocations::new();
    let auth = BearerAuthLayer::new(tokens.clone()).with_revocations(&revocations);
    // A client that does not read: its server does not poll the body.
    let _stalled = open(auth.clone(), reauth()).await;
    tokens.replace([Token::new("phone", "t0ken").with_subject("alice")]).expect("no duplicates");
    let (feed, mut stream) = open(auth, reauth()).await;
    assert_eq!(stream.now(), None);
    revocations.revoke("phone");
    feed.data("data: secret\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_subject_is_revoked_within_its_issuer_and_no_other() {
    let revocations = Revocations::new();
    let issuers = [None, Some("https://one.example"), Some("https://two.example")];
    let doors = issuers.map(|issuer| {
        let caller = issuer.map_or(alice(), |issuer| alice().with_issuer(issuer));
        BearerAuthLayer::new(verify_fn(move |_| Ok(caller.clone()))).with_revocations(&revocations)
    });
    for (door, revoke) in [
        (1, Subject::from(("https://one.example", "alice"))),
        (2, Subject::from(("https://two.example", "alice"))),
        (0, Subject::from("alice")),
    ] {
        let mut streams = Vec::new();
        for auth in &doors {
            streams.push(open(auth.clone(), reauth()).await);
        }
        revocations.revoke_subject(revoke);
        for (at, (_, stream)) in streams.iter_mut().enumerate() {
            let ended = (at == door).then_some(Seen::Cut(EndReason::Revoked));
            let seen = if at == door { Some(stream.next().await) } else { stream.now() };
            assert_eq!(seen, ended, "{revoke:?}: the stream of {:?}", issuers[at]);
        }
        assert!(revocations.forget_subject(revoke));
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_with_an_end_outlasts_the_leeway_and_is_forgotten_after_it() {
    let wall = Wall::new();
    let revocations = Revocations::with_clock(wall.clock());
    let caller = alice().with_credential_id("a1").with_expires_at(wall.after(60));
    let identity = caller.clone();
    let open = BearerAuthLayer::new(verify_fn(move |_| Ok(caller.clone())))
        .with_clock(wall.clock())
        .with_leeway(Duration::from_secs(30));
    let shut = open.clone().with_revocations(&revocations);
    let status = async |layer: &BearerAuthLayer| {
        let service = ServiceBuilder::new().layer(layer.clone()).service(handler(Response::new(String::new())));
        let Ok(response) = service.oneshot(request_with("Bearer t0ken")).await;
        (response.status().as_u16(), response.extensions().get().cloned())
    };
    revocations.revoke_until("a1", wall.after(60));
    assert!(revocations.is_revoked(&identity));
    assert_eq!(status(&shut).await, (401, Some(Denied::Revoked)));

    advance(Duration::from_secs(75)).await;
    assert!(!revocations.is_revoked(&identity), "it has expired by itself");
    assert_eq!(status(&open).await, (200, None), "but for the leeway of this layer");
    assert_eq!(status(&shut).await, (401, Some(Denied::Revoked)));

    advance(Duration::from_secs(20)).await;
    assert_eq!(status(&shut).await, (401, Some(Denied::Expired)));
    let revoke_many = |name, end| (0..400).for_each(|n| revocations.revoke_until(&format!("{name}{n}"), end));
    revoke_many("b", wall.after(60));
    advance(Duration::from_secs(25 * 60 * 60)).await;
    revoke_many("c", wall.after(60));
    assert!(format!("{revocations:?}").contains("credentials: 400,"), "{revocations:?}");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_with_an_end_ends_the_stream_that_a_leeway_keeps_open_behind_it() {
    let (wall, oracle) = (Wall::new(), Oracle::with_revision());
    let end = wall.after(60);
    oracle.says(Ok(alice().with_credential_id("a1").with_expires_at(end)));
    let revocations = Revocations::with_clock(wall.clock());
    let auth = BearerAuthLayer::new(oracle).with_clock(wall.clock()).with_leeway(Duration::from_secs(60));
    let (feed, mut stream) = open(auth.with_revocations(&revocations), reauth().without_heartbeat()).await;
    assert_eq!(stream.now(), None);
    advance(Duration::from_secs(70)).await;
    revocations.revoke_until("a1", end);
    feed.data("data: secret\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[test]
fn nothing_is_left_of_issuers_whose_subjects_are_forgotten() {
    let revocations = Revocations::new();
    let kept = measure(|| {
        for n in 0..1_000 {
            let issuer = format!("https://{n}.example");
            revocations.revoke_subject((issuer.as_str(), "alice"));
            assert!(revocations.forget_subject((issuer.as_str(), "alice")));
        }
    });
    assert!(kept.bytes_current < 4_096, "{} bytes", kept.bytes_current);
}

#[test]
fn a_revocation_without_an_end_is_not_given_one() {
    let revocations = Revocations::new();
    let identity = alice().with_credential_id("a1");
    revocations.revoke("a1");
    revocations.revoke_until("a1", SystemTime::UNIX_EPOCH);
    assert!(revocations.is_revoked(&identity));
    assert!(revocations.forget("a1") && !revocations.forget("a1"));
    assert!(!revocations.is_revoked(&identity));
}

#[tokio::test(start_paused = true)]
async fn a_date_without_a_fraction_is_compared_by_the_second_and_one_with_a_fraction_exactly() {
    let house = House::new();
    let (_feed, mut before) = house.open("a1/alice/5").await;
    advance(Duration::from_millis(5_500)).await;
    house.revocations.revoke_subject("alice");
    assert_eq!(before.next().await, Seen::Cut(EndReason::Revoked), "it is open, so it was issued before");
    assert!(house.is_refused("a2/alice/4").await);
    assert!(!house.is_refused("a3/alice/5").await, "it may have been issued right after");
    assert!(!house.is_refused("a4/alice/6").await);

    for (milliseconds, is_revoked) in [(5_000, false), (5_001, true), (5_499, true), (5_500, false), (5_501, false)] {
        let issued_at = house.wall.started() + Duration::from_millis(milliseconds);
        let identity = alice().with_issued_at(issued_at);
        assert_eq!(house.revocations.is_revoked(&identity), is_revoked, "{milliseconds} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_is_in_force_though_the_clock_panics() {
    let wall = Wall::new();
    let panics_at = Arc::new(AtomicUsize::new(usize::MAX));
    let (shown, countdown) = (wall.clone(), Arc::clone(&panics_at));
    let clock = Clock::from_fn(move || {
        assert_ne!(countdown.fetch_sub(1, Ordering::Relaxed), 0, "the clock panics, as it was told");
        shown.now()
    });
    let revoke: [fn(&Revocations, &Wall); 2] =
        [|revocations, _| revocations.revoke("a1"), |revocations, wall| revocations.revoke_until("a1", wall.after(60))];
    for (reads_before, revoke) in [(0, revoke[0]), (0, revoke[1]), (1, revoke[1]), (2, revoke[1])] {
        let revocations = Revocations::with_clock(clock.clone());
        let auth = BearerAuthLayer::new(Signed { wall: wall.clone(), revision: Revision::new() });
        let auth = auth.with_revocations(&revocations);
        let (feed, mut stream) = open_with(auth, reauth().without_heartbeat(), "a1/alice").await;
        assert_eq!(stream.now(), None);
        panics_at.store(reads_before, Ordering::Relaxed);
        revoke(&revocations, &wall);
        panics_at.store(usize::MAX, Ordering::Relaxed);

        assert!(revocations.is_revoked(&alice().with_credential_id("a1")));
        feed.data("data: 1\n\n");
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    }
}

#[tokio::test(start_paused = true)]
async fn a_task_that_cannot_be_woken_keeps_no_other_stream_open() {
    let house = House::new();
    let waker = Waker::from(Arc::new(Broken));
    let mut streams = Vec::new();
    for token in ["a1/alice", "a2/alice", "a3/alice", "a4/alice"] {
        let (feed, stream) = house.open(token).await;
        let mut body = stream.into_body();
        assert!(body.as_mut().poll_frame(&mut Context::from_waker(&waker)).is_pending());
        streams.push((feed, body));
    }
    house.revocations.revoke_subject("alice");
    for (_feed, body) in streams {
        let mut stream = Reader::of(Response::new(*Pin::into_inner(body)));
        let seen = timeout(Duration::from_secs(1), stream.next()).await;
        assert_eq!(seen, Ok(Seen::Cut(EndReason::Revoked)));
    }
}

/// A task whose executor panics when it is to wake it.
struct Broken;

impl Wake for Broken {
    fn wake(self: Arc<Self>) {
        panic!("the executor panics, as it was told");
    }
}

#[test]
fn what_is_listed_and_restored_revokes_the_same() {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let later = now + Duration::from_secs(60);
    let wall = || Clock::from_fn(move || now);
    let before = Revocations::with_clock(wall());
    before.revoke("laptop");
    before.revoke_until("phone", later);
    before.revoke_session(Some("https://a.example"), "s-1");
    before.revoke_session_until(None, "s-2", later);
    before.revoke_subject(("https://a.example", "alice"));
    before.revoke_subject_before("bob", later);
    before.revoke_issued_before(now - Duration::from_secs(60));

    let after = Revocations::with_clock(wall());
    after.revoke("laptop");
    after.restore(before.list());
    let sorted = |revocations: &Revocations| {
        let mut all: Vec<_> = revocations.list().iter().map(|one| format!("{one:?}")).collect();
        all.sort();
        all
    };
    assert_eq!(sorted(&after), sorted(&before));
    assert_eq!(after.list().len(), 7);
    let alice = Identity::new("alice", AuthMethod::Token).with_issuer("https://a.example");
    for (identity, is_revoked) in [
        (alice.clone().with_issued_at(now - Duration::from_secs(5)), true),
        (alice.clone().with_issued_at(later), false),
        (alice.clone(), true),
        (alice.clone().with_issued_at(later).with_session_id("s-1"), true),
        (Identity::new("alice", AuthMethod::Token), false),
        (Identity::new("bob", AuthMethod::Token), true),
        (Identity::new("eve", AuthMethod::Token).with_credential_id("phone"), true),
        (Identity::new("eve", AuthMethod::Token).with_issued_at(now - Duration::from_secs(90)), true),
        (Identity::new("eve", AuthMethod::Token), false),
    ] {
        assert_eq!(after.is_revoked(&identity), is_revoked, "{identity:?}");
    }
}
