//! What becomes of an event, and the service that takes it.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{Request, StatusCode};
use http_body::Body;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    Signed, SubjectId, Target, VerifySignature,
    http::{self as answers, ReceiverFuture, ResponseBody},
    seen::Seen,
    token::{Event, EventError, Parties, What},
};
use crate::{
    Clock, fault, media_type,
    revoke::{Revocations, Subject},
    timer::within,
    unwind::{Contained, contained},
    verify::{BearerToken, VerifyError},
};

/// Takes security event tokens (RFC 8417) that a transmitter pushes (RFC 8935), and moves [`Revocations`].
///
/// A service for one path: it answers 202, or 400 with an error of RFC 8935 section 2.4, or 503 where the keys of the
/// transmitter cannot be had. Whoever may push is who has the transmitter's keys; one that authenticates its requests
/// as well is checked by a [`BearerAuthLayer`](crate::BearerAuthLayer) around this. What the rules are says the
/// [module](crate::revoke::events). Clones share the events that they know.
#[derive(Clone)]
pub struct EventReceiver(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    audiences: Vec<String>,
    critical: Vec<String>,
    keys: Arc<dyn VerifySignature>,
    effects: Effects,
    on_verification: Option<Arc<dyn Fn(Option<&str>) + Send + Sync>>,
    seen: Arc<Seen>,
}

/// What events do.
#[derive(Clone)]
pub(super) struct Effects {
    pub(super) issuer: String,
    /// Whose subjects the transmitter may speak of, besides its own.
    pub(super) subject_issuers: Vec<String>,
    pub(super) revocations: Revocations,
    pub(super) targets: Option<Arc<dyn Fn(SubjectId<'_>) -> Vec<Target> + Send + Sync>>,
    pub(super) retention: Duration,
    pub(super) clock: Clock,
}

/// Why an event was not taken.
pub(super) enum NotTaken {
    Refused(EventError),
    /// It is to come again.
    Unavailable(Duration),
}

/// How long the keys have to say whose a token is.
const VERDICT: Duration = Duration::from_secs(10);
/// How far ahead the clock of a transmitter may go.
const SKEW: Duration = Duration::from_secs(5 * 60);

impl EventReceiver {
    /// Takes the events of the transmitter `issuer`, which are for `audience`, as `keys` says who signed them.
    #[must_use]
    pub fn new(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        keys: impl VerifySignature,
        revocations: &Revocations,
    ) -> Self {
        Self(Arc::new(Inner {
            audiences: vec![audience.into()],
            critical: Vec::new(),
            keys: Arc::new(keys),
            effects: Effects::new(issuer.into(), revocations),
            on_verification: None,
            seen: Arc::default(),
        }))
    }

    /// Takes events for another audience too.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).audiences.push(audience.into());
        self
    }

    /// Takes events about subjects of another issuer than the transmitter, whose word on them counts. Without it
    /// such an event is discarded.
    #[must_use]
    pub fn with_subject_issuer(mut self, issuer: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).effects.subject_issuers.push(issuer.into());
        self
    }

    /// The `critical_subject_members` of the transmitter's metadata (Shared Signals Framework section 7.1): an event whose
    /// subject has one of these, and it is not understood here, is discarded. Understood are `user` and `session`.
    #[must_use]
    pub fn with_critical_subject_members(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Arc::make_mut(&mut self.0).critical.extend(names.into_iter().map(Into::into));
        self
    }

    /// Says what an identifier stands for, where verifiers name callers otherwise than the transmitter does: which
    /// subject has an address, which credential is a session's. By default a subject of an issuer is that, an
    /// address or opaque name a subject of the transmitter, a session a
    /// [session](crate::Identity::session_id) of the transmitter.
    #[must_use]
    pub fn with_targets(mut self, targets: impl Fn(SubjectId<'_>) -> Vec<Target> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).effects.targets = Some(Arc::new(targets));
        self
    }

    /// Calls `hook` with the `state` of each verification event.
    #[must_use]
    pub fn with_on_verification(mut self, hook: impl Fn(Option<&str>) + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).on_verification = Some(Arc::new(hook));
        self
    }

    /// How long a session or credential stays revoked: longer than any of its tokens is good for. Default: 30 days.
    #[must_use]
    pub fn with_retention(mut self, retention: Duration) -> Self {
        Arc::make_mut(&mut self.0).effects.retention = retention;
        self
    }

    /// Reads the wall clock elsewhere. It must be the clock of the layers.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        Arc::make_mut(&mut self.0).effects.clock = clock;
        self
    }

    /// Takes one token, and says with which id.
    pub(super) async fn take(&self, token: &[u8], expected_id: Option<&str>) -> Result<(), NotTaken> {
        let inner = &*self.0;
        let signed = signature(&*inner.keys, token).await?;
        let parties = Parties { issuer: &inner.effects.issuer, audiences: &inner.audiences };
        let event = Event::read(&signed, &parties, &inner.critical).map_err(|error| inner.effects.refuse(error))?;
        if expected_id.is_some_and(|expected| expected != event.id) {
            return Err(NotTaken::Refused(EventError::request("its `jti` is another one than it was sent under")));
        }
        if inner.seen.knows(event.id) {
            return Ok(());
        }
        match event.what {
            What::Ended(concerned) => inner.effects.apply(&concerned, event.at).await?,
            What::Verification { state } => {
                if let Some(hook) = &inner.on_verification {
                    contained(|| hook(state));
                }
            }
            What::Discarded(why) => inner.effects.report(&format_args!("an event is discarded: {why}")),
            What::Other => {}
        }
        // Now, and not before: an event that could not be read or applied must be taken when it comes again.
        inner.seen.add(event.id);
        Ok(())
    }
}

/// Checks the signature of a token.
pub(super) async fn signature(keys: &dyn VerifySignature, token: &[u8]) -> Result<Signed, NotTaken> {
    let token = std::str::from_utf8(token).ok().filter(|token| token.len() <= BearerToken::MAX_LEN);
    let token = token.ok_or_else(|| NotTaken::Refused(EventError::request("it is no token")))?.trim_ascii();
    // They may be a user's own.
    let answer = match contained(|| keys.verify(token)) {
        None => None,
        Some(verifying) => within(Instant::now().checked_add(VERDICT), Contained::new(verifying)).await.flatten(),
    };
    match answer {
        Some(Ok(signed)) => Ok(signed),
        Some(Err(VerifyError::Unavailable { retry_after })) => Err(NotTaken::Unavailable(retry_after)),
        Some(Err(error)) => Err(NotTaken::Refused(EventError::signature(&error))),
        None => {
            fault::report(&"the keys of events", &"they panicked, or did not answer in time");
            Err(NotTaken::Unavailable(Duration::from_secs(1)))
        }
    }
}

impl Effects {
    pub(super) fn new(issuer: String, revocations: &Revocations) -> Self {
        Self {
            issuer,
            subject_issuers: Vec::new(),
            revocations: revocations.clone(),
            targets: None,
            retention: Duration::from_secs(30 * 24 * 60 * 60),
            clock: Clock::system(),
        }
    }

    /// Refuses a token that the transmitter signed. What a stranger sends is not told: they would fill the log.
    pub(super) fn refuse(&self, error: EventError) -> NotTaken {
        self.report(&error);
        NotTaken::Refused(error)
    }

    pub(super) fn report(&self, fault: &dyn fmt::Display) {
        fault::report(&format_args!("events of {}", self.issuer), fault);
    }

    /// Takes back what was issued to them before `at`, here and wherever it is shared: by then it outlives this node.
    pub(super) async fn apply(&self, concerned: &[SubjectId<'_>], at: SystemTime) -> Result<(), NotTaken> {
        // What a user gave to say what is concerned may panic, and then nothing was applied.
        contained(|| concerned.iter().for_each(|id| self.end(*id, at))).ok_or_else(|| {
            self.report(&"the code that says what an event concerns panicked");
            NotTaken::Unavailable(Duration::from_secs(1))
        })?;
        let written = within(Instant::now().checked_add(VERDICT), self.revocations.written()).await;
        written.ok_or(NotTaken::Unavailable(Duration::from_secs(1)))
    }

    fn end(&self, id: SubjectId<'_>, at: SystemTime) {
        if let SubjectId::IssuerSubject { issuer, .. } | SubjectId::Token { issuer, .. } = id {
            if issuer != self.issuer && !self.subject_issuers.iter().any(|own| own == issuer) {
                return self
                    .report(&"an event is discarded: the transmitter does not speak for the issuer of its subject");
            }
        }
        let targets = self.targets.as_ref().map_or_else(|| vec![Target::of(id, &self.issuer)], |targets| targets(id));
        if targets.is_empty() {
            self.report(&"an event is discarded: it concerns nobody who is known here");
        }
        let now = self.clock.now();
        // A date past the end of time is never reached.
        let until = now.checked_add(self.retention);
        for target in targets {
            match (target, until) {
                (Target::Subject { issuer, subject }, _) => {
                    let subject = Subject { issuer: issuer.as_deref(), subject: &subject };
                    // Dates are mostly whole seconds: streams that are open now end whatever theirs are rounded to.
                    if at.checked_add(Duration::from_secs(1)).is_none_or(|end| end > now) {
                        let is_near = now.checked_add(SKEW).is_some_and(|most| at <= most);
                        self.revocations.revoke_subject_until(subject, if is_near { at.max(now) } else { now });
                    } else {
                        self.revocations.revoke_subject_before(subject, at);
                    }
                }
                (Target::Session { issuer, id }, Some(until)) => {
                    self.revocations.revoke_session_until(issuer.as_deref(), &id, until);
                }
                (Target::Session { issuer, id }, None) => self.revocations.revoke_session(issuer.as_deref(), &id),
                (Target::Credential(id), Some(until)) => self.revocations.revoke_until(&id, until),
                (Target::Credential(id), None) => self.revocations.revoke(&id),
            }
        }
    }
}

impl<B> Service<Request<B>> for EventReceiver
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = http::Response<ResponseBody>;
    type Error = Infallible;
    type Future = ReceiverFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ReceiverFuture {
        let receiver = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let is_right_kind = media_type::of(&head.headers).eq_ignore_ascii_case(b"application/secevent+jwt");
            let taken = match answers::posted(&head.method, is_right_kind, body, BearerToken::MAX_LEN).await {
                Ok(token) => receiver.take(&token, None).await,
                Err(Ok(wrong)) => Err(NotTaken::Refused(EventError::request(wrong))),
                Err(Err(response)) => return Ok(response),
            };
            Ok(match taken {
                Ok(()) => answers::empty(StatusCode::ACCEPTED),
                Err(NotTaken::Unavailable(retry_after)) => answers::unavailable(retry_after),
                Err(NotTaken::Refused(error)) => {
                    answers::refused(["err", "description"], error.code, &error.description)
                }
            })
        })
    }
}

impl fmt::Debug for EventReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventReceiver")
            .field("issuer", &self.0.effects.issuer)
            .field("audiences", &self.0.audiences)
            .finish_non_exhaustive()
    }
}
