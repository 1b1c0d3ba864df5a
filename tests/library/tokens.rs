//! The verifiers that are shipped: one secret, and many tokens.

use std::{
    panic::catch_unwind,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::Duration,
};

use futures_util::FutureExt;
use http::{HeaderValue, Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Identity, ScopeSet, StaticToken, Tokens, VerifyToken,
    verify::{BearerToken, InvalidSecret, Token, TokenDigest},
};

use crate::support::{READ, WRITE, Wall, access, request_with};

/// Whose token this is, if it is anybody's.
async fn owner(verifier: impl VerifyToken, token: &str) -> Option<Identity> {
    owner_by(BearerAuthLayer::new(verifier), token).await
}

async fn owner_by(layer: BearerAuthLayer, token: &str) -> Option<Identity> {
    let service = ServiceBuilder::new().layer(layer).service_fn(async |request: Request<()>| {
        Ok::<_, std::convert::Infallible>(Response::new(Some(access(&request).identity())))
    });
    let Ok(response) = service.oneshot(request_with(format!("Bearer {token}"))).await;
    response.into_body()
}

#[tokio::test]
async fn one_secret_is_good_whatever_its_length_and_no_other_one() {
    let long = "x".repeat(4_000);
    for secret in ["a", "t0ken", &long] {
        let verifier = StaticToken::new(secret);
        assert!(owner(verifier.clone(), secret).await.is_some());
        assert!(owner(verifier.clone(), &format!("{secret}x")).await.is_none());
        assert!(owner(verifier, "another").await.is_none());
    }
}

#[tokio::test]
async fn a_shared_secret_names_nobody() {
    let identity = owner(StaticToken::new("t0ken"), "t0ken").await.expect("it is good");
    assert_eq!((identity.subject(), identity.method()), ("shared-secret", AuthMethod::SharedSecret));
    assert!(identity.scopes().is_none(), "no scopes of its own is not the same as none");
    assert!(identity.expires_at().is_none());
}

#[tokio::test]
async fn a_rotated_secret_is_good_at_once_and_the_old_one_no_longer() {
    let secret = StaticToken::new("old").with_scopes(READ);
    let layer = BearerAuthLayer::new(secret.clone());
    secret.rotate("new");
    assert!(owner_by(layer.clone(), "old").await.is_none());
    let identity = owner_by(layer, "new").await.expect("it is good");
    assert_eq!(identity.scopes(), Some(&READ.into()), "what the secret is good for stays");
}

#[tokio::test]
async fn every_handle_is_one_on_the_same_secret_with_scopes_of_its_own() {
    let kept = StaticToken::new("t0ken");
    let reads = kept.clone().with_scopes(READ);
    let writes = reads.clone().with_scopes(WRITE);
    kept.rotate("another");
    for (handle, scopes) in [(kept, None), (reads, Some(READ)), (writes, Some(WRITE))] {
        assert!(owner(handle.clone(), "t0ken").await.is_none());
        let identity = owner(handle, "another").await.expect("it is good");
        assert_eq!(identity.scopes(), scopes.map(ScopeSet::from).as_ref());
    }
}

/// What a verifier says now.
fn knows(verifier: &impl VerifyToken, token: &str) -> bool {
    let header = HeaderValue::from_str(token).expect("a header can hold it");
    let token = BearerToken::from_header(&header, 0..token.len()).expect("it is there");
    verifier.verify(&token).now_or_never().expect("it knows").is_ok()
}

#[test]
fn a_secret_that_was_rotated_out_stays_out() {
    let secret = StaticToken::new("s0");
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                drop(secret.clone().with_scopes(READ));
            }
        });
        for n in 0..20_000 {
            secret.rotate(format!("s{}", n + 1));
            assert!(!knows(&secret, &format!("s{n}")) && knows(&secret, &format!("s{}", n + 1)), "rotation {n}");
        }
        is_done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn of_two_rotations_at_once_one_leaves_its_secret_whole() {
    let secret = &StaticToken::new("s0");
    for n in 0..2_000 {
        let names = ["left", "right"].map(|side| format!("{side}{n}"));
        thread::scope(|scope| {
            for name in &names {
                scope.spawn(move || secret.rotate(name));
            }
        });
        assert_eq!(names.iter().filter(|name| knows(secret, name)).count(), 1, "rotation {n}");
    }
}

#[test]
fn of_two_writers_the_last_one_stays_and_one_who_asked_before_sees_a_move() {
    let tokens = Tokens::default();
    let revision = tokens.revision().expect("it has one");
    let writers = AtomicUsize::new(2);
    let set = |name: &str| [Token::new(name, name), Token::new("both", "both")];
    let mut remembered = Vec::new();
    thread::scope(|scope| {
        for name in ["one", "two"] {
            let (tokens, writers, set) = (&tokens, &writers, &set);
            scope.spawn(move || {
                (0..2_000).for_each(|_| tokens.replace(set(name)).expect("no duplicates"));
                writers.fetch_sub(1, Ordering::Release);
            });
        }
        while writers.load(Ordering::Acquire) > 0 {
            let at = revision.current();
            assert!(at == 0 || knows(&tokens, "both"), "it is in every set");
            remembered.push((at, knows(&tokens, "one"), knows(&tokens, "two")));
        }
    });
    let (one, two) = (knows(&tokens, "one"), knows(&tokens, "two"));
    assert_ne!(one, two, "one of the two sets, whole");
    remembered.retain(|(at, ..)| *at == revision.current());
    assert!(remembered.iter().all(|answers| (answers.1, answers.2) == (one, two)), "an unchanged revision vouches");
}

#[test]
fn a_secret_that_nobody_could_present_is_refused() {
    for (secret, reason) in [
        (&b""[..], InvalidSecret::Empty),
        (b" ", InvalidSecret::WhiteSpaceAround),
        (b"s3cret\n", InvalidSecret::WhiteSpaceAround),
        (b"s3cret\r\n", InvalidSecret::WhiteSpaceAround),
        (b"\ts3cret", InvalidSecret::WhiteSpaceAround),
        (b"s3cret\0", InvalidSecret::ControlCharacter),
        (b"two\nlines", InvalidSecret::ControlCharacter),
        (b"del\x7f", InvalidSecret::ControlCharacter),
        (b"\xef\xbb\xbfs3cret", InvalidSecret::ByteOrderMark),
    ] {
        assert_eq!(StaticToken::try_new(secret).err(), Some(reason), "{secret:?}");
        assert_eq!(Token::try_new("ci", secret).err(), Some(reason), "{secret:?}");
        let kept = StaticToken::new("s3cret");
        assert_eq!(kept.try_rotate(secret), Err(reason), "{secret:?}");
        assert!(knows(&kept, "s3cret"), "a rotation that fails leaves the old secret good");
        assert!(catch_unwind(|| StaticToken::new(secret)).is_err(), "{secret:?}");
        assert!(!reason.to_string().contains("s3cret"));
    }
    for secret in [&b"s3cret"[..], b"pass word", b"tab\tinside", b"p\xe4ss", "pässword".as_bytes()] {
        assert!(StaticToken::try_new(secret).is_ok(), "{secret:?}");
    }
}

#[tokio::test]
async fn a_rotation_moves_the_revision() {
    let secret = StaticToken::new("old");
    let revision = secret.revision().expect("it has one").clone();
    let before = revision.current();
    secret.rotate("new");
    assert_ne!(revision.current(), before);
}

#[tokio::test]
async fn each_token_has_its_own_subject_scopes_and_name() {
    let tokens = Tokens::new([
        Token::new("laptop", "secret-1").with_subject("alice").with_scopes(READ),
        Token::new("ci", "secret-2"),
    ])
    .expect("no duplicates");

    let alice = owner(tokens.clone(), "secret-1").await.expect("it is good");
    assert_eq!((alice.subject(), alice.credential_id()), ("alice", Some("laptop")));
    assert_eq!((alice.scopes(), alice.method()), (Some(&READ.into()), AuthMethod::Token));

    let ci = owner(tokens.clone(), "secret-2").await.expect("it is good");
    assert_eq!((ci.subject(), ci.credential_id()), ("ci", Some("ci")));
    assert!(ci.scopes().is_some_and(tower_reauth::ScopeSet::is_empty), "it was issued for nothing");

    assert!(owner(tokens, "secret-3").await.is_none());
}

#[tokio::test]
async fn a_token_is_known_by_its_digest_alone() {
    let digest = TokenDigest::from_bytes(*TokenDigest::of("secret").as_bytes());
    let tokens = Tokens::new([Token::from_digest("ci", digest)]).expect("no duplicates");
    assert!(owner(tokens, "secret").await.is_some());
}

#[test]
fn a_digest_is_the_sha256_of_the_token() {
    let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let hex: String = TokenDigest::of("abc").as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, expected);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_good_until_its_expiry() {
    let wall = Wall::new();
    let tokens = Tokens::new([Token::new("ci", "secret").with_expires_at(wall.after(60))]).expect("no duplicates");
    let layer = BearerAuthLayer::new(tokens).with_clock(wall.clock());
    assert!(owner_by(layer.clone(), "secret").await.is_some());
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(owner_by(layer, "secret").await.is_none());
}

#[tokio::test]
async fn a_set_is_replaced_whole() {
    let tokens = Tokens::new([Token::new("a", "secret-1"), Token::new("b", "secret-2")]).expect("no duplicates");
    let layer = BearerAuthLayer::new(tokens.clone());
    let before = tokens.revision().expect("it has one").current();
    tokens.replace([Token::new("b", "secret-2"), Token::new("c", "secret-3")]).expect("no duplicates");
    assert_ne!(tokens.revision().expect("it has one").current(), before);
    assert!(owner_by(layer.clone(), "secret-1").await.is_none());
    assert!(owner_by(layer.clone(), "secret-2").await.is_some());
    assert!(owner_by(layer, "secret-3").await.is_some());
}

#[tokio::test]
async fn duplicates_are_an_error_that_names_the_second_and_changes_nothing() {
    let duplicates = [
        [Token::new("a", "secret-1"), Token::new("a", "secret-2")],
        [Token::new("b", "secret-1"), Token::new("a", "secret-1")],
    ];
    for duplicate in duplicates {
        assert_eq!(Tokens::new(duplicate.clone()).expect_err("a duplicate").id, "a");

        let tokens = Tokens::new([Token::new("c", "secret-3")]).expect("no duplicates");
        let before = tokens.revision().expect("it has one").current();
        let error = tokens.replace(duplicate).expect_err("a duplicate");
        assert_eq!(error.id, "a");
        assert!(!error.to_string().contains("secret-"), "{error}");
        assert_eq!(tokens.revision().expect("it has one").current(), before);
        assert!(owner(tokens.clone(), "secret-3").await.is_some());
        assert!(owner(tokens, "secret-1").await.is_none());
    }
}

#[tokio::test]
async fn an_empty_set_knows_nobody() {
    for tokens in [Tokens::default(), Tokens::new([]).expect("no duplicates")] {
        assert!(owner(tokens, "secret").await.is_none());
    }
}
