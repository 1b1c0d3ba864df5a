//! The hostile user: all that a user can hand to the library, and what it does at one of its calls.

use std::{
    convert::Infallible,
    future::Future,
    panic::panic_any,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker},
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Sink, Stream};
use http::{Response, header::AUTHORIZATION};
use http_body::{Body, Frame, SizeHint};
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tower_reauth::{
    Clock, Denied, Identity, ScopeSet, VerifyToken,
    bearer::{Authenticate, Head},
    respond::{Refusal, Respond},
    revoke::Revision,
    scope::{Declared, ResolveScopes},
    verify::{BearerToken, CredentialKey, TokenDigest, Verification, VerifyError},
};
use tracing::subscriber::Interest;

use super::world::{Boxed, Feed, Life, VICTIM, World};

/// What the hostile user panics with.
pub struct Outrage;

/// What the hostile user does at one of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Panic,
    /// Does not return until another thread has used all that the library offers.
    Block,
    /// Revokes the victim by [`Revocations`](tower_reauth::revoke::Revocations).
    Revoke,
    /// Has the verifier reject the victim, and moves its revision.
    Reject,
    /// Moves the revision for everybody.
    Bump,
    /// Rotates a secret and replaces a set of tokens, whose verifiers are asked as well.
    Rotate,
    Renew,
    /// Drops a stream of the same credential, and the victim itself where nobody polls it.
    Drop,
    /// Opens another stream of the same credential.
    Open,
    Read,
}

pub const ACTS: [Act; 10] = [
    Act::Panic,
    Act::Block,
    Act::Revoke,
    Act::Reject,
    Act::Bump,
    Act::Rotate,
    Act::Renew,
    Act::Drop,
    Act::Open,
    Act::Read,
];

/// One call of the user's code.
pub fn call(site: &'static str) {
    let Some(world) = World::current() else { return };
    match world.counts(site) {
        None => {}
        Some(Act::Panic) => panic_any(Outrage),
        Some(act) => world.acts(act, site),
    }
}

/// One call of the user's code that is about a token: that which others present is met by good code.
fn call_about(token: &str, site: &'static str) {
    if VICTIM.contains(&token) {
        call(site);
    }
}

/// The wall clock.
pub fn clock() -> Clock {
    let started = tokio::time::Instant::now();
    Clock::from_fn(move || {
        call("Clock");
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(2_000_000_000) + started.elapsed()
    })
}

/// What goes with an identity.
pub struct Claims {
    pub token: String,
    pub _life: Life,
}

impl Drop for Claims {
    fn drop(&mut self) {
        call_about(&self.token, "Claims::drop");
    }
}

/// The verifier, and the authenticator.
#[derive(Clone)]
pub struct Verifier {
    pub world: Arc<World>,
    pub waits: bool,
    pub has_revision: bool,
}

impl Verifier {
    fn answer(&self, token: &str) -> Verification {
        if !self.waits {
            return self.world.judge(token).into();
        }
        Verification::pending(Answering { verifier: self.clone(), token: token.to_owned(), polls: 0 })
    }

    fn shown(&self) -> Option<&Revision> {
        call("revision");
        self.has_revision.then_some(&self.world.shown)
    }
}

struct Answering {
    verifier: Verifier,
    token: String,
    polls: u32,
}

impl Future for Answering {
    type Output = Result<Identity, VerifyError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        call_about(&self.token, "Verification::poll");
        self.polls += 1;
        if self.polls == 1 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(self.verifier.world.judge(&self.token))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        call_about(&self.token, "Verification::drop");
    }
}

impl VerifyToken for Verifier {
    fn verify(&self, token: &BearerToken) -> Verification {
        let token = token.to_str().unwrap_or_default();
        call_about(token, "VerifyToken::verify");
        self.answer(token)
    }

    fn revision(&self) -> Option<&Revision> {
        self.shown()
    }
}

pub struct Credential {
    token: String,
    life: Life,
}

impl Clone for Credential {
    fn clone(&self) -> Self {
        call_about(&self.token, "Credential::clone");
        Self { token: self.token.clone(), life: Arc::clone(&self.life) }
    }
}

impl Drop for Credential {
    fn drop(&mut self) {
        call_about(&self.token, "Credential::drop");
    }
}

impl Authenticate for Verifier {
    type Credential = Credential;

    fn present(&self, head: Head<'_>) -> Result<Credential, Denied> {
        call("Authenticate::present");
        let value = head.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(Denied::Missing)?;
        let token = value.strip_prefix("Bearer ").ok_or(Denied::Missing)?.to_owned();
        Ok(Credential { token, life: Arc::clone(&self.world.credentials) })
    }

    fn verify(&self, credential: &Credential) -> Verification {
        call_about(&credential.token, "Authenticate::verify");
        self.answer(&credential.token)
    }

    fn verify_again(&self, credential: &Credential) -> Verification {
        call_about(&credential.token, "Authenticate::verify_again");
        self.answer(&credential.token)
    }

    fn conclude(
        &self,
        credential: &Credential,
        verdict: Result<Identity, VerifyError>,
    ) -> Result<Identity, VerifyError> {
        call_about(&credential.token, "Authenticate::conclude");
        verdict
    }

    fn revision(&self) -> Option<&Revision> {
        self.shown()
    }

    fn key(&self, credential: &Credential) -> Option<CredentialKey> {
        call_about(&credential.token, "Authenticate::key");
        Some(CredentialKey::new(TokenDigest::of(&credential.token)))
    }

    fn detach(&self, credential: &Credential) -> Credential {
        call_about(&credential.token, "Authenticate::detach");
        credential.clone()
    }
}

pub struct Resolver;

impl ResolveScopes for Resolver {
    fn resolve(&self, identity: &Identity, declared: Declared<'_>) -> ScopeSet {
        call_about(identity.credential_id().unwrap_or_default(), "ResolveScopes::resolve");
        declared.narrow(identity.scopes().expect("each credential has scopes"))
    }

    fn keep_declared(&self, identity: &Identity, declared: Declared<'_>) -> Option<ScopeSet> {
        call_about(identity.credential_id().unwrap_or_default(), "ResolveScopes::keep_declared");
        declared.scopes().cloned()
    }
}

#[derive(Clone)]
pub struct Refuser;

impl Respond<Boxed> for Refuser {
    fn respond(&self, refusal: &Refusal<'_>) -> Response<Boxed> {
        call("Respond::respond");
        let mut response = Response::new(Boxed::default());
        *response.status_mut() = refusal.denied().status();
        response
    }
}

/// A body, a stream and a sink, which say whether what they are asked for is stale.
pub struct Inner {
    pub feed: Feed,
    /// What a client sends passes when access was confirmed before it was read.
    pub is_upload: bool,
}

impl Inner {
    fn poll_item(&self, cx: &Context<'_>) -> Poll<&'static str> {
        self.feed.poll(cx, self.is_upload)
    }
}

impl Body for Inner {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        call("Body::poll_frame");
        self.poll_item(cx).map(|item| Some(Ok(Frame::data(Bytes::from_static(item.as_bytes())))))
    }

    fn is_end_stream(&self) -> bool {
        call("Body::is_end_stream");
        false
    }

    fn size_hint(&self) -> SizeHint {
        call("Body::size_hint");
        SizeHint::new()
    }
}

impl Stream for Inner {
    type Item = Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        call("Stream::poll_next");
        self.poll_item(cx).map(|item| Some(Item(item)))
    }
}

/// What is sent.
pub struct Item(pub &'static str);

impl Drop for Item {
    fn drop(&mut self) {
        call("Item::drop");
    }
}

impl Sink<Item> for Inner {
    type Error = Infallible;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        call("Sink::poll_ready");
        Poll::Ready(Ok(()))
    }

    fn start_send(self: Pin<&mut Self>, item: Item) -> Result<(), Infallible> {
        call("Sink::start_send");
        self.feed.sent(item.0);
        Ok(())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        call("Sink::poll_flush");
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        call("Sink::poll_close");
        Poll::Ready(Ok(()))
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        call("Body::drop");
    }
}

struct Alarm(Arc<AtomicBool>);

/// A waker, each of which is a task's own; it says here that it was called.
pub fn waker(is_woken: &Arc<AtomicBool>) -> Waker {
    Waker::from(Arc::new(Alarm(Arc::clone(is_woken))))
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
        call("Waker::wake");
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        call("Waker::drop");
    }
}

pub struct Subscriber;

impl tracing::Subscriber for Subscriber {
    // Asked each time, whatever the subscribers of other tests have said.
    fn register_callsite(&self, _: &'static tracing::Metadata<'static>) -> Interest {
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        let is_ours = metadata.target().starts_with("tower_reauth");
        if is_ours {
            call("Subscriber::enabled");
        }
        is_ours
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, _: &tracing::Event<'_>) {
        call("Subscriber::event");
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

pub struct Meter;

impl Recorder for Meter {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        call("Recorder::register_counter");
        Counter::from_arc(Arc::new(Self))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        call("Recorder::register_gauge");
        World::current().map_or_else(Gauge::noop, |world| Gauge::from_arc(Arc::new(Open(Arc::clone(&world.open)))))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

impl CounterFn for Meter {
    fn increment(&self, _: u64) {
        call("Counter::increment");
    }

    fn absolute(&self, _: u64) {}
}

/// The streams that are open.
struct Open(Arc<AtomicIsize>);

impl GaugeFn for Open {
    fn increment(&self, _: f64) {
        call("Gauge::increment");
        self.0.fetch_add(1, Relaxed);
    }

    fn decrement(&self, _: f64) {
        self.0.fetch_sub(1, Relaxed);
        call("Gauge::decrement");
    }

    fn set(&self, _: f64) {}
}
