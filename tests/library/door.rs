//! Who comes in: verifiers of every kind, expiry and leeway at the door, and the service behind it.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{
        Arc, LazyLock, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Compat, Denied, Identity, RequireScopeLayer, StaticToken, VerifyToken,
    bearer::{Auth, AuthLayer, Authenticate, Bearer, Head},
    hosts::AllowedHosts,
    reauth::StreamReauthService,
    scope::{RequireScope, ScopeResolver},
    verify::{BearerToken, Verification, VerifyAsync, VerifyError, VerifyFn, verify_async, verify_fn},
};

use crate::support::{
    Answer, Oracle, READ, Reader, Script, Seen, Wall, access, alice, event_stream, reauth, request, request_with,
    script,
};

/// Answers with the subject of the caller.
async fn subject(request: Request<()>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(access(&request).identity().subject().to_owned()))
}

async fn answer<A: Authenticate>(layer: AuthLayer<A>, request: Request<()>) -> Response<String> {
    let Ok(response) = ServiceBuilder::new().layer(layer).service_fn(subject).oneshot(request).await;
    response
}

async fn status(verifier: impl VerifyToken) -> StatusCode {
    answer(BearerAuthLayer::new(verifier), request()).await.status()
}

#[tokio::test]
async fn the_handler_learns_who_is_calling() {
    let response = answer(BearerAuthLayer::new(Oracle::without_revision()), request()).await;
    assert_eq!(response.body(), "alice");
}

#[tokio::test]
async fn one_who_is_refused_never_reaches_the_handler() {
    let calls = Arc::new(AtomicUsize::new(0));
    for error in [VerifyError::Rejected, VerifyError::Expired, VerifyError::unavailable()] {
        let oracle = Oracle::without_revision();
        oracle.says(Err(error));
        let calls = Arc::clone(&calls);
        let service = ServiceBuilder::new().layer(BearerAuthLayer::new(oracle)).service_fn(move |_: Request<()>| {
            calls.fetch_add(1, Ordering::Relaxed);
            ready(Ok::<_, Infallible>(Response::new(())))
        });
        let Ok(response) = service.oneshot(request()).await;
        assert!(response.status().is_client_error() || response.status().is_server_error());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_verifier_is_asked_once_at_the_door() {
    let oracle = Oracle::without_revision();
    assert_eq!(status(oracle.clone()).await, 200);
    assert_eq!(oracle.asked(), 1);
}

#[tokio::test]
async fn what_cannot_be_a_token_is_not_shown_to_the_verifier() {
    let oracle = Oracle::without_revision();
    for header in ["Bearer", "Bearer a b", "Basic dXNlcjpwYXNz"] {
        answer(BearerAuthLayer::new(oracle.clone()), request_with(header)).await;
    }
    assert_eq!(oracle.asked(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_verifier_may_answer_later() {
    let oracle = Oracle::without_revision();
    oracle.says_after(Duration::from_secs(2), Ok(alice()));
    assert_eq!(status(oracle.clone()).await, 200);
    oracle.says_after(Duration::from_secs(2), Err(VerifyError::Rejected));
    assert_eq!(status(oracle.clone()).await, 401);
    oracle.says_after(Duration::from_secs(2), Err(VerifyError::unavailable()));
    assert_eq!(status(oracle).await, 503);
}

#[tokio::test]
async fn closures_and_asynchronous_closures_are_verifiers() {
    let known = verify_fn(|token| match token.to_str() {
        Some("t0ken") => Ok(alice()),
        _ => Err(VerifyError::Rejected),
    });
    assert_eq!(status(known).await, 200);

    let asked = verify_async(async |token| match token.as_bytes() {
        b"t0ken" => Ok(alice()),
        _ => Err(VerifyError::Rejected),
    });
    assert_eq!(status(asked).await, 200);

    let either = verify_fn(|_| Verification::pending(async { Err(VerifyError::Rejected) }));
    assert_eq!(status(either).await, 401);
}

/// What every real verifier has: something that it asks.
struct Directory;

impl Directory {
    async fn owner_of(&self, token: &BearerToken) -> Answer {
        tokio::task::yield_now().await;
        if token.as_bytes() == b"t0ken" { Ok(alice()) } else { Err(VerifyError::Rejected) }
    }
}

#[tokio::test]
async fn an_asynchronous_closure_may_capture_what_it_asks() {
    let directory = Arc::new(Directory);
    let asked = Arc::clone(&directory);
    assert_eq!(status(verify_async(async move |token| asked.owner_of(&token).await)).await, 200);
    let asked = Arc::clone(&directory);
    let cloning = verify_async(move |token| {
        let asked = Arc::clone(&asked);
        async move { asked.owner_of(&token).await }
    });
    assert_eq!(status(cloning).await, 200);
    // Of a type that can be named, and that can be kept.
    struct Kept<F>(VerifyAsync<F>, VerifyFn<fn(&BearerToken) -> Answer>);
    let Kept(later, now) =
        Kept(verify_async(async move |token| directory.owner_of(&token).await), verify_fn(|_| Ok(alice())));
    assert_eq!((status(later).await.as_u16(), status(now).await.as_u16()), (200, 200));
}

#[tokio::test]
async fn references_boxes_and_arcs_of_verifiers_are_verifiers() {
    static KNOWN: LazyLock<StaticToken> = LazyLock::new(|| StaticToken::new("t0ken"));

    async fn is_one(verifier: impl VerifyToken) {
        assert!(verifier.revision().is_some(), "what the verifier can tell shows through the pointer");
        assert_eq!(status(verifier).await, 200);
    }
    let known: &'static StaticToken = &KNOWN;
    is_one(known).await;
    is_one(known as &'static dyn VerifyToken).await;
    is_one(Box::new(known.clone())).await;
    is_one(Box::new(known.clone()) as Box<dyn VerifyToken>).await;
    is_one(Arc::new(known.clone())).await;
    is_one(Arc::new(known.clone()) as Arc<dyn VerifyToken>).await;
}

#[tokio::test]
async fn an_answer_that_is_asked_for_twice_is_no_answer() {
    for mut answer in [Verification::ready(Ok(alice())), Verification::pending(async { Ok(alice()) })] {
        assert!((&mut answer).await.is_ok());
        assert_eq!(answer.await.map(|_| ()), Err(VerifyError::unavailable()));
    }
}

/// A service of which only the instance that was polled ready may be called.
struct Fussy {
    is_ready: bool,
}

impl Clone for Fussy {
    fn clone(&self) -> Self {
        Self { is_ready: false }
    }
}

impl Service<Request<()>> for Fussy {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.is_ready = true;
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        assert!(std::mem::take(&mut self.is_ready), "called without having been polled ready");
        ready(Ok(Response::new(())))
    }
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_polled_ready_is_the_one_that_is_called() {
    let at_once = Oracle::without_revision();
    let later = Oracle::without_revision();
    later.says_after(Duration::from_secs(1), Ok(alice()));

    for oracle in [at_once, later] {
        let mut service = BearerAuthLayer::new(oracle).layer(Fussy { is_ready: false });
        for _ in 0..3 {
            let Ok(ready) = service.ready().await;
            let Ok(response) = ready.call(request()).await;
            assert_eq!(response.status(), 200);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn several_requests_wait_for_the_verifier_side_by_side() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let service = BearerAuthLayer::new(oracle.clone()).layer(Fussy { is_ready: false });
    let first = tokio::spawn(service.clone().oneshot(request_with("Bearer one")));
    let second = tokio::spawn(service.oneshot(request_with("Bearer two")));
    tokio::task::yield_now().await;
    assert_eq!(oracle.open_questions(), 2);
    oracle.answers(Err(VerifyError::Rejected));
    oracle.answers(Ok(alice()));
    let (Ok(first), Ok(second)) = (first.await.expect("no panic"), second.await.expect("no panic"));
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_given_up_gives_up_its_question() {
    let oracle = Oracle::without_revision();
    oracle.waits();
    let service = BearerAuthLayer::new(oracle.clone()).layer(Fussy { is_ready: false });
    let gone = tokio::time::timeout(Duration::from_secs(1), service.oneshot(request())).await;
    assert!(gone.is_err());
    assert_eq!(oracle.open_questions(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_expired_credential_is_a_401_and_never_anonymous() {
    let wall = Wall::new();
    let cases = [(-1, 401), (0, 401), (1, 200)];
    for (seconds, expected) in cases {
        let oracle = Oracle::without_revision();
        oracle.says(Ok(alice().with_expires_at(wall.after(10))));
        let layer = BearerAuthLayer::new(oracle).with_clock(wall.clock());
        wall.set_by(10 - seconds);
        let response = answer(layer, request()).await;
        assert_eq!(response.status(), expected, "{seconds} s to go");
        if expected == 401 {
            let challenge = response.headers()["www-authenticate"].to_str().expect("ASCII");
            assert!(challenge.contains("invalid_token"), "{challenge}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_leeway_is_how_much_later_a_credential_expires_at_the_door() {
    let wall = Wall::new();
    let oracle = Oracle::without_revision();
    oracle.says(Ok(alice().with_expires_at(wall.now())));
    let layer = BearerAuthLayer::new(oracle).with_clock(wall.clock()).with_leeway(Duration::from_secs(60));
    wall.set_by(59);
    assert_eq!(answer(layer.clone(), request()).await.status(), 200);
    wall.set_by(1);
    assert_eq!(answer(layer, request()).await.status(), 401);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_expires_while_the_verifier_thinks_is_expired() {
    let wall = Wall::new();
    let oracle = Oracle::without_revision();
    oracle.says_after(Duration::from_secs(10), Ok(alice().with_expires_at(wall.after(5))));
    let layer = BearerAuthLayer::new(oracle).with_clock(wall.clock());
    assert_eq!(answer(layer, request()).await.status(), 401);
}

#[tokio::test]
async fn the_service_hands_out_the_one_that_it_wraps() {
    let mut service = Auth::new(String::from("inner"), Bearer::new(StaticToken::new("t0ken")));
    service.get_mut().push('!');
    assert_eq!(service.get_ref(), "inner!");
    assert_eq!(service.into_inner(), "inner!");
    assert_eq!(answer(Auth::layer(Bearer::new(StaticToken::new("t0ken"))), request()).await.status(), 200);
}

#[tokio::test]
async fn each_service_is_made_around_another_and_makes_its_layer() {
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(Script::default())));
    let by_hand = AllowedHosts::new(Auth::new(
        ScopeResolver::new(RequireScope::new(StreamReauthService::new(inner), READ), Compat::new(READ)),
        Bearer::new(StaticToken::new("t0ken")),
    ));
    let by_layers = ServiceBuilder::new()
        .layer(AllowedHosts::layer())
        .layer(Auth::layer(Bearer::new(StaticToken::new("t0ken"))))
        .layer(ScopeResolver::layer(Compat::new(READ)))
        .layer(RequireScope::layer(READ))
        .layer(StreamReauthService::layer())
        .service(inner);
    for service in [by_hand, by_layers] {
        let mut request = request();
        request.headers_mut().insert("host", "localhost".parse().expect("ASCII"));
        let Ok(response) = service.oneshot(request).await;
        assert_eq!(response.status(), 200);
    }
}

#[tokio::test]
async fn the_header_that_was_read_is_not_for_the_logs_of_the_service() {
    for oracle in [Oracle::with_revision(), Oracle::without_revision()] {
        oracle.says_after(Duration::ZERO, Ok(alice()));
        let service = BearerAuthLayer::new(oracle).layer(service_fn(async |request: Request<()>| {
            let header = &request.headers()["authorization"];
            Ok::<_, Infallible>(Response::new(format!("{} {header:?}", header.is_sensitive())))
        }));
        let Ok(response) = service.oneshot(request()).await;
        assert_eq!(response.body(), "true Sensitive");
    }
}

/// A caller whom a certificate vouches for: another credential than a bearer token.
struct Certificate;

impl Authenticate for Certificate {
    type Credential = String;

    fn present(&self, head: Head<'_>) -> Result<String, Denied> {
        let name = head.headers().get("x-client-cert").ok_or(Denied::Missing)?;
        Ok(name.to_str().map_err(|_| Denied::Malformed)?.to_owned())
    }

    fn verify(&self, name: &String) -> Verification {
        Ok(Identity::new(name.as_str(), AuthMethod::TrustedProxy)).into()
    }
}

/// A credential whose code uses what leads back to where it is kept.
struct Meddling(Arc<Mutex<Option<Access>>>);

impl Meddling {
    fn meddle(&self) {
        let access = self.0.lock().expect("nobody panics").take();
        if let Some(access) = access {
            let _ = access.renew(&access);
        }
    }
}

impl Clone for Meddling {
    fn clone(&self) -> Self {
        self.meddle();
        Self(Arc::clone(&self.0))
    }
}

impl Drop for Meddling {
    fn drop(&mut self) {
        self.meddle();
    }
}

struct MeddlingCaller(Arc<Mutex<Option<Access>>>);

impl Authenticate for MeddlingCaller {
    type Credential = Meddling;

    fn present(&self, _: Head<'_>) -> Result<Meddling, Denied> {
        Ok(Meddling(Arc::clone(&self.0)))
    }

    fn verify(&self, _: &Meddling) -> Verification {
        Ok(alice()).into()
    }
}

#[tokio::test(start_paused = true)]
async fn a_credential_may_use_what_it_is_kept_by() {
    let found = Arc::new(Mutex::new(None));
    let (feed, body) = script();
    let stream = Mutex::new(Some(body));
    let keeps = Arc::clone(&found);
    let stream = Arc::new(stream);
    let service =
        ServiceBuilder::new().layer(AuthLayer::from_authenticator(MeddlingCaller(Arc::clone(&found)))).layer(reauth());
    let service = service.service_fn(move |request: Request<()>| {
        *keeps.lock().expect("nobody panics") = Some(access(&request).clone());
        let body = stream.lock().expect("nobody panics").take().expect("it is asked once");
        ready(Ok::<_, Infallible>(event_stream(body)))
    });
    let Ok(response) = service.oneshot(request()).await;
    let mut stream = Reader::of(response);
    feed.data("data: 1\n\n");
    assert_eq!(stream.next().await, Seen::data("data: 1\n\n"));
    assert!(found.lock().expect("nobody panics").is_none(), "it was used");
}

#[tokio::test]
async fn a_credential_of_another_kind_goes_through_the_same_door() {
    let request = Request::builder().header("x-client-cert", "bob").body(()).expect("a request");
    let response = answer(AuthLayer::from_authenticator(Certificate), request).await;
    assert_eq!(response.body(), "bob");
    let response = answer(AuthLayer::from_authenticator(Certificate), Request::new(())).await;
    assert_eq!(response.status(), 401);
}

#[tokio::test]
async fn an_access_of_ones_own_takes_the_place_of_the_first_layer() {
    let service = ServiceBuilder::new()
        .map_request(|mut request: Request<()>| {
            request.extensions_mut().insert(Access::new(alice().with_scopes(READ)));
            request
        })
        .layer(RequireScopeLayer::new(READ))
        .service_fn(subject);
    let Ok(response) = service.oneshot(Request::new(())).await;
    assert_eq!((response.status().as_u16(), response.body().as_str()), (200, "alice"));
}

#[test]
fn an_identity_carries_what_the_verifier_learned() {
    struct Tenant(u32);
    let identity = alice().with_claims(Tenant(7)).with_credential_id("laptop");
    assert_eq!(identity.claims::<Tenant>().map(|tenant| tenant.0), Some(7));
    assert!(identity.claims::<String>().is_none());
    assert_eq!(identity.credential_id(), Some("laptop"));

    let other = identity.clone().with_subject("bob");
    assert_eq!((identity.subject(), other.subject()), ("alice", "bob"), "a clone is changed alone");
}
