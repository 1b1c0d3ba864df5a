//! Promise 15: the credential of an open stream is swapped for a fresh one of the same subject; an
//! older one never wins.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt, stream};
use http::{HeaderName, Request, StatusCode};
use tokio::time::{Instant, advance};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Denied, Identity, RequireScopeLayer, ScopeResolverLayer, ScopeSet, Strict,
    Tokens,
    access::RenewError,
    bearer::AuthLayer,
    proxy::{PeerAddr, TrustedNetworks, TrustedProxy},
    reauth::EndReason,
    verify::{BearerToken, Token, VerifyError, verify_async, verify_fn},
};

use crate::support::{
    ADMIN, Feed, Oracle, READ, Reader, Script, Seen, WRITE, Wall, access, alice, assert_took, behind, event_stream,
    handler, reauth, request_with, script,
};

const MINUTE: Duration = Duration::from_secs(60);
const X_USER: HeaderName = HeaderName::from_static("x-user");

/// A stream, and the access that its handler was given.
struct Opened {
    access: Access,
    feed: Feed,
    stream: Reader<Script>,
}

/// Opens a stream that requires a scope.
async fn open(auth: &BearerAuthLayer, token: &str) -> Opened {
    let (feed, body) = script();
    let seen = Arc::new(Mutex::new(None));
    let (told, inner) = (Arc::clone(&seen), handler(event_stream(body)));
    let service = ServiceBuilder::new()
        .layer(auth.clone())
        .layer(RequireScopeLayer::new(READ))
        .layer(reauth().without_heartbeat())
        .service_fn(move |request: Request<()>| {
            *told.lock().expect("no panic") = Some(access(&request).clone());
            inner.clone().oneshot(request)
        });
    let Ok(response) = service.oneshot(request_with(format!("Bearer {token}"))).await;
    assert_eq!(response.status(), StatusCode::OK);
    let access = seen.lock().expect("no panic").take().expect("the handler was asked");
    let mut stream = Reader::of(response);
    assert_eq!(stream.now(), None);
    Opened { access, feed, stream }
}

/// The access of a request that opens no stream.
async fn fresh(auth: &BearerAuthLayer, token: &str) -> Access {
    let service = ServiceBuilder::new().layer(auth.clone()).service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(http::Response::new(Some(access(&request).clone())))
    });
    let Ok(response) = service.oneshot(request_with(format!("Bearer {token}"))).await;
    response.into_body().expect("the token is good")
}

/// Tokens of alice that expire after so many minutes.
struct House {
    wall: Wall,
    tokens: Tokens,
    auth: BearerAuthLayer,
}

impl House {
    fn new(minutes: &[u64]) -> Self {
        let wall = Wall::new();
        let tokens = Tokens::new(minutes.iter().map(|minutes| {
            let token = Token::new(&format!("t{minutes}"), format!("t{minutes}"));
            token.with_subject("alice").with_scopes(READ).with_expires_at(wall.after(minutes * 60))
        }));
        let tokens = tokens.expect("no duplicates");
        let auth = BearerAuthLayer::new(tokens.clone()).with_clock(wall.clock());
        Self { wall, tokens, auth }
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewed_stream_lives_as_long_as_its_fresh_credential() {
    let house = House::new(&[1, 2, 5]);
    let Opened { access, feed, mut stream } = open(&house.auth, "t1").await;
    let started = Instant::now();
    for token in ["t2", "t5"] {
        assert_eq!(access.renew(&fresh(&house.auth, token).await), Ok(()));
        assert_eq!(access.identity().credential_id(), Some(token));
    }
    advance(3 * MINUTE).await;
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert_took(started, 5 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_wakes_the_stream_and_the_expiry_that_was_armed_is_void() {
    let house = House::new(&[1, 2]);
    let Opened { access, feed: _feed, mut stream } = open(&house.auth, "t1").await;
    let fresh = fresh(&house.auth, "t2").await;
    let started = Instant::now();
    let reading = tokio::spawn(async move { stream.next().await });
    tokio::task::yield_now().await;
    access.renew(&fresh).expect("it is newer");
    assert_eq!(reading.await.expect("no panic"), Seen::Cut(EndReason::Expired));
    assert_took(started, 2 * MINUTE);
}

#[tokio::test(start_paused = true)]
async fn the_stream_follows_the_fresh_credential_and_the_old_one_no_longer() {
    let house = House::new(&[1, 2]);
    let Opened { access, feed, mut stream } = open(&house.auth, "t1").await;
    access.renew(&fresh(&house.auth, "t2").await).expect("it is newer");
    let t2 = || {
        let token = Token::new("t2", "t2").with_subject("alice").with_scopes(READ);
        token.with_expires_at(house.wall.after(120))
    };
    house.tokens.replace([t2()]).expect("no duplicates");
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"), "the old one is removed");

    let reading = tokio::spawn(async move { (stream.next().await, Instant::now()) });
    tokio::task::yield_now().await;
    let removed = Instant::now();
    house.tokens.replace([]).expect("no duplicates");
    assert_eq!(reading.await.expect("no panic"), (Seen::Cut(EndReason::Revoked), removed));
}

#[tokio::test(start_paused = true)]
async fn of_two_renewals_the_newer_wins_whatever_their_order() {
    for order in [["t2", "t5"], ["t5", "t2"]] {
        let house = House::new(&[1, 2, 5]);
        let Opened { access, feed: _feed, mut stream } = open(&house.auth, "t1").await;
        let started = Instant::now();
        for token in order {
            let renewed = access.renew(&fresh(&house.auth, token).await);
            assert_eq!(renewed.is_err(), order == ["t5", "t2"] && token == "t2");
            assert!(matches!(renewed, Ok(()) | Err(RenewError::Older)));
        }
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
        assert_took(started, 5 * MINUTE);
    }
}

#[tokio::test]
async fn of_two_renewals_at_once_the_newer_wins() {
    let house = House::new(&[1, 2, 5]);
    for _ in 0..100 {
        let opened = open(&house.auth, "t1").await;
        let credentials = [fresh(&house.auth, "t2").await, fresh(&house.auth, "t5").await];
        std::thread::scope(|scope| {
            for credential in &credentials {
                scope.spawn(|| opened.access.renew(credential));
            }
        });
        assert_eq!(opened.access.identity().credential_id(), Some("t5"));
    }
}

#[tokio::test(start_paused = true)]
async fn age_goes_by_expiry_and_then_by_issue() {
    let wall = Wall::new();
    let at = |seconds: Option<u64>| seconds.map(|seconds| wall.after(seconds));
    // Expiry and issue, from old to new.
    let ages = [
        (Some(60), None),
        (Some(60), Some(1)),
        (Some(60), Some(2)),
        (Some(61), None),
        (Some(61), Some(0)),
        (None, None),
        (None, Some(1)),
    ];
    let identity = |(expires, issued): (Option<u64>, Option<u64>)| {
        let mut identity = alice();
        if let Some(expires_at) = at(expires) {
            identity = identity.with_expires_at(expires_at);
        }
        if let Some(issued_at) = at(issued) {
            identity = identity.with_issued_at(issued_at);
        }
        Access::with_recheck(identity, || unreachable!("nobody asks"))
    };
    for (i, old) in ages.iter().enumerate() {
        for (k, new) in ages.iter().enumerate() {
            let renewed = identity(*old).renew(&identity(*new));
            let expected = if k < i { Err(RenewError::Older) } else { Ok(()) };
            assert_eq!(renewed, expected, "{old:?} to {new:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_does_not_do_changes_nothing() {
    let wall = Wall::new();
    let token = |id: &str| Token::new(id, id).with_subject("alice").with_scopes(READ);
    let tokens = Tokens::new([
        token("old").with_expires_at(wall.after(60)),
        token("bob").with_subject("bob"),
        token("narrow").with_scopes(WRITE),
        token("short").with_expires_at(wall.after(61)),
    ]);
    let auth = BearerAuthLayer::new(tokens.expect("no duplicates")).with_clock(wall.clock());
    let Opened { access, feed: _feed, mut stream } = open(&auth, "old").await;
    assert_eq!(access.renew(&fresh(&auth, "bob").await), Err(RenewError::OtherSubject));
    let narrow = access.renew(&fresh(&auth, "narrow").await);
    assert!(matches!(narrow, Err(RenewError::Denied(Denied::InsufficientScope { .. }))), "{narrow:?}");
    let short = fresh(&auth, "short").await;
    wall.set_by(61);
    assert_eq!(access.renew(&short), Err(RenewError::Denied(Denied::Expired)));
    wall.set_by(-61);

    assert_eq!(access.identity().credential_id(), Some("old"));
    assert_eq!(access.granted().scopes(), &ScopeSet::from(READ));
    let started = Instant::now();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Expired));
    assert_took(started, MINUTE);
}

#[tokio::test(start_paused = true)]
async fn scopes_are_those_of_the_fresh_credential() {
    let tokens = Tokens::new([
        Token::new("old", "old").with_subject("alice").with_scopes(READ),
        Token::new("new", "new").with_subject("alice").with_scopes([READ, WRITE]),
    ]);
    let auth = BearerAuthLayer::new(tokens.expect("no duplicates"));
    let Opened { access, feed: _feed, stream: _stream } = open(&auth, "old").await;
    assert!(!access.granted().allows(&WRITE));
    access.renew(&fresh(&auth, "new").await).expect("it is as old");
    assert!(access.granted().allows(&WRITE));
}

#[tokio::test(start_paused = true)]
async fn an_answer_about_the_old_credential_changes_nothing_after_a_renewal() {
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_scopes(READ)));
    let auth = BearerAuthLayer::new(oracle.clone());
    let Opened { access, feed, mut stream } = open(&auth, "old").await;
    let fresh = fresh(&auth, "new").await;
    oracle.waits();
    feed.data("data: 1\n\n");
    assert_eq!(stream.now(), None);
    access.renew(&fresh).expect("it is as old");
    oracle.answers(Err(VerifyError::Rejected));
    assert_eq!(stream.now(), None, "the fresh one is asked about");
    oracle.answers(Ok(alice().with_scopes(READ)));
    assert_eq!(stream.now(), Some(Seen::data("data: 1\n\n")));
}

#[tokio::test(start_paused = true)]
async fn the_check_is_of_the_fresh_credential() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&asked);
    let auth = BearerAuthLayer::new(verify_async(move |token| {
        told.lock().expect("no panic").push(token.to_str().expect("text").to_owned());
        async { Ok(alice().with_scopes(READ)) }
    }));
    let Opened { access, feed, mut stream } = open(&auth, "old").await;
    let first = fresh(&auth, "first").await;
    first.renew(&fresh(&auth, "second").await).expect("it is as old");
    access.renew(&first).expect("it is as old");
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert_eq!(*asked.lock().expect("no panic"), ["old", "first", "second", "second"]);
}

#[tokio::test(start_paused = true)]
async fn a_revocation_between_the_door_and_the_renewal_is_not_lost() {
    let house = House::new(&[1, 2]);
    let Opened { access, feed, mut stream } = open(&house.auth, "t1").await;
    let fresh = fresh(&house.auth, "t2").await;
    house.tokens.replace([]).expect("no duplicates");
    access.renew(&fresh).expect("the stream is what asks");
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_does_not_believe_what_the_client_wrote_at_the_first_door() {
    const SCOPES: HeaderName = HeaderName::from_static("x-scopes");
    const OTHER: HeaderName = HeaderName::from_static("x-other-scopes");
    let reads = |header| ScopeResolverLayer::new(Strict::new(READ)).with_declared_header(header);
    let inner = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(http::Response::new(Some(access(&request).clone())))
    });
    // Later through the proxy, which overwrites the header: on a route that reads it, and on others.
    let proxy = TrustedProxy::new(TrustedNetworks::parse(["10.0.0.1"]).expect("a network"), X_USER);
    let from = PeerAddr(([10, 0, 0, 1], 1).into());
    let again = || Request::builder().header(X_USER, "alice").header(SCOPES, "history:read").extension(from).body(());
    let proxied = AuthLayer::from_authenticator(proxy);
    let Ok(response) = proxied.layer(reads(SCOPES).layer(inner)).oneshot(again().expect("a request")).await;
    let same = response.into_body().expect("the proxy is trusted");
    let Ok(response) = proxied.layer(reads(OTHER).layer(inner)).oneshot(again().expect("a request")).await;
    let other = response.into_body().expect("the proxy is trusted");
    let Ok(response) = proxied.layer(inner).oneshot(again().expect("a request")).await;
    let none = response.into_body().expect("the proxy is trusted");

    for (own, fresh) in [(vec![READ], same), (vec![READ, ADMIN], other), (vec![READ, ADMIN], none)] {
        // A token of alice's; she comes without a proxy and declares what she likes.
        let token = Token::new("t", "t0ken").with_subject("alice").with_scopes(ScopeSet::from_iter(own.clone()));
        let direct = BearerAuthLayer::new(Tokens::new([token]).expect("no duplicates"));
        let mut first = request_with("Bearer t0ken");
        first.headers_mut().insert(SCOPES, "admin,history:read".parse().expect("ASCII"));
        let Ok(response) = direct.layer(reads(SCOPES).layer(inner)).oneshot(first).await;
        let opened = response.into_body().expect("it is let in");
        assert_eq!(opened.granted().allows(&ADMIN), own.contains(&ADMIN), "a declaration never widens");
        opened.renew(&fresh).expect("alice as well");
        assert_eq!(opened.granted().scopes().to_string(), "history:read", "the proxy vouched for no more");
        // Nor does a recheck believe it.
        let mut stream = Box::pin(reauth().watch_stream(&opened, stream::pending::<()>()));
        assert!(tokio::time::timeout(MINUTE, stream.next()).await.is_err());
        assert_eq!(opened.granted().scopes().to_string(), "history:read");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_one_issuers_alice_is_not_renewed_by_anothers() {
    let door = |identity: Identity| BearerAuthLayer::new(verify_fn(move |_: &BearerToken| Ok(identity.clone())));
    let ours = behind(door(alice())).await;
    for theirs in [
        Identity::new("alice", AuthMethod::SharedSecret),
        Identity::new("alice", AuthMethod::Anonymous),
        alice().with_issuer("https://another.example"),
        Identity::new("bob", AuthMethod::Token),
    ] {
        let name = format!("{theirs:?}");
        assert_eq!(ours.renew(&behind(door(theirs)).await), Err(RenewError::OtherSubject), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_renewal_of_what_has_ended_is_no_success() {
    let wall = Wall::new();
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_expires_at(wall.after(60))));
    let auth = BearerAuthLayer::new(oracle.clone()).with_clock(wall.clock());
    let access = behind(auth.clone()).await;
    let mut watched = Box::pin(reauth().watch_stream(&access, stream::repeat(1)));
    oracle.says(Ok(alice()));
    let fresh = behind(auth).await;
    advance(MINUTE).await;
    assert_eq!(watched.next().await, None);
    assert_eq!(access.renew(&fresh), Err(RenewError::Ended), "{:?}", watched.end_reason());
}
