//! A token is revoked by itself, whatever its verifier says of it: at the door, at once for its streams and for no
//! others, at a renewal, and where a handler asks.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use http::{Request, Response};
use tokio::time::advance;
use tokio_test::{assert_pending, task};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, Clock, Denied, Tokens,
    access::{AccessSource, RenewError},
    reauth::EndReason,
    revoke::{Revocation, Revocations},
    verify::{CredentialKey, Token, TokenDigest, Verification, VerifyError},
};

use crate::support::{Oracle, READ, Seen, Wall, access, alice, header, knock, open_with, reauth, request_with};

fn digest(token: &str) -> TokenDigest {
    TokenDigest::of(token)
}

/// A verifier that knows no ids lets everybody in, behind these revocations.
fn door(revocations: &Revocations) -> BearerAuthLayer {
    BearerAuthLayer::new(Oracle::with_revision()).with_revocations(revocations)
}

async fn status(auth: &BearerAuthLayer, token: &str) -> u16 {
    knock(auth.clone(), reauth(), token).await.status().as_u16()
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_revoked_is_refused_and_its_streams_end_and_no_others() {
    let revoke: [(&str, fn(&Revocations, &Wall)); 3] = [
        ("for ever", |revocations, _| revocations.revoke_token(digest("old"))),
        ("until it expires", |revocations, wall| revocations.revoke_token_until(digest("old"), wall.after(60))),
        ("as it was before a restart", |revocations, _| {
            let before = Revocations::new();
            before.revoke_token(digest("old"));
            revocations.restore(before.list());
        }),
    ];
    for (name, revoke) in revoke {
        let wall = Wall::new();
        let revocations = Revocations::with_clock(wall.clock());
        let auth = door(&revocations).with_clock(wall.clock());
        let (old_feed, mut old) = open_with(auth.clone(), reauth(), "old").await;
        let (new_feed, new) = open_with(auth.clone(), reauth(), "new").await;
        assert_eq!(old.now(), None);
        let mut new = task::spawn(new.into_body());
        assert_pending!(new.enter(|cx, body| http_body::Body::poll_frame(body.get_mut().as_mut(), cx)));

        revoke(&revocations, &wall);
        assert_eq!(old.next().await, Seen::Cut(EndReason::Revoked), "{name}");
        assert!(old_feed.is_dropped());
        assert!(!new.is_woken() && !new_feed.is_dropped(), "{name}");
        let response = knock(auth.clone(), reauth(), "old").await;
        assert_eq!(
            (response.status().as_u16(), header(&response, "www-authenticate")),
            (401, Some(r#"Bearer error="invalid_token""#))
        );
        assert_eq!(status(&auth, "new").await, 200);
        assert!(revocations.is_token_revoked(digest("old")) && !revocations.is_token_revoked(digest("new")));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_is_revoked_until_its_expiry_and_the_leeway_and_the_longer_one_holds() {
    let wall = Wall::new();
    let revocations = Revocations::with_clock(wall.clock());
    let auth = door(&revocations).with_clock(wall.clock()).with_leeway(Duration::from_secs(30));
    revocations.revoke_token_until(digest("old"), wall.after(60));
    revocations.revoke_token_until(digest("old"), wall.after(20));
    advance(Duration::from_secs(59)).await;
    assert!(revocations.is_token_revoked(digest("old")));
    advance(Duration::from_secs(30)).await;
    assert!(!revocations.is_token_revoked(digest("old")));
    assert_eq!(status(&auth, "old").await, 401, "the layer would have let it in until then");
    advance(Duration::from_secs(1)).await;
    assert_eq!(status(&auth, "old").await, 200, "its expiry is for the verifier to say");

    revocations.revoke_token(digest("old"));
    revocations.revoke_token_until(digest("old"), wall.after(1));
    advance(Duration::from_secs(1_000)).await;
    assert_eq!(status(&auth, "old").await, 401);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_forgotten_is_good_again_and_that_is_listed_too() {
    let revocations = Revocations::new();
    let auth = door(&revocations);
    revocations.revoke_token(digest("old"));
    assert_eq!(revocations.list(), [Revocation::of_token(digest("old"), None)]);
    assert!(!format!("{revocations:?} {:?}", revocations.list()).contains("2e"), "no digest is shown");
    assert!(revocations.forget_token(digest("old")));
    assert!(!revocations.forget_token(digest("old")));
    assert_eq!((status(&auth, "old").await, revocations.list()), (200, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_by_the_token_that_it_was_renewed_with() {
    let revocations = Revocations::new();
    let auth = door(&revocations);
    let fresh = async |token: &str| -> Access {
        let service = ServiceBuilder::new().layer(auth.clone()).service_fn(async |request: Request<()>| {
            Ok::<_, Infallible>(Response::new(Some(access(&request).clone())))
        });
        let Ok(response) = service.oneshot(request_with(format!("Bearer {token}"))).await;
        response.into_body().expect("it is let in")
    };
    let (first, second, third) = (fresh("first").await, fresh("second").await, fresh("third").await);
    let layer = reauth();
    let mut stream = Box::pin(layer.watch_stream(&first, futures_util::stream::pending::<()>()));
    let ended = |stream: &mut std::pin::Pin<Box<_>>| {
        futures_util::FutureExt::now_or_never(futures_util::StreamExt::next(stream)).is_some()
    };
    assert!(!ended(&mut stream));
    revocations.revoke_token(digest("third"));
    assert_eq!(first.renew(&third), Err(RenewError::Denied(Denied::Revoked)));
    first.renew(&second).expect("it is good");
    assert!(!ended(&mut stream));
    revocations.revoke_token(digest("first"));
    assert!(!ended(&mut stream), "it does not go by that any more");
    assert!(matches!(first.require(READ), Err(Denied::InsufficientScope { .. })));
    revocations.revoke_token(digest("second"));
    assert!(ended(&mut stream));
    assert_eq!(first.require(READ), Err(Denied::Revoked));
}

#[tokio::test(start_paused = true)]
async fn a_source_of_ones_own_goes_by_the_digest_that_its_key_is_made_of() {
    let revocations = Revocations::new();
    let source = AccessSource::new().with_revocations(&revocations);
    let enter = |token: &str| {
        let key = CredentialKey::new(digest(token)).and("and more");
        source.verify(key, || Verification::ready(Ok(alice())))
    };
    let known = enter("t0ken").await.expect("it is good");
    revocations.revoke_token(digest("t0ken"));
    assert_eq!(enter("t0ken").await.err(), Some(Denied::Revoked));
    assert_eq!(known.require(READ), Err(Denied::Revoked));
    assert!(enter("another").await.is_ok());
}

/// The verdict first, then what is revoked: a stranger learns nothing of what was.
#[tokio::test(start_paused = true)]
async fn what_its_verifier_refuses_is_refused_for_that() {
    let revocations = Revocations::new();
    revocations.revoke_token(digest("t0ken"));
    let source = AccessSource::new().with_revocations(&revocations);
    let expired = alice().with_expires_at(SystemTime::UNIX_EPOCH);
    let early = alice().with_not_before(SystemTime::now() + Duration::from_secs(3_600));
    for (answer, denied) in [
        (Err(VerifyError::Rejected), Denied::Rejected),
        (Err(VerifyError::unavailable()), VerifyError::unavailable().into()),
        (Ok(expired), Denied::Expired),
        (Ok(early), Denied::Revoked),
        (Ok(alice()), Denied::Revoked),
    ] {
        let key = CredentialKey::new(digest("t0ken"));
        let answer = source.verify(key, move || Verification::ready(answer.clone())).await;
        assert_eq!(answer.err(), Some(denied));
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_of_tokens_revokes_what_it_drops_and_gives_back_what_it_adds() {
    let wall = Wall::new();
    let revocations = Revocations::with_clock(wall.clock());
    let tokens = Tokens::new([
        Token::new("ci", "old"),
        Token::new("me", "mine").with_expires_at(wall.after(60)),
        Token::new("kept", "kept"),
    ])
    .expect("no duplicates");
    let handle = tokens.clone();
    let auth = BearerAuthLayer::new(tokens.with_revocations(&revocations))
        .with_clock(wall.clock())
        .with_revocations(&revocations);
    let (_feed, mut stream) = open_with(auth.clone(), reauth(), "old").await;
    assert_eq!(stream.now(), None);
    assert_eq!(revocations.list(), [], "what is given at the start was dropped by nobody");

    // By another handle; one that only has another secret is another token, and one that is narrower the same.
    handle.replace([Token::new("ci", "new"), Token::new("kept", "kept").with_scopes(READ)]).expect("no duplicates");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
    let mut revoked = revocations.list();
    revoked.sort_by_key(|revocation| matches!(revocation, Revocation::Token { until: None, .. }));
    assert_eq!(
        revoked,
        [Revocation::of_token(digest("mine"), Some(wall.after(60))), Revocation::of_token(digest("old"), None)]
    );
    for (token, expected) in [("old", 401), ("mine", 401), ("new", 200), ("kept", 200)] {
        assert_eq!(status(&auth, token).await, expected, "{token}");
    }

    // What cannot be is no replacement.
    assert!(handle.replace([Token::new("a", "old"), Token::new("a", "b")]).is_err());
    assert_eq!(revocations.list().len(), 2);

    handle.replace([Token::new("ci", "old"), Token::new("kept", "kept")]).expect("no duplicates");
    for (token, expected) in [("old", 200), ("mine", 401), ("new", 401), ("kept", 200)] {
        assert_eq!(status(&auth, token).await, expected, "{token}");
    }
}

/// A drop that one thread has shared does not outlast that another thread added the token again, nor the other way round.
#[test]
fn of_replacements_at_the_same_time_what_is_revoked_is_what_the_last_one_left_out() {
    let revocations = Revocations::new();
    let tokens = Tokens::default().with_revocations(&revocations);
    tokens.replace(["a", "b", "c"].map(|id| Token::new(id, id))).expect("no duplicates");
    for _ in 0..300 {
        std::thread::scope(|scope| {
            for set in [&["a", "b"][..], &["b", "c"], &["c", "a"]] {
                let tokens = &tokens;
                scope.spawn(move || tokens.replace(set.iter().map(|id| Token::new(id, id))).expect("no duplicates"));
            }
        });
        let known = format!("{tokens:?}");
        for id in ["a", "b", "c"] {
            let is_known = known.contains(&format!("{id:?}"));
            assert_ne!(revocations.is_token_revoked(digest(id)), is_known, "{id}: {known}");
        }
    }
}

/// The same, where the second replacement comes exactly between that a token is dropped and that it is revoked: a clock is
/// read there.
#[test]
fn a_token_that_is_added_while_its_drop_is_shared_is_good() {
    let returns: Arc<Mutex<Option<Tokens>>> = Arc::default();
    let hook = Arc::clone(&returns);
    let revocations = Revocations::with_clock(Clock::from_fn(move || {
        let returns = hook.lock().expect("no panic").take();
        if let Some(tokens) = returns {
            tokens.replace([Token::new("a", "a")]).expect("no duplicates");
        }
        SystemTime::now()
    }));
    let tokens = Tokens::new([Token::new("a", "a")]).expect("no duplicates").with_revocations(&revocations);
    *returns.lock().expect("no panic") = Some(tokens.clone());
    tokens.replace([]).expect("no duplicates");
    assert!(returns.lock().expect("no panic").is_none(), "it was added meanwhile");
    assert!(!revocations.is_token_revoked(digest("a")));
}
