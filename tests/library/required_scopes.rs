//! What a route requires, at the door and for as long as its response streams.

use std::sync::{Arc, Mutex};

use futures_util::{StreamExt, stream};
use http::{Request, Response, StatusCode};
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_reauth::{
    Access, BearerAuthLayer, Denied, Identity, RequireScopeLayer, ScopeResolverLayer, ScopeSet, StreamReauthLayer,
    Strict,
    reauth::EndReason,
    scope::{Declared, Requirement, ScopeHierarchy},
};

use crate::support::{
    ADMIN, Oracle, READ, Reader, Seen, WRITE, access, alice, behind, event_stream, handler, header, reauth, request,
    script,
};

async fn status(requirement: impl Into<Requirement>, own: impl Into<ScopeSet>) -> StatusCode {
    let mut request = Request::new(());
    request.extensions_mut().insert(Access::new(alice().with_scopes(own)));
    let service = ServiceBuilder::new().layer(RequireScopeLayer::new(requirement)).service(handler(Response::new(())));
    let Ok(response) = service.oneshot(request).await;
    response.status()
}

#[tokio::test]
async fn one_scope_is_required() {
    assert_eq!(status(READ, READ).await, 200);
    assert_eq!(status(READ, [READ, WRITE]).await, 200);
    assert_eq!(status(READ, WRITE).await, 403);
    assert_eq!(status(READ, ScopeSet::empty()).await, 403);
}

#[tokio::test]
async fn all_of_a_set_is_required() {
    let both = || Requirement::all_of([READ, WRITE]);
    assert_eq!(status(both(), [READ, WRITE]).await, 200);
    assert_eq!(status(both(), READ).await, 403);
    assert_eq!(status(ScopeSet::from([READ, WRITE]), WRITE).await, 403);
    assert_eq!(status([READ, WRITE], WRITE).await, 403);
    assert_eq!(status([READ, WRITE], [READ, WRITE]).await, 200);
}

#[tokio::test]
async fn any_of_a_set_is_required() {
    let either = || Requirement::any_of([READ, WRITE]);
    assert_eq!(status(either(), READ).await, 200);
    assert_eq!(status(either(), WRITE).await, 200);
    assert_eq!(status(either(), ADMIN).await, 403);
}

#[tokio::test]
async fn nothing_required_is_no_obstacle_and_one_of_nothing_is_a_shut_door() {
    assert_eq!(status(Requirement::default(), ScopeSet::empty()).await, 200);
    assert_eq!(status(Requirement::all_of(ScopeSet::empty()), ScopeSet::empty()).await, 200);
    assert_eq!(status(Requirement::any_of(ScopeSet::empty()), [READ, WRITE, ADMIN]).await, 403);
}

#[tokio::test]
async fn what_implies_a_scope_is_as_good_as_the_scope() {
    let service = ServiceBuilder::new()
        .layer(ScopeResolverLayer::new(Strict::new(ADMIN)).with_hierarchy(ScopeHierarchy::new().with_all(ADMIN)))
        .layer(RequireScopeLayer::new(READ))
        .service(handler(Response::new(())));
    let mut request = Request::new(());
    request.extensions_mut().insert(Access::new(alice().with_scopes(ADMIN)));
    let Ok(response) = service.oneshot(request).await;
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn the_requirements_of_nested_layers_add_up() {
    let service = ServiceBuilder::new()
        .layer(RequireScopeLayer::new(Requirement::any_of([READ, ADMIN])))
        .layer(RequireScopeLayer::new(WRITE))
        .service_fn(async |request: Request<()>| {
            Ok::<_, std::convert::Infallible>(Response::new(access(&request).required().scopes().to_string()))
        });
    let with = |own: ScopeSet| {
        let mut request = Request::new(());
        request.extensions_mut().insert(Access::new(alice().with_scopes(own)));
        service.clone().oneshot(request)
    };
    let Ok(response) = with([READ, WRITE].into()).await;
    assert_eq!((response.status().as_u16(), response.body().as_str()), (200, "admin history:read history:write"));

    let Ok(response) = with(WRITE.into()).await;
    assert_eq!(response.status(), 403, "the outer one refuses");
    assert_eq!(
        header(&response, "www-authenticate"),
        Some(r#"Bearer error="insufficient_scope", scope="history:read""#)
    );

    let Ok(response) = with(READ.into()).await;
    assert_eq!(response.status(), 403, "the inner one refuses");
    assert_eq!(
        header(&response, "www-authenticate"),
        Some(r#"Bearer error="insufficient_scope", scope="history:read history:write""#),
        "and names all that is needed"
    );
}

#[tokio::test(start_paused = true)]
async fn a_requirement_that_a_layer_inside_adds_is_rechecked_while_it_streams() {
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_scopes([READ, WRITE])));
    let (_feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(reauth())
        .layer(RequireScopeLayer::new(READ))
        .layer(RequireScopeLayer::new(WRITE))
        .service(handler(event_stream(body)));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    assert_eq!(stream.now(), None);

    oracle.says(Ok(alice().with_scopes(READ)));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::ScopeLost));
}

#[tokio::test(start_paused = true)]
async fn what_the_resolver_decides_is_decided_again_while_it_streams() {
    let oracle = Oracle::with_revision();
    let resolver = |identity: &Identity, _: Declared<'_>| match identity.credential_id() {
        None => READ.into(),
        Some(_) => ScopeSet::empty(),
    };
    let (_feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(ScopeResolverLayer::new(resolver))
        .layer(RequireScopeLayer::new(READ))
        .layer(reauth())
        .service(handler(event_stream(body)));
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    oracle.moves();
    assert_eq!(stream.now(), None, "the same answer grants the same");

    oracle.says(Ok(alice().with_credential_id("demoted")));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::ScopeLost));
}

#[tokio::test(start_paused = true)]
async fn what_was_declared_at_the_door_still_narrows_while_it_streams() {
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_scopes([READ, WRITE])));
    let (_feed, body) = script();
    let declared = http::HeaderName::from_static("x-scopes");
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(ScopeResolverLayer::new(Strict::new(ScopeSet::empty())).with_declared_header(declared.clone()))
        .layer(RequireScopeLayer::new(Requirement::any_of([READ, WRITE])))
        .layer(reauth())
        .service(handler(event_stream(body)));
    let mut request = request();
    request.headers_mut().insert(declared, "history:read".parse().expect("a header value"));
    let Ok(response) = service.oneshot(request).await;
    let mut stream = Reader::of(response);
    assert_eq!(stream.now(), None);

    // WRITE would do, but this request said that it would not use it.
    oracle.says(Ok(alice().with_scopes(WRITE)));
    oracle.moves();
    assert_eq!(stream.next().await, Seen::Cut(EndReason::ScopeLost));
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_keeps_what_is_required_goes_on_with_fewer_scopes_and_the_handler_sees_them() {
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_scopes([READ, WRITE])));
    let (feed, body) = script();
    let inner = handler(event_stream(body));
    let kept = Arc::new(Mutex::new(None));
    let keeping = Arc::clone(&kept);
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(oracle.clone()))
        .layer(RequireScopeLayer::new(READ))
        .layer(reauth())
        .service_fn(move |request: Request<()>| {
            *keeping.lock().expect("nobody panics") = Some(access(&request).clone());
            inner.clone().oneshot(request)
        });
    let Ok(response) = service.oneshot(request()).await;
    let access = kept.lock().expect("nobody panics").take().expect("the handler was called");
    assert!(access.granted().allows(&WRITE));

    let mut stream = Reader::of(response);
    oracle.says(Ok(alice().with_scopes(READ)));
    oracle.moves();
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert!(access.granted().allows(&READ) && !access.granted().allows(&WRITE));
}

#[tokio::test]
async fn a_layer_that_finds_no_access_refuses_with_500() {
    let Ok(by_require) = RequireScopeLayer::new(READ).layer(handler(Response::new(()))).oneshot(request()).await;
    let Ok(by_resolve) =
        ScopeResolverLayer::new(Strict::new(READ)).layer(handler(Response::new(()))).oneshot(request()).await;
    let Ok(by_reauth) = StreamReauthLayer::new().layer(handler(Response::new(script().1))).oneshot(request()).await;
    for status in [by_require.status(), by_resolve.status(), by_reauth.status()] {
        assert_eq!(status, 500);
    }
    assert_eq!(header(&by_require, "www-authenticate"), None, "no credential would help");
}

#[tokio::test]
async fn letting_requests_without_access_through_is_an_explicit_choice() {
    let (feed, body) = script();
    let service = ServiceBuilder::new()
        .layer(ScopeResolverLayer::new(Strict::new(READ)).with_missing_access_allowed())
        .layer(StreamReauthLayer::new().with_missing_access_allowed())
        .service(handler(event_stream(body)));
    let Ok(response) = service.oneshot(Request::new(())).await;
    assert_eq!(response.status(), 200);
    feed.data("data: open\n\n");
    feed.end();
    assert_eq!(Reader::of(response).rest().await, [Seen::data("data: open\n\n"), Seen::End]);
}

#[tokio::test]
async fn the_layers_of_the_second_question_answer_by_a_closure_too() {
    let respond = |denied: &Denied| Response::new(denied.as_str());
    let missing = RequireScopeLayer::new(READ).with_response(respond).layer(handler(Response::new("")));
    let Ok(response) = missing.oneshot(Request::new(())).await;
    assert_eq!(*response.body(), "no_access");

    let mut request = Request::new(());
    request.extensions_mut().insert(Access::new(alice()));
    let lacking = RequireScopeLayer::new(READ).with_response(respond).layer(handler(Response::new("")));
    let Ok(response) = lacking.oneshot(request).await;
    assert_eq!(*response.body(), "insufficient_scope");

    let resolver = ScopeResolverLayer::new(Strict::new(READ)).with_response(respond);
    let Ok(response) = resolver.layer(handler(Response::new(""))).oneshot(Request::new(())).await;
    assert_eq!(*response.body(), "no_access");
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_requires_again_and_again_is_kept_once() {
    let access = Access::new(alice().with_scopes(READ));
    for _ in 0..3 {
        access.require(READ).expect("it was granted");
    }
    assert_eq!(access.required(), Requirement::from(READ));
}

#[tokio::test(start_paused = true)]
async fn what_a_handler_was_refused_is_not_required_of_its_stream() {
    let oracle = Oracle::with_revision();
    oracle.says(Ok(alice().with_scopes(READ)));
    let access = behind(BearerAuthLayer::new(oracle.clone())).await;
    assert!(access.require(ADMIN).is_err());
    let mut items = reauth().watch_stream(&access, stream::iter([1]));
    oracle.moves();
    assert_eq!(items.next().await, Some(1));
}
