//! What the hostile user reaches from each of its calls, and what is known of it afterwards.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    error::Error,
    hint::black_box,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::Relaxed},
        mpsc,
    },
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::{
    Sink, Stream as _,
    stream::{self, SplitSink, SplitStream},
};
use http_body::Body;
use http_body_util::{BodyExt, Empty, combinators::UnsyncBoxBody};
use tokio::runtime::Handle;
use tower_reauth::{
    Access, AuthMethod, Clock, Identity, StaticToken, StreamReauthLayer, Tokens, VerifyToken,
    reauth::{GuardedSink, GuardedStream},
    revoke::{Revision, Revocations},
    verify::{Token, TokenDigest, VerifyError},
};

use super::user::{Act, Claims, Inner, Item, waker};
use crate::support::READ;

pub type BoxError = Box<dyn Error + Send + Sync>;
/// How often something is held on to.
pub type Life = Arc<()>;

/// The tokens of the victim: of the stream, and of its renewal.
pub const VICTIM: [&str; 2] = ["victim", "fresh"];
pub const OTHERS: [&str; 2] = ["other", "late"];
pub const FRESH: &str = "data: fresh\n\n";
pub const STALE: &str = "data: stale\n\n";

/// A body of whichever kind.
pub struct Boxed(Pin<Box<UnsyncBoxBody<Bytes, BoxError>>>);

impl Boxed {
    pub fn of<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self(Box::pin(UnsyncBoxBody::new(body.map_err(Into::into))))
    }
}

impl Default for Boxed {
    fn default() -> Self {
        Self::of(Empty::new())
    }
}

impl Body for Boxed {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, BoxError>>> {
        self.0.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.0.size_hint()
    }
}

/// An open stream of one of the kinds that are watched.
pub enum Stream {
    Body(Boxed),
    Items(Pin<Box<GuardedStream<Inner>>>),
    Halves {
        send: SplitSink<GuardedSink<Inner, Item>, Item>,
        read: SplitStream<GuardedSink<Inner, Item>>,
        /// What is to be sent, and what has left.
        queue: Feed,
        wire: Feed,
    },
}

/// What a stream is told to say.
#[derive(Clone)]
pub struct Feed(Arc<Fed>);

struct Fed {
    world: Arc<World>,
    token: &'static str,
    items: AtomicUsize,
    reader: Mutex<Option<Waker>>,
    /// What left a sink.
    sent: Mutex<Vec<&'static str>>,
    _life: Life,
}

#[derive(Debug, PartialEq)]
pub enum Seen {
    Item(&'static str),
    /// A comment, or the last bytes.
    Aside,
    Over,
}

/// All that there is in one run.
pub struct World {
    pub revision: Revision,
    secret: StaticToken,
    tokens: Tokens,
    /// What the verifier shows: it moves when one of the three does.
    pub shown: Revision,
    pub revocations: Revocations,
    clock: Clock,
    expires_at: SystemTime,
    pub is_down: AtomicBool,
    is_rejected: AtomicBool,
    pub is_revoked: AtomicBool,
    /// Everything that was open then is gone.
    pub is_all_revoked: AtomicBool,
    was_gone: AtomicBool,
    /// The streams that are counted as open.
    pub open: Arc<AtomicIsize>,
    /// Whether the victim was woken since it was polled.
    pub is_woken: Arc<AtomicBool>,
    pub bodies: Life,
    pub credentials: Life,
    claims: Life,
    plan: Option<(Act, usize)>,
    is_armed: AtomicBool,
    pub wakers_rest: AtomicBool,
    calls: AtomicUsize,
    pub sites: Mutex<BTreeSet<&'static str>>,
    pub acted_at: Mutex<Option<&'static str>>,
    pub failures: Mutex<Vec<String>>,
    /// Opens a stream with a token.
    pub opener: Mutex<Option<Arc<dyn Fn(&'static str) -> Option<(Stream, Feed)> + Send + Sync>>>,
    /// The access of the victim, and that of a later request of theirs.
    pub access: Mutex<[Option<Access>; 2]>,
    pub victim: Mutex<Option<Stream>>,
    pub spares: Mutex<Vec<Stream>>,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<World>>> = const { RefCell::new(None) };
}

pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    pub fn new(clock: Clock, victim_lasts: Duration, plan: Option<(Act, usize)>) -> Arc<Self> {
        let (revision, secret, tokens) = (Revision::new(), StaticToken::new(VICTIM[0]), Tokens::default());
        Arc::new(Self {
            shown: Revision::merged([Some(&revision), secret.revision(), tokens.revision()].into_iter().flatten()),
            revision,
            secret,
            tokens,
            revocations: Revocations::with_clock(clock.clone()),
            expires_at: clock.now() + victim_lasts,
            clock,
            is_down: AtomicBool::new(false),
            is_rejected: AtomicBool::new(false),
            is_revoked: AtomicBool::new(false),
            is_all_revoked: AtomicBool::new(false),
            was_gone: AtomicBool::new(false),
            open: Arc::default(),
            is_woken: Arc::default(),
            bodies: Arc::default(),
            credentials: Arc::default(),
            claims: Arc::default(),
            plan,
            is_armed: AtomicBool::new(false),
            wakers_rest: AtomicBool::new(false),
            calls: AtomicUsize::new(0),
            sites: Mutex::default(),
            acted_at: Mutex::default(),
            failures: Mutex::default(),
            opener: Mutex::default(),
            access: Mutex::default(),
            victim: Mutex::default(),
            spares: Mutex::default(),
        })
    }

    pub fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(|current| current.try_borrow().ok()?.clone()).ok()?
    }

    pub fn enter(world: Option<Arc<Self>>) {
        CURRENT.set(world);
    }

    /// The hostile user's turn: outside of it each call is a good one.
    pub fn turn<T>(&self, act: impl FnOnce() -> T) -> T {
        let was = self.is_armed.swap(true, Relaxed);
        let done = act();
        self.is_armed.store(was, Relaxed);
        done
    }

    pub fn arm(&self, is_armed: bool) {
        self.is_armed.store(is_armed, Relaxed);
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Relaxed)
    }

    /// Counts one call: what is to be done at it, if this is the one.
    pub fn counts(&self, site: &'static str) -> Option<Act> {
        if !self.is_armed.load(Relaxed) || (self.wakers_rest.load(Relaxed) && site.starts_with("Waker")) {
            return None;
        }
        lock(&self.sites).insert(site);
        let number = self.calls.fetch_add(1, Relaxed) + 1;
        let (act, at) = self.plan?;
        if number != at {
            return None;
        }
        *lock(&self.acted_at) = Some(site);
        Some(act)
    }

    pub fn acts(self: &Arc<Self>, act: Act, site: &'static str) {
        let was = self.is_armed.swap(false, Relaxed);
        match act {
            Act::Panic => {}
            Act::Block => self.blocks(site),
            Act::Revoke => self.revoke(),
            Act::Reject => self.reject(),
            Act::Bump => self.revision.bump(),
            Act::Rotate => {
                self.secret.rotate(OTHERS[0]);
                self.tokens.replace(VICTIM.map(|token| Token::new(token, token))).expect("no two are one");
            }
            Act::Renew => {
                if let [Some(access), Some(fresh)] = &lock(&self.access).clone() {
                    let _ = access.renew(fresh);
                }
            }
            Act::Drop => {
                let spare = lock(&self.spares).pop();
                drop(spare);
                let victim = self.victim.try_lock().ok().and_then(|mut victim| victim.take());
                drop(victim);
            }
            Act::Open => self.opens(),
            Act::Read => self.reads(),
        }
        self.is_armed.store(was, Relaxed);
    }

    /// Returns when another thread has done all that can be done meanwhile.
    fn blocks(self: &Arc<Self>, site: &'static str) {
        let (done, wait) = mpsc::channel();
        let (world, runtime) = (Arc::clone(self), Handle::current());
        let other = thread::spawn(move || {
            let _runtime = runtime.enter();
            world.reads();
            world.opens();
            let spare = lock(&world.spares).pop();
            if let Some(mut spare) = spare {
                let _ = spare.poll(&mut Context::from_waker(Waker::noop()));
                lock(&world.spares).push(spare);
            }
            world.revision.bump();
            world.revision.bump_for([TokenDigest::of("nobody")]);
            world.revocations.revoke("nobody");
            world.revocations.forget("nobody");
            drop(world);
            let _ = done.send(());
        });
        if wait.recv_timeout(Duration::from_secs(30)).is_ok() {
            other.join().expect("nothing panics there");
        } else {
            self.fails(format!("whoever comes while {site} blocks is held up"));
        }
    }

    fn reads(&self) {
        let accesses = lock(&self.access).clone();
        for access in accesses.iter().flatten() {
            black_box((access.granted(), access.identity(), access.require(READ).is_ok(), access.required()));
            drop(StreamReauthLayer::new().watch_stream(access, stream::pending::<()>()));
            black_box(format!("{access:?} {:?} {:?}", self.revocations, self.revision));
        }
    }

    fn opens(&self) {
        let opener = lock(&self.opener).clone();
        let opened = opener.and_then(|opener| opener(VICTIM[0]));
        if let Some((mut stream, _)) = opened {
            let _ = stream.poll(&mut Context::from_waker(Waker::noop()));
        }
    }

    pub fn fails(&self, what: String) {
        lock(&self.failures).push(what);
    }

    pub fn revoke(&self) {
        VICTIM.iter().for_each(|token| self.revoke_credential(token));
        self.is_revoked.store(true, Relaxed);
    }

    pub fn revoke_credential(&self, token: &str) {
        self.revocations.revoke_until(token, self.expires_at + Duration::from_secs(1));
    }

    pub fn is_remembered(&self, token: &str) -> bool {
        self.revocations.is_revoked(&Identity::new("victim", AuthMethod::Token).with_credential_id(token))
    }

    pub fn reject(&self) {
        self.is_rejected.store(true, Relaxed);
        self.revision.bump_for(VICTIM.map(TokenDigest::of));
    }

    /// Whether access of `token` is gone.
    fn is_gone(&self, token: &str) -> bool {
        let is_victim = VICTIM.contains(&token);
        if self.is_all_revoked.load(Relaxed) && (is_victim || token == OTHERS[0]) {
            return true;
        }
        is_victim
            && !self.is_down.load(Relaxed)
            && (self.is_revoked.load(Relaxed) || self.is_rejected.load(Relaxed) || self.has_expired())
    }

    fn has_expired(&self) -> bool {
        let was = self.is_armed.swap(false, Relaxed);
        let has_expired = self.clock.now() >= self.expires_at;
        self.is_armed.store(was, Relaxed);
        has_expired
    }

    /// A poll begins: what is gone now was gone before.
    pub fn note_gone(&self) {
        self.was_gone.store(self.is_gone(VICTIM[0]), Relaxed);
    }

    /// What the verifier says.
    pub fn judge(&self, token: &str) -> Result<Identity, VerifyError> {
        let is_victim = VICTIM.contains(&token);
        if is_victim && self.is_down.load(Relaxed) {
            return Err(VerifyError::unavailable_for(Duration::from_secs(1)));
        }
        if is_victim && self.is_rejected.load(Relaxed) || !(is_victim || OTHERS.contains(&token)) {
            return Err(VerifyError::Rejected);
        }
        let subject = if is_victim { "victim" } else { token };
        let identity = Identity::new(subject, AuthMethod::Token)
            .with_credential_id(token)
            .with_scopes(READ)
            .with_claims(Claims { token: token.to_owned(), _life: Arc::clone(&self.claims) });
        Ok(if is_victim { identity.with_expires_at(self.expires_at) } else { identity })
    }

    /// Lets go of all that is held here, and says what is held elsewhere.
    pub fn leaves(&self) -> Vec<String> {
        drop(lock(&self.victim).take());
        drop(std::mem::take(&mut *lock(&self.spares)));
        drop(lock(&self.opener).take());
        drop(std::mem::take(&mut *lock(&self.access)));
        let held = [("bodies", &self.bodies), ("credentials", &self.credentials), ("claims", &self.claims)];
        let open = self.open.load(Relaxed);
        if open != 0 {
            self.fails(format!("{open} streams are counted as open"));
        }
        let held = held.iter().filter(|(_, life)| Arc::strong_count(life) > 1);
        held.map(|(what, life)| format!("{} {what} are left", Arc::strong_count(life) - 1)).collect()
    }
}

impl Feed {
    pub fn new(world: &Arc<World>, token: &'static str) -> Self {
        Self(Arc::new(Fed {
            world: Arc::clone(world),
            token,
            items: AtomicUsize::new(0),
            reader: Mutex::default(),
            sent: Mutex::default(),
            _life: Arc::clone(&world.bodies),
        }))
    }

    /// One more item is ready.
    pub fn add(&self) {
        self.0.items.fetch_add(1, Relaxed);
        let reader = lock(&self.0.reader).take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn made_now(&self) -> &'static str {
        if self.0.world.is_gone(self.0.token) { STALE } else { FRESH }
    }

    pub fn poll(&self, cx: &Context<'_>, is_upload: bool) -> Poll<&'static str> {
        if self.0.items.fetch_update(Relaxed, Relaxed, |items| items.checked_sub(1)).is_err() {
            let waker = cx.waker().clone();
            let old = lock(&self.0.reader).replace(waker);
            drop(old);
            return Poll::Pending;
        }
        let was_gone = !is_upload || self.0.world.was_gone.load(Relaxed);
        Poll::Ready(if was_gone { self.made_now() } else { FRESH })
    }

    pub fn sent(&self, item: &'static str) {
        lock(&self.0.sent).push(item);
    }
}

impl Stream {
    /// What is to be seen next.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Seen> {
        let seen = |item: Option<&str>| match item {
            None => Seen::Over,
            Some(FRESH) => Seen::Item(FRESH),
            Some(STALE) => Seen::Item(STALE),
            Some(_) => Seen::Aside,
        };
        match self {
            Self::Body(body) => {
                black_box((body.is_end_stream(), body.size_hint()));
                let frame = std::task::ready!(Pin::new(body).poll_frame(cx));
                let data = frame.and_then(|frame| frame.ok()?.into_data().ok());
                Poll::Ready(seen(data.as_deref().and_then(|data| std::str::from_utf8(data).ok())))
            }
            Self::Items(items) => items.as_mut().poll_next(cx).map(|item| seen(item.as_ref().map(|item| item.0))),
            Self::Halves { send, read, queue, wire } => {
                if Pin::new(&mut *read).poll_next(cx).is_ready() {
                    // What the client says is no concern here, and its end is the sink's.
                }
                let is_open = (|| -> Poll<Result<(), ()>> {
                    std::task::ready!(Pin::new(&mut *send).poll_ready(cx)).map_err(drop)?;
                    if let Poll::Ready(item) = queue.poll(&Context::from_waker(Waker::noop()), false) {
                        Pin::new(&mut *send).start_send(Item(item)).map_err(drop)?;
                    }
                    Pin::new(&mut *send).poll_flush(cx).map_err(drop)
                })();
                let sent = lock(&wire.0.sent).pop();
                match (sent, is_open) {
                    (Some(item), _) => Poll::Ready(seen(Some(item))),
                    (None, Poll::Ready(Err(()))) => Poll::Ready(Seen::Over),
                    (None, _) => Poll::Pending,
                }
            }
        }
    }

    /// Polled by a task that is of the user's making.
    pub fn poll_hostile(&mut self, is_woken: &Arc<AtomicBool>) -> Poll<Seen> {
        is_woken.store(false, Relaxed);
        let waker = waker(is_woken);
        self.poll(&mut Context::from_waker(&waker))
    }
}
