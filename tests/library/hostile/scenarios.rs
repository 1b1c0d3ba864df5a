//! The scenarios: one for each promise that a user's code could break.

use std::{
    cell::Cell,
    convert::Infallible,
    future::ready,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, atomic::Ordering::Relaxed},
    task::{Context, Poll, Waker},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt};
use http::{Extensions, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use tokio::{runtime::Handle, task::yield_now, time::advance};
use tower::{Layer, Service as _, ServiceExt, service_fn, util::BoxCloneSyncService};
use tower_reauth::{
    Access, BearerAuthLayer, Identity, RequireScopeLayer, ScopeResolverLayer, StreamReauthLayer,
    bearer::AuthLayer,
    reauth::{Ending, UploadReauth},
};

use super::{
    user::{Act, Inner, Item, Refuser, Resolver, Verifier, call, clock, waker},
    world::{Boxed, FRESH, Feed, OTHERS, STALE, Seen, Stream, VICTIM, World, lock},
};
use crate::support::{READ, event_stream, request_with};

type Service = BoxCloneSyncService<Request<Boxed>, Response<Boxed>, Infallible>;

pub struct Scenario {
    pub name: &'static str,
    kind: Kind,
    doors: Doors,
    /// The verifier must be waited for.
    waits: bool,
    has_revision: bool,
    resolvers: usize,
    ending: fn() -> Ending,
    lasts: Duration,
    grace: Duration,
    steps: &'static [Step],
    away: Away,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Body,
    Supervised,
    Items,
    Halves,
    Upload,
}

#[derive(Clone, Copy)]
enum Doors {
    Bearer,
    Own,
    Both,
}

enum Step {
    Frame,
    Beat,
    Renew,
    /// The verifier cannot be reached for a while.
    Down,
    Deny,
}

#[derive(Clone, Copy)]
enum Away {
    Credentials,
    Subject,
    All,
    Verifier,
    Expiry,
}

const SIBLING: &str = "a stream of the same credential";
const RENEWAL: &str = "a stream of the victim's other credential";
const OTHER: &str = "a stream of another credential";
const HOUR: Duration = Duration::from_secs(3_600);

const PLAIN: Scenario = Scenario {
    name: "a frame with a revision",
    kind: Kind::Body,
    doors: Doors::Bearer,
    waits: false,
    has_revision: true,
    resolvers: 1,
    ending: || Ending::Abort,
    lasts: HOUR,
    grace: Duration::ZERO,
    steps: &[Step::Frame, Step::Frame],
    away: Away::Verifier,
};

pub const SCENARIOS: &[Scenario] = &[
    PLAIN,
    Scenario { name: "a frame without a revision", has_revision: false, ..PLAIN },
    Scenario {
        name: "a frame and a verifier that must be waited for",
        has_revision: false,
        waits: true,
        ending: last_bytes,
        ..PLAIN
    },
    Scenario {
        name: "an idle stream and its heartbeat",
        steps: &[Step::Beat, Step::Beat],
        waits: true,
        ending: last_bytes,
        ..PLAIN
    },
    Scenario { name: "an expiry", away: Away::Expiry, lasts: Duration::from_secs(60), ..PLAIN },
    Scenario { name: "a revocation by hand", away: Away::Credentials, doors: Doors::Own, ending: last_bytes, ..PLAIN },
    Scenario {
        name: "a revocation by hand, without a revision",
        away: Away::Subject,
        has_revision: false,
        doors: Doors::Own,
        ..PLAIN
    },
    Scenario { name: "a revocation of everything", away: Away::All, doors: Doors::Own, ..PLAIN },
    Scenario { name: "a supervised body when everything is revoked", kind: Kind::Supervised, away: Away::All, ..PLAIN },
    Scenario { name: "a denial that several streams share", steps: &[Step::Frame, Step::Deny], waits: true, ..PLAIN },
    Scenario {
        name: "a grace",
        grace: Duration::from_secs(120),
        steps: &[Step::Frame, Step::Down, Step::Frame],
        ..PLAIN
    },
    Scenario { name: "a renewal", steps: &[Step::Frame, Step::Renew, Step::Frame], doors: Doors::Own, ..PLAIN },
    Scenario {
        name: "two doors",
        doors: Doors::Both,
        steps: &[Step::Frame, Step::Renew, Step::Beat],
        away: Away::Credentials,
        ..PLAIN
    },
    Scenario { name: "two resolvers", resolvers: 2, steps: &[Step::Frame, Step::Beat], ..PLAIN },
    Scenario { name: "a supervised body", kind: Kind::Supervised, steps: &[Step::Frame, Step::Beat], ..PLAIN },
    Scenario {
        name: "a supervised body that is revoked by hand",
        kind: Kind::Supervised,
        waits: true,
        away: Away::Credentials,
        ..PLAIN
    },
    Scenario { name: "two halves of a sink", kind: Kind::Halves, steps: &[Step::Frame, Step::Beat], ..PLAIN },
    Scenario {
        name: "a sink without a revision",
        kind: Kind::Halves,
        has_revision: false,
        away: Away::Subject,
        ..PLAIN
    },
    Scenario { name: "a guarded stream", kind: Kind::Items, ..PLAIN },
    Scenario { name: "an upload", kind: Kind::Upload, steps: &[Step::Frame, Step::Beat], ..PLAIN },
    Scenario { name: "an upload that is revoked by hand", kind: Kind::Upload, away: Away::Credentials, ..PLAIN },
];

fn last_bytes() -> Ending {
    Ending::last_bytes(|_| {
        call("Ending::last_bytes");
        ": over\n\n".into()
    })
}

/// What a handler found and made, for the request that is on its way: they come one by one.
#[derive(Default)]
struct Handled {
    access: Option<Access>,
    feed: Option<Feed>,
    upload: Option<Boxed>,
}

/// How a stream of this scenario is opened.
fn opener(scenario: &'static Scenario, world: &Arc<World>) -> impl Fn(&'static str) -> Option<(Stream, Feed)> + use<> {
    let reauth = StreamReauthLayer::new()
        .with_jitter(0.0)
        .with_grace(scenario.grace)
        .with_ending((scenario.ending)())
        .with_filter(|_| {
            call("with_filter");
            true
        })
        .with_on_end(|_| call("with_on_end"));
    let handled = Arc::new(Mutex::new(Handled::default()));
    let inner = stack(scenario, world, &handled, &reauth);
    let service = Mutex::new(layers(scenario, world, inner));
    let (world, kind) = (Arc::downgrade(world), scenario.kind);
    move |token| {
        let world = world.upgrade()?;
        let mut request = request_with(format!("Bearer {token}")).map(|()| Boxed::default());
        request.headers_mut().insert("x-scopes", HeaderValue::from_static("history:read"));
        let upload = Feed::new(&world, token);
        if kind == Kind::Upload {
            request = request.map(|_| Boxed::of(Inner { feed: upload.clone(), is_upload: true }));
        }
        let mut service = lock(&service).clone();
        let mut response = service.call(request);
        let mut answered = Poll::Pending;
        for _ in 0..8 {
            let waker = waker(&world.is_woken);
            if answered.is_pending() {
                answered = response.poll_unpin(&mut Context::from_waker(&waker));
            }
        }
        let Poll::Ready(Ok(response)) = answered else { return None };
        if response.status() != StatusCode::OK {
            return None;
        }
        let Handled { access, feed, upload: uploaded } = std::mem::take(&mut *lock(&handled));
        let (access, feed) = (access?, feed?);
        let inner = |feed: &Feed| Inner { feed: feed.clone(), is_upload: false };
        Some(match kind {
            Kind::Body => (Stream::Body(response.into_body()), feed),
            Kind::Upload => (Stream::Body(uploaded?), upload),
            Kind::Supervised => {
                (Stream::Body(Boxed::of(reauth.supervise(&access, &Method::GET, response).into_body())), feed)
            }
            Kind::Items => {
                drop(response);
                (Stream::Items(Box::pin(reauth.watch_stream(&access, inner(&feed)))), feed)
            }
            Kind::Halves => {
                drop(response);
                let wire = Feed::new(&world, token);
                let sink = reauth.watch_sink(&access, inner(&wire)).with_farewell(|_| {
                    call("with_farewell");
                    Item(": bye\n\n")
                });
                let (send, read) = sink.split();
                (Stream::Halves { send, read, queue: feed.clone(), wire }, feed)
            }
        })
    }
}

/// The handler, inside of the layer of the third question where there is one.
fn stack(
    scenario: &Scenario,
    world: &Arc<World>,
    handled: &Arc<Mutex<Handled>>,
    reauth: &StreamReauthLayer,
) -> Service {
    let (world, handled, uploaded) = (Arc::clone(world), Arc::clone(handled), Arc::clone(handled));
    let handle = move |request: &Extensions| {
        let access = request.get::<Access>().expect("a layer put it there").clone();
        let token = token_of(&access.identity());
        if let Some(slot) = VICTIM.iter().position(|victim| *victim == token) {
            let old = lock(&world.access)[slot].replace(access.clone());
            drop(old);
        }
        let feed = Feed::new(&world, token);
        let made = Handled { access: Some(access), feed: Some(feed.clone()), upload: None };
        let old = std::mem::replace(&mut *lock(&handled), made);
        drop(old);
        event_stream(Inner { feed, is_upload: false })
    };
    match scenario.kind {
        Kind::Body => {
            let handler = service_fn(move |request: Request<Boxed>| ready(Ok(handle(request.extensions()))));
            Service::new(reauth.layer(handler).map_response(|response: Response<_>| response.map(Boxed::of)))
        }
        Kind::Upload => {
            let handler = service_fn(move |request: Request<UploadReauth<Boxed>>| {
                handle(request.extensions());
                lock(&uploaded).upload = Some(Boxed::of(request.into_body()));
                ready(Ok(Response::new(Boxed::default())))
            });
            let reauth = reauth.clone().with_uploads();
            Service::new(reauth.layer(handler).map_response(|response: Response<_>| response.map(Boxed::of)))
        }
        Kind::Supervised | Kind::Items | Kind::Halves => Service::new(service_fn(move |request: Request<Boxed>| {
            ready(Ok(handle(request.extensions()).map(Boxed::of)))
        })),
    }
}

fn token_of(identity: &Identity) -> &'static str {
    let id = identity.credential_id().unwrap_or_default();
    VICTIM.into_iter().chain(OTHERS).find(|token| *token == id).expect("it is known")
}

/// The layers of who and what, around the others.
fn layers(scenario: &Scenario, world: &Arc<World>, inner: Service) -> Service {
    let verifier = Verifier { world: Arc::clone(world), waits: scenario.waits, has_revision: scenario.has_revision };
    let mut service = Service::new(RequireScopeLayer::new(READ).with_response(Refuser).layer(inner));
    for _ in 0..scenario.resolvers {
        let resolver = ScopeResolverLayer::new(Resolver).with_declared_header(HeaderName::from_static("x-scopes"));
        service = Service::new(resolver.with_response(Refuser).layer(service));
    }
    if let Doors::Own | Doors::Both = scenario.doors {
        let auth = AuthLayer::from_authenticator(verifier.clone()).with_clock(clock());
        let auth = auth.with_revocations(&world.revocations).with_response(Refuser);
        service = Service::new(auth.layer(service));
    }
    if let Doors::Bearer | Doors::Both = scenario.doors {
        let auth = BearerAuthLayer::new(verifier).with_clock(clock());
        let auth = auth.with_revocations(&world.revocations).with_response(Refuser);
        service = Service::new(auth.layer(service));
    }
    service
}

/// The streams of one run.
struct Run {
    scenario: &'static Scenario,
    world: Arc<World>,
    victim: Option<Feed>,
    /// Whether the victim waits for something.
    waits: Cell<bool>,
}

pub async fn run(scenario: &'static Scenario, plan: Option<(Act, usize)>) -> Arc<World> {
    let world = World::new(clock(), scenario.lasts, plan);
    *lock(&world.opener) = Some(Arc::new(opener(scenario, &world)));
    World::enter(Some(Arc::clone(&world)));
    let open = |token| {
        let opener = lock(&world.opener).clone();
        opener.and_then(|opener| opener(token))
    };
    let (spare, sibling, other) = (open(VICTIM[0]), open(VICTIM[0]), open(OTHERS[0]));
    let renewal = open(VICTIM[1]);
    let (Some(spare), Some(mut sibling), Some(mut other), Some(mut renewal)) = (spare, sibling, other, renewal) else {
        world.fails("no stream could be opened at all".into());
        return world;
    };
    lock(&world.spares).push(spare.0);
    drop(spare.1);

    let mut run = Run { scenario, world: Arc::clone(&world), victim: None, waits: Cell::new(false) };
    let opened = run.contained(|| open(VICTIM[0])).flatten();
    if let Some((stream, feed)) = opened {
        *lock(&world.victim) = Some(stream);
        run.victim = Some(feed);
    }
    run.polls();
    for step in scenario.steps {
        run.step(step).await;
        quiet(&world, &mut sibling.0, SIBLING);
        quiet(&world, &mut renewal.0, RENEWAL);
        quiet(&world, &mut other.0, OTHER);
    }
    run.takes_away().await;
    let again = run.contained(|| open(VICTIM[0])).flatten();
    // What does not say when it was issued is for the verifier to judge, once everything was revoked.
    let is_for_all = matches!(scenario.away, Away::All);
    if again.is_some() && !is_for_all {
        world.fails("a stream is opened after access is gone".into());
    }
    drop(again);
    run.ends().await;

    // The others.
    for ((stream, feed), what) in [(&mut sibling, SIBLING), (&mut renewal, RENEWAL)] {
        feed.add();
        if !ends(&world, stream, what).await {
            world.fails(format!("{what} goes on"));
        }
    }
    other.1.add();
    let mut goes_on = false;
    for _ in 0..8 {
        goes_on |= quiet(&world, &mut other.0, OTHER) == Some(Seen::Item(FRESH));
    }
    if goes_on == is_for_all {
        world.fails(format!("{OTHER} goes on: {goes_on}"));
    }
    match open(OTHERS[1]) {
        Some((mut late, feed)) => {
            feed.add();
            if !(0..8).any(|_| quiet(&world, &mut late, "a late stream") == Some(Seen::Item(FRESH))) {
                world.fails("a late stream does not pass its items".into());
            }
        }
        None => world.fails("nobody else is let in".into()),
    }
    world.revocations.revoke(OTHERS[0]);
    if !ends(&world, &mut other.0, OTHER).await {
        world.fails("a stream of another credential does not end with its own access".into());
    }

    drop((sibling, renewal, other, run));
    for failure in world.leaves() {
        world.fails(failure);
    }
    for _ in 0..4 {
        yield_now().await;
    }
    let tasks = Handle::current().metrics().num_alive_tasks();
    if tasks > 0 {
        world.fails(format!("{tasks} tasks are left"));
    }
    world
}

/// Polls a stream once, by good code.
fn quiet(world: &World, stream: &mut Stream, what: &str) -> Option<Seen> {
    world.note_gone();
    match stream.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(seen) => {
            if seen == Seen::Item(STALE) {
                world.fails(format!("{what} passes a stale item"));
            }
            Some(seen)
        }
        Poll::Pending => None,
    }
}

/// Whether a stream comes to its end within a heartbeat and the time for a goodbye.
async fn ends(world: &World, stream: &mut Stream, what: &str) -> bool {
    for _ in 0..30 {
        for _ in 0..4 {
            if quiet(world, stream, what) == Some(Seen::Over) {
                return true;
            }
        }
        advance(Duration::from_secs(1)).await;
    }
    false
}

impl Run {
    /// The hostile user's turn; what it panics with goes no further.
    fn contained<T>(&self, act: impl FnOnce() -> T) -> Option<T> {
        let done = catch_unwind(AssertUnwindSafe(|| self.world.turn(act)));
        self.world.arm(false);
        done.ok()
    }

    /// Polls the victim a few times. Returns whether it has ended, or is gone.
    fn polls(&self) -> bool {
        for _ in 0..4 {
            self.world.note_gone();
            let mut victim = lock(&self.world.victim);
            let Some(stream) = victim.as_mut() else { return true };
            let polled = self.contained(|| stream.poll_hostile(&self.world.is_woken));
            self.waits.set(matches!(polled, Some(Poll::Pending)));
            match polled {
                Some(Poll::Ready(Seen::Over)) => return true,
                Some(Poll::Ready(Seen::Item(STALE))) => self.world.fails("the victim passes a stale item".into()),
                _ => {}
            }
        }
        false
    }

    fn frame(&self) {
        if let Some(feed) = &self.victim {
            self.contained(|| feed.add());
        }
    }

    /// Time goes by. Of what happens then a supervisor's part is the hostile user's turn; tokio's timer wakes
    /// tasks without minding what their wakers do, so these rest.
    async fn passes(&self, time: Duration) {
        self.world.wakers_rest.store(true, Relaxed);
        self.world.arm(true);
        advance(time).await;
        for _ in 0..3 {
            yield_now().await;
        }
        self.world.arm(false);
        self.world.wakers_rest.store(false, Relaxed);
    }

    async fn step(&mut self, step: &Step) {
        let world = &self.world;
        match step {
            Step::Frame => {
                self.frame();
                self.polls();
            }
            Step::Beat => {
                self.polls();
                self.passes(Duration::from_secs(15)).await;
                self.polls();
            }
            Step::Renew => {
                let accesses = lock(&world.access).clone();
                if let [Some(access), Some(fresh)] = &accesses {
                    let _ = self.contained(|| access.renew(fresh));
                }
                self.contained(|| drop(accesses));
                self.polls();
            }
            Step::Down => {
                world.is_down.store(true, Relaxed);
                self.contained(|| world.revision.bump());
                self.polls();
                self.frame();
                self.passes(Duration::from_secs(20)).await;
                self.polls();
                world.is_down.store(false, Relaxed);
                self.contained(|| world.revision.bump());
                self.polls();
            }
            Step::Deny => {
                self.contained(|| world.reject());
                self.polls();
                self.frame();
                self.polls();
            }
        }
    }

    async fn takes_away(&mut self) {
        let world = &self.world;
        self.polls();
        let is_told = self.scenario.has_revision || !matches!(self.scenario.away, Away::Verifier);
        let waited = self.waits.get() && lock(&world.victim).is_some() && is_told;
        match self.scenario.away {
            // What panicked before it was remembered is said again; what is remembered is in force.
            Away::Credentials => {
                for token in VICTIM {
                    self.contained(|| world.revoke_credential(token));
                    if !world.is_remembered(token) {
                        world.revoke_credential(token);
                    }
                }
                world.is_revoked.store(true, Relaxed);
            }
            Away::Subject => {
                self.contained(|| world.revocations.revoke_subject("victim"));
                if !world.is_remembered("any") {
                    world.revocations.revoke_subject("victim");
                }
                world.is_revoked.store(true, Relaxed);
            }
            Away::All => {
                let is_done = self.contained(|| world.revocations.revoke_all()).is_some();
                if !is_done && *lock(&world.acted_at) == Some("Clock") {
                    world.revocations.revoke_all();
                }
                world.is_all_revoked.store(true, Relaxed);
            }
            Away::Verifier => drop(self.contained(|| world.reject())),
            Away::Expiry => self.passes(Duration::from_secs(61)).await,
        }
        self.passes(Duration::from_millis(1)).await;
        if waited && lock(&world.victim).is_some() && !world.is_woken.load(Relaxed) {
            world.fails("the victim is not woken".into());
        }
    }

    /// The victim ends.
    async fn ends(&mut self) {
        self.frame();
        for _ in 0..30 {
            if self.polls() {
                break;
            }
            self.frame();
            self.passes(Duration::from_secs(1)).await;
        }
        if !self.polls() {
            self.world.fails("the victim goes on".into());
        }
        let victim = lock(&self.world.victim).take();
        self.contained(|| drop(victim));
        let feed = self.victim.take();
        self.contained(|| drop(feed));
    }
}
