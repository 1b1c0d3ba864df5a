//! Two doors, two resolvers, two requirements, two lists of revocations: all hold, at the door and for as
//! long as the stream lives.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use http::{Request, Response};
use tower::{ServiceBuilder, ServiceExt};
use tower_reauth::{
    BearerAuthLayer, Clock, Identity, RequireScopeLayer, ScopeResolverLayer, ScopeSet, StaticToken, Strict, Tokens,
    VerifyToken,
    access::RenewError,
    reauth::EndReason,
    revoke::{Revision, Revocations},
    scope::{Declared, ScopeHierarchy},
    verify::{BearerToken, Token, Verification, VerifyError},
};

use crate::support::{
    ADMIN, Oracle, READ, Reader, Seen, WRITE, Wall, access, alice, behind, event_stream, handler, open, reauth,
    request, script,
};

#[tokio::test(start_paused = true)]
async fn a_stream_behind_two_doors_ends_when_either_shuts() {
    for shuts in [0, 1] {
        let doors = [StaticToken::new("t0ken"), StaticToken::new("t0ken")];
        let (feed, body) = script();
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(doors[0].clone()))
            .layer(BearerAuthLayer::new(doors[1].clone()))
            .layer(reauth())
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request()).await;
        let mut stream = Reader::of(response);
        assert_eq!(stream.now(), None);
        doors[shuts].rotate("another");
        feed.data("data: secret\n\n");
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "door {shuts}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_any_door_shuts_wherever_the_layer_that_watches_it_stands_among_them() {
    for shuts in [0, 1, 2, 3] {
        let doors = [(); 3].map(|()| StaticToken::new("t0ken"));
        let door = |at: usize| BearerAuthLayer::new(doors[at].clone().with_scopes(READ));
        let (feed, body) = script();
        let service = ServiceBuilder::new()
            .layer(door(0))
            .layer(reauth())
            .layer(door(1))
            .layer(RequireScopeLayer::new(READ))
            .layer(door(2))
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request()).await;
        let mut stream = Reader::of(response);
        feed.data("data: 1\n\n");
        assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
        let Some(door) = doors.get(shuts) else { continue };
        door.rotate("another");
        assert_eq!(stream.now(), None, "an abort takes two polls");
        assert_eq!(stream.now(), Some(Seen::Cut(EndReason::Revoked)), "door {shuts}");
        assert!(feed.is_dropped());
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_lets_requests_without_access_through_watches_what_a_door_further_in_lets_in() {
    let secret = StaticToken::new("t0ken");
    let (feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(reauth().with_missing_access_allowed())
        .layer(BearerAuthLayer::new(secret.clone()))
        .service(handler(event_stream(body)));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    secret.rotate("another");
    feed.data("data: secret\n\n");
    assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked));
}

#[tokio::test(start_paused = true)]
async fn what_is_required_between_two_doors_is_required_of_the_outer_one_for_as_long_as_it_streams() {
    for loses in [0, 1] {
        let doors = [Oracle::with_revision(), Oracle::with_revision()];
        doors[0].says(Ok(alice().with_scopes(READ)));
        doors[1].says(Ok(alice().with_scopes(WRITE)));
        let (feed, body) = script();
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(doors[0].clone()))
            .layer(RequireScopeLayer::new(READ))
            .layer(BearerAuthLayer::new(doors[1].clone()))
            .layer(RequireScopeLayer::new(WRITE))
            .layer(reauth())
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.status(), 200);
        let mut stream = Reader::of(response);
        feed.data("data: 1\n\n");
        assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
        doors[loses].says(Ok(alice().with_scopes(ADMIN)));
        doors[loses].moves();
        feed.data("data: secret\n\n");
        assert_eq!(stream.next().await, Seen::Cut(EndReason::ScopeLost), "door {loses}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_heartbeat_behind_two_doors_asks_both() {
    for denies in [0, 1] {
        let doors = [Oracle::without_revision(), Oracle::without_revision()];
        let (_feed, body) = script();
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(doors[0].clone()))
            .layer(BearerAuthLayer::new(doors[1].clone()))
            .layer(reauth())
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request()).await;
        doors[denies].says(Err(VerifyError::Rejected));
        assert_eq!(Reader::of(response).next().await, Seen::Cut(EndReason::Revoked), "door {denies}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_outer_doors_code_revokes_while_it_is_asked_stops_the_frame_at_the_inner_one() {
    for asked in ["the verifier", "the clock"] {
        let (revocations, wall) = (Revocations::new(), Wall::new());
        let acts = Arc::new(AtomicBool::new(false));
        let (armed, list) = (Arc::clone(&acts), revocations.clone());
        let act = move |site| {
            if site == asked && armed.load(Ordering::Relaxed) {
                list.revoke("inner");
            }
        };
        let (outer, shown, expires_at) = (act.clone(), wall.clone(), wall.after(60));
        // A clock is read for a frame where a revision vouches for it.
        let inner = if asked == "the clock" { Oracle::with_revision() } else { Oracle::without_revision() };
        inner.says(Ok(alice().with_credential_id("inner")));
        let steady = Revision::new();
        let verifier = Acting { act: outer, revision: Some(steady).filter(|_| asked == "the clock"), expires_at };
        let clock = Clock::from_fn(move || {
            act("the clock");
            shown.now()
        });
        let (feed, body) = script();
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(verifier).with_clock(clock))
            .layer(BearerAuthLayer::new(inner).with_revocations(&revocations))
            .layer(reauth())
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request()).await;
        let mut stream = Reader::of(response);
        assert_eq!(stream.now(), None);
        acts.store(true, Ordering::Relaxed);
        feed.data("data: secret\n\n");
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "{asked}");
    }
}

/// A verifier that does something when it is asked.
struct Acting<F> {
    act: F,
    revision: Option<Revision>,
    expires_at: SystemTime,
}

impl<F: Fn(&'static str) + Send + Sync + 'static> VerifyToken for Acting<F> {
    fn verify(&self, _: &BearerToken) -> Verification {
        (self.act)("the verifier");
        Ok(alice().with_expires_at(self.expires_at)).into()
    }

    fn revision(&self) -> Option<&Revision> {
        self.revision.as_ref()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_behind_one_door_is_not_renewed_by_what_holds_behind_two() {
    let one = behind(BearerAuthLayer::new(StaticToken::new("t0ken"))).await;
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(StaticToken::new("t0ken")))
        .layer(BearerAuthLayer::new(StaticToken::new("t0ken")))
        .service_fn(async |request: Request<()>| Ok::<_, Infallible>(Response::new(Some(access(&request).clone()))));
    let Ok(response) = service.oneshot(request()).await;
    let two = response.into_body().expect("the token is good");
    assert_eq!(one.renew(&two), Err(RenewError::OtherDoors));
    assert_eq!(two.renew(&one), Ok(()), "the outer door of which goes on as it was");
}

#[tokio::test(start_paused = true)]
async fn a_requirement_outside_of_the_resolver_does_not_let_in_whom_the_resolver_denies() {
    let tokens = Tokens::new([Token::new("t", "t0ken").with_scopes(ADMIN)]).expect("no duplicates");
    let suspended = |_: &Identity, _: Declared<'_>| ScopeSet::empty();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens))
        .layer(RequireScopeLayer::new(ADMIN))
        .layer(ScopeResolverLayer::new(suspended))
        .service(handler(Response::new(String::new())));
    let Ok(response) = service.oneshot(request()).await;
    assert_eq!(response.status(), 403);
}

#[tokio::test(start_paused = true)]
async fn of_two_resolvers_each_goes_by_its_own_hierarchy_and_both_must_allow() {
    let tokens = Tokens::new([Token::new("t", "t0ken").with_scopes(ADMIN)]).expect("no duplicates");
    let by = |hierarchy: &ScopeHierarchy| {
        ScopeResolverLayer::new(Strict::new(ScopeSet::empty())).with_hierarchy(hierarchy.clone())
    };
    let (flat, all) = (ScopeHierarchy::new(), ScopeHierarchy::new().with_all(ADMIN));
    let reads = ScopeHierarchy::new().with_implied(ADMIN, READ);
    for (outer, inner, scope, status) in [
        (&all, &all, READ, 200),
        (&all, &reads, READ, 200),
        (&reads, &all, WRITE, 403),
        (&all, &reads, WRITE, 403),
        (&all, &flat, READ, 403),
        (&flat, &all, READ, 403),
        (&flat, &flat, ADMIN, 200),
    ] {
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(tokens.clone()))
            .layer(by(outer))
            .layer(by(inner))
            .layer(RequireScopeLayer::new(scope.clone()))
            .service(handler(Response::new(String::new())));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.status(), status, "{scope}: {outer:?}, {inner:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_when_either_of_two_resolvers_takes_its_scope() {
    for takes in ["outer", "inner"] {
        let oracle = Oracle::with_revision();
        let resolver = |name: &'static str| {
            ScopeResolverLayer::new(
                move |identity: &Identity, _: Declared<'_>| {
                    if identity.claims() == Some(&name) { ScopeSet::empty() } else { READ.into() }
                },
            )
        };
        let (_feed, body) = script();
        let service = ServiceBuilder::new()
            .layer(BearerAuthLayer::new(oracle.clone()))
            .layer(resolver("outer"))
            .layer(resolver("inner"))
            .layer(RequireScopeLayer::new(READ))
            .layer(reauth())
            .service(handler(event_stream(body)));
        let Ok(response) = service.oneshot(request()).await;
        let mut stream = Reader::of(response);
        assert_eq!(stream.now(), None);
        oracle.says(Ok(alice().with_claims(takes)));
        oracle.moves();
        assert_eq!(stream.next().await, Seen::Cut(EndReason::ScopeLost), "{takes}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_either_of_two_lists_of_revocations_has_is_revoked() {
    for revokes in [0, 1] {
        let lists = [Revocations::new(), Revocations::new()];
        let tokens = Tokens::new([Token::new("t", "t0ken")]).expect("no duplicates");
        let auth = BearerAuthLayer::new(tokens).with_revocations(&lists[0]).with_revocations(&lists[1]);
        let (_feed, mut stream) = open(auth.clone(), reauth()).await;
        assert_eq!(stream.now(), None);
        lists[revokes].revoke("t");
        assert_eq!(stream.next().await, Seen::Cut(EndReason::Revoked), "list {revokes}");
        let service = ServiceBuilder::new().layer(auth).service(handler(Response::new(String::new())));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.status(), 401, "list {revokes}");
    }
}
