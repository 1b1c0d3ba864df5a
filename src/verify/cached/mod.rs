//! A cache around a verifier that must be waited for.

// - `store`: what is kept of earlier answers, in bounded room.
//
// What arrives together and is not known is asked as one question, by the `Flights` that the door has too.

mod store;

use std::{
    any::type_name,
    fmt,
    future::poll_fn,
    panic::resume_unwind,
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;

use tokio::time::Instant;

use self::store::{Asked, Entry, Good, Rejected, Store};
use super::{BearerToken, CredentialKey, TokenDigest, Verification, VerifyError, VerifyToken};
use crate::{
    Clock, Identity,
    revoke::{Answer, AsOf, Confirmed, Flights, Keeper, Revision, Revocations},
    timer::within,
};

/// A verifier that keeps the answers of another one for a while: one that asks over a network, mostly.
///
/// # What is answered from memory
///
/// 1. An identity answers for `max_age`, counted from when the inner verifier was asked, and never from its
///    [`expires_at`](Identity::expires_at) on, which is looked at each time.
/// 2. A rejection (also [`Expired`](VerifyError::Expired) and [`Revoked`](VerifyError::Revoked)) answers for
///    [`with_rejections_for`](Self::with_rejections_for): two seconds, so that a token that was issued a
///    moment too late is not refused for long.
/// 3. That a verifier [cannot tell](VerifyError::Unavailable), or that a caller is locked out, is never kept,
///    nor is a panic: the next request asks again.
/// 4. What was answered before the inner verifier's [revision](VerifyToken::revision) moved, or before a
///    [`forget`](Self::forget), is no answer.
/// 5. What is not known is asked once for all who ask meanwhile. The question belongs to none of them: whoever
///    is left goes on with it, and it is given up with the last. After
///    [`with_time_limit`](Self::with_time_limit) it counts as one that the verifier cannot answer.
/// 6. Where the verifier cannot tell, an identity whose age is over may stand in for another while:
///    [`with_stale_if_unreachable`](Self::with_stale_if_unreachable). Default: never.
///
/// # How old an answer can be
///
/// `max_age`, and with (6) the grace as well. That adds to every bound on staleness that is published: what
/// is revoked at a provider that says nothing of it is let in at the door for `max_age` longer, and ends an
/// idle stream within `max_age`, a [heartbeat](crate::StreamReauthLayer::with_heartbeat) and the time limit of
/// a check. [`with_fresh_rechecks`](Self::with_fresh_rechecks) takes `max_age` out of the second one: each
/// recheck then asks the inner verifier, and each frame too, unless
/// [`with_max_age`](crate::StreamReauthLayer::with_max_age) of the streams says otherwise.
///
/// # Memory
///
/// Up to [`with_capacity`](Self::with_capacity) identities (10,000) and, apart from them,
/// [`with_rejected_capacity`](Self::with_rejected_capacity) rejections (1,000), each under the SHA-256 of its
/// token. The bounds are exact, and what was asked for longest ago makes room. So nothing that a stranger sends
/// pushes out an identity.
///
/// # Example
///
/// ```
/// use std::{sync::{Arc, atomic::{AtomicUsize, Ordering}}, time::Duration};
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_reauth::{AuthMethod, BearerAuthLayer, Identity, verify::{Cached, TokenDigest, verify_async}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let asked = Arc::new(AtomicUsize::new(0));
/// let provider = Arc::clone(&asked);
/// let slow = verify_async(async move |_token| {
///     provider.fetch_add(1, Ordering::Relaxed);
///     Ok(Identity::new("alice", AuthMethod::Token))
/// });
/// let cached = Cached::new(slow, Duration::from_secs(30));
///
/// let service = ServiceBuilder::new()
///     .layer(BearerAuthLayer::new(cached.clone()))
///     .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
/// let request = || Request::builder().header("authorization", "Bearer t0ken").body(()).unwrap();
/// for _ in 0..3 {
///     assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), 200);
/// }
/// assert_eq!(asked.load(Ordering::Relaxed), 1);
///
/// cached.forget(TokenDigest::of("t0ken"));
/// service.oneshot(request()).await.unwrap();
/// assert_eq!(asked.load(Ordering::Relaxed), 2);
/// # }
/// ```
///
/// Clones are handles on the same cache; how long rejections, time limits and graces are is said for each.
pub struct Cached<V> {
    shared: Arc<Shared<V>>,
    rules: Rules,
}

struct Shared<V> {
    inner: V,
    max_age: Duration,
    store: Store,
    flights: Flights,
    /// Moves with the inner verifier's, and when something is forgotten.
    revision: Revision,
    /// By which other caches forget what this one does.
    revocations: ArcSwap<Vec<Revocations>>,
}

#[derive(Clone)]
struct Rules {
    rejections_for: Duration,
    time_limit: Duration,
    grace: Duration,
    fresh_rechecks: bool,
    clock: Clock,
}

impl<V> Cached<V> {
    /// The longest `max_age`: ten minutes.
    pub const LONGEST: Duration = Duration::from_secs(600);

    /// The longest time that a rejection is kept: one minute.
    pub const LONGEST_REJECTION: Duration = Duration::from_secs(60);
}

impl<V: VerifyToken> Cached<V> {
    /// Keeps the answers of `inner` for `max_age`; a longer one than [`LONGEST`](Self::LONGEST) is taken for
    /// that.
    #[must_use]
    pub fn new(inner: V, max_age: Duration) -> Self {
        let max_age = max_age.min(Self::LONGEST);
        let revision = inner.revision().map_or_else(Revision::partial, |inner| Revision::merged([inner]));
        let rules = Rules {
            rejections_for: Duration::from_secs(2),
            time_limit: Duration::from_secs(3),
            grace: Duration::ZERO,
            fresh_rechecks: false,
            clock: Clock::system(),
        };
        let (store, flights) = (Store::new(10_000, 1_000), Flights::within(max_age));
        let revocations = ArcSwap::default();
        Self { shared: Arc::new(Shared { inner, max_age, store, flights, revision, revocations }), rules }
    }
}

impl<V> Cached<V> {
    /// Keeps up to so many identities. Default: 10,000. It is the same for all handles.
    #[must_use]
    pub fn with_capacity(self, identities: usize) -> Self {
        self.shared.store.set_capacities(Some(identities), None);
        self
    }

    /// Keeps up to so many rejections. Default: 1,000. It is the same for all handles.
    #[must_use]
    pub fn with_rejected_capacity(self, rejections: usize) -> Self {
        self.shared.store.set_capacities(None, Some(rejections));
        self
    }

    /// How long a rejection is kept: zero for not at all, and never longer than
    /// [`LONGEST_REJECTION`](Self::LONGEST_REJECTION). Default: two seconds.
    #[must_use]
    pub fn with_rejections_for(mut self, time: Duration) -> Self {
        self.rules.rejections_for = time.min(Self::LONGEST_REJECTION);
        self
    }

    /// How long the inner verifier is waited for. Default: three seconds, which is less than a door or a stream
    /// waits, so that a stale identity can stand in. The time is [`tokio::time`]'s: outside of a runtime there
    /// is no limit.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.rules.time_limit = limit;
        self
    }

    /// Where the inner verifier cannot tell, or not in time, an identity stands in for `grace` after its
    /// `max_age`, unless it has expired. Default: zero.
    ///
    /// Who stands in does so for as long as the verifier said to wait before it is asked again, so that a
    /// provider that is down is not asked by each request.
    #[must_use]
    pub fn with_stale_if_unreachable(mut self, grace: Duration) -> Self {
        self.rules.grace = grace;
        self
    }

    /// Asks the inner verifier at each recheck of an open stream. What it answers is kept for the door.
    #[must_use]
    pub fn with_fresh_rechecks(mut self) -> Self {
        self.rules.fresh_rechecks = true;
        self
    }

    /// Has the caches of all nodes that share `revocations` [forget](Self::forget) what this one is told to, and this one
    /// what they are: the token is then asked about anew. What is known of a token that is
    /// [revoked](Revocations::revoke_token) anywhere is forgotten, too; the layer is what refuses it, so it is
    /// [handed](crate::bearer::AuthLayer::with_revocations) the same. It is the same for all handles. Called again, it
    /// adds to what it was called with before.
    ///
    /// What others forget while this node is cut off from them is heard of when it is not any more; until then the layer goes
    /// by [rule 2](crate::revoke::shared).
    #[must_use]
    pub fn with_revocations(self, revocations: &Revocations) -> Self
    where
        V: VerifyToken,
    {
        self.shared.revocations.rcu(|known| known.iter().chain([revocations]).cloned().collect::<Vec<_>>());
        revocations.tell(&self.shared);
        self
    }

    /// Reads the wall clock elsewhere. It must be the clock of the layers.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.rules.clock = clock;
        self
    }

    /// Forgets what is known of the token with this digest, and what is being asked about it. Its open streams
    /// ask again at once.
    pub fn forget(&self, token: TokenDigest) {
        self.shared.forget(Some(token));
    }

    /// Forgets everything. All open streams ask again at once.
    pub fn forget_all(&self) {
        self.shared.forget(None);
    }

    /// How many answers are kept: identities, and rejections.
    #[must_use]
    pub fn len(&self) -> (usize, usize) {
        self.shared.store.len()
    }

    /// The verifier whose answers are kept.
    #[must_use]
    pub fn get_ref(&self) -> &V {
        &self.shared.inner
    }

    /// The answer that is kept, if it still holds.
    fn known(&self, token: &TokenDigest, now: Instant, revision: Option<u64>) -> Option<Result<Identity, VerifyError>> {
        let entry = self.shared.store.get(token)?;
        let age = |asked: Asked| (asked.revision == revision).then(|| now.saturating_duration_since(asked.at));
        match entry {
            Entry::Rejected(rejected) => {
                (age(rejected.asked)? < self.rules.rejections_for).then_some(Err(rejected.error))
            }
            Entry::Good(good) => {
                let is_young = age(good.asked)? < self.shared.max_age;
                let stands_in = || good.stands_in_until.is_some_and(|until| now < until);
                ((is_young || stands_in()) && !self.has_expired(&good.identity)).then_some(Ok(good.identity))
            }
        }
    }

    fn has_expired(&self, identity: &Identity) -> bool {
        identity.expires_at().is_some_and(|expires_at| expires_at <= self.rules.clock.now())
    }

    /// Keeps an answer of the inner verifier. Returns what holds: where it could not tell, that may be an older
    /// one.
    fn settle(
        &self,
        token: TokenDigest,
        asked: Asked,
        answer: Result<Identity, VerifyError>,
    ) -> Result<Identity, VerifyError> {
        match &answer {
            Ok(identity) => {
                let good = Good { identity: identity.clone(), asked, stands_in_until: None };
                self.shared.store.put_good(token, good);
            }
            Err(VerifyError::Unavailable { retry_after }) => {
                if let Some(identity) = self.stand_in(&token, asked, *retry_after) {
                    return Ok(identity);
                }
            }
            Err(VerifyError::LockedOut { .. }) => {}
            Err(error) => self.shared.store.put_rejected(token, Rejected { error: *error, asked }),
        }
        answer
    }

    /// Who stands in for a verifier that cannot tell.
    fn stand_in(&self, token: &TokenDigest, asked: Asked, retry_after: Duration) -> Option<Identity> {
        let Some(Entry::Good(good)) = self.shared.store.get(token) else { return None };
        let now = Instant::now();
        let end = self.shared.max_age.saturating_add(self.rules.grace);
        let left = end.checked_sub(now.saturating_duration_since(good.asked.at)).filter(|left| !left.is_zero())?;
        if self.rules.grace.is_zero() || good.asked.revision != asked.revision || self.has_expired(&good.identity) {
            return None;
        }
        self.shared.store.stand_in(token, good.asked.at, now + left.min(retry_after).min(Self::LONGEST));
        Some(good.identity)
    }
}

impl<V> Shared<V> {
    /// What is known of a token, or of all, here and elsewhere.
    fn forget(&self, token: Option<TokenDigest>) {
        let revocations = self.revocations.load();
        if revocations.is_empty() {
            self.forget_here(token);
        }
        // They tell this cache, too.
        revocations.iter().for_each(|revocations| revocations.void(token));
    }

    fn forget_here(&self, token: Option<TokenDigest>) {
        match token {
            Some(token) => {
                self.store.forget(&token);
                self.revision.bump_for([token]);
            }
            None => {
                self.store.forget_all();
                self.revision.bump();
            }
        }
    }
}

impl<V: Send + Sync> Keeper for Shared<V> {
    fn revoked(&self, token: TokenDigest, _: Option<SystemTime>) {
        self.forget_here(Some(token));
    }

    fn void(&self, token: Option<TokenDigest>) {
        self.forget_here(token);
    }
}

impl<V: VerifyToken> Cached<V> {
    fn asked(&self, at: Instant, revision: Option<u64>) -> Asked {
        Asked { at, revision, generation: self.shared.store.generation() }
    }

    /// Asks the inner verifier by `ask`, and keeps what it answers.
    fn ask(&self, token: TokenDigest, asked: Asked, ask: impl FnOnce(&V) -> Verification) -> Verification {
        match ask(&self.shared.inner).into_ready() {
            Ok(answer) => self.settle(token, asked, answer).into(),
            Err(unknown) => {
                let cached = self.clone();
                Verification::pending(async move {
                    let end = Instant::now().checked_add(cached.rules.time_limit);
                    let answer = within(end, unknown).await.unwrap_or(Err(VerifyError::unavailable()));
                    cached.settle(token, asked, answer)
                })
            }
        }
    }
}

impl<V: VerifyToken> VerifyToken for Cached<V> {
    fn verify(&self, token: &BearerToken) -> Verification {
        let digest = token.digest();
        // Before the question, so that what moves meanwhile is not lost.
        let confirmed = Confirmed::by(Some(&self.shared.revision));
        let revision = self.shared.inner.revision().map(Revision::current);
        if let Some(answer) = self.known(&digest, confirmed.at, revision) {
            return answer.into();
        }
        let asked = self.asked(confirmed.at, revision);
        let as_of = AsOf { confirmed, epoch: asked.generation };
        let key = || Some(CredentialKey::new(digest));
        // Known after all, if another question was answered since.
        let known = || self.known(&digest, confirmed.at, revision).map(Verification::ready);
        let ask = || known().unwrap_or_else(|| self.ask(digest, asked, |inner| inner.verify(token)));
        match self.shared.flights.ask(as_of, Some(self.rules.time_limit), key, ask) {
            Ok(answer) => said(answer).into(),
            Err(mut waiting) => Verification::pending(async move { said(poll_fn(|cx| waiting.poll(cx)).await) }),
        }
    }

    fn verify_again(&self, token: &BearerToken) -> Verification {
        if !self.rules.fresh_rechecks {
            return self.verify(token);
        }
        let revision = self.shared.inner.revision().map(Revision::current);
        let asked = self.asked(Instant::now(), revision);
        self.ask(token.digest(), asked, |inner| inner.verify_again(token))
    }

    fn coalesces(&self) -> bool {
        true
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.shared.revision)
    }
}

/// What was answered to a question that several share: a panic of the verifier is one for each of them.
fn said(answer: Answer) -> Result<Identity, VerifyError> {
    match answer {
        Answer::Said(answer) => answer,
        // Not told again by the panic hook, which knows it from the first time.
        Answer::Panicked => resume_unwind(Box::new("the verifier behind the cache panicked")),
    }
}

impl<V> Clone for Cached<V> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), rules: self.rules.clone() }
    }
}

impl<V> fmt::Debug for Cached<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (identities, rejections) = self.len();
        f.debug_struct("Cached")
            .field("inner", &type_name::<V>())
            .field("max_age", &self.shared.max_age)
            .field("identities", &identities)
            .field("rejections", &rejections)
            .finish_non_exhaustive()
    }
}
