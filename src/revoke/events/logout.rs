//! OpenID Connect Back-Channel Logout 1.0.

use std::{
    convert::Infallible,
    fmt,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use http::{HeaderValue, Request, Response, StatusCode, header::CACHE_CONTROL};
use http_body::Body;
use tower_service::Service;

use super::{
    Signed, SubjectId, Target, VerifySignature,
    http::{self as answers, ReceiverFuture, ResponseBody},
    receiver::{Effects, NotTaken, signature},
    seen::Seen,
    token::{self, EventError, Parties},
};
use crate::{Clock, claims, media_type, revoke::Revocations, verify::BearerToken};

/// The event that a logout token is about.
const LOGOUT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// A form has one token in it, which it makes at most three times as long.
const MOST: usize = 4 * BearerToken::MAX_LEN;

/// Takes the logout tokens of OpenID Connect Back-Channel Logout 1.0, and moves [`Revocations`].
///
/// A service for one path, the client's `backchannel_logout_uri`: the form's `logout_token` is judged by section 2.6 of
/// the specification, and answered with 200, or 400 and an OAuth error, or 503 where the keys of the provider cannot be
/// had; each with `Cache-Control: no-store`.
///
/// 1. The token is signed by the provider. `typ` is `logout+jwt`, `JWT` or not there: a token of any other kind is none.
/// 2. `iss` is the provider, `aud` names this client, `iat`, `exp` and `jti` are there, and `exp` lies ahead.
/// 3. `events` has the member of back-channel logout, an object. `nonce` is forbidden: so no id token passes for one.
/// 4. `sid`, `sub` or both are there. With `sid` the credentials of that session end
///    ([`Identity::session_id`](crate::Identity::session_id)); without it, all that was issued to the subject before.
/// 5. A `jti` that is known was applied already; it is answered as the first time.
///
/// Access tokens that do not carry `sid` cannot be found by it: [`with_targets`](Self::with_targets) says what a session
/// stands for, by what was remembered at sign-in.
#[derive(Clone)]
pub struct LogoutReceiver(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    client_id: String,
    keys: Arc<dyn VerifySignature>,
    effects: Effects,
    leeway: Duration,
    seen: Arc<Seen>,
}

impl LogoutReceiver {
    /// Takes the logout tokens of the provider `issuer` for the client `client_id`, as `keys` says who signed them.
    #[must_use]
    pub fn new(
        issuer: impl Into<String>,
        client_id: impl Into<String>,
        keys: impl VerifySignature,
        revocations: &Revocations,
    ) -> Self {
        Self(Arc::new(Inner {
            client_id: client_id.into(),
            keys: Arc::new(keys),
            effects: Effects::new(issuer.into(), revocations),
            leeway: Duration::ZERO,
            seen: Arc::default(),
        }))
    }

    /// Says what an identifier stands for: a [`Session`](SubjectId::Session) or an
    /// [`IssuerSubject`](SubjectId::IssuerSubject). By default those of the provider.
    #[must_use]
    pub fn with_targets(mut self, targets: impl Fn(SubjectId<'_>) -> Vec<Target> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.0).effects.targets = Some(Arc::new(targets));
        self
    }

    /// Takes a token for `leeway` longer than its `exp` says, for clocks that disagree. Default: zero.
    #[must_use]
    pub fn with_leeway(mut self, leeway: Duration) -> Self {
        Arc::make_mut(&mut self.0).leeway = leeway;
        self
    }

    /// How long a session stays revoked: longer than any of its tokens is good for. Default: 30 days.
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

    async fn take(&self, form: &[u8]) -> Result<(), NotTaken> {
        let inner = &*self.0;
        let mut tokens = form_urlencoded::parse(form).filter(|(name, _)| name == "logout_token");
        let (Some((_, token)), None) = (tokens.next(), tokens.next()) else {
            return Err(NotTaken::Refused(EventError::request("the form has not one `logout_token`")));
        };
        let signed = signature(&*inner.keys, token.as_bytes()).await?;
        let logout = inner.read(&signed).map_err(|error| inner.effects.refuse(error))?;
        if !inner.seen.knows(logout.id) {
            inner.effects.apply(&[logout.concerned], logout.at).await?;
            inner.seen.add(logout.id);
        }
        Ok(())
    }
}

struct Logout<'a> {
    id: &'a str,
    at: SystemTime,
    concerned: SubjectId<'a>,
}

impl Inner {
    fn read<'a>(&'a self, signed: &'a Signed) -> Result<Logout<'a>, EventError> {
        if signed.kind.is_some() && !signed.is("logout+jwt") && !signed.is("jwt") {
            return Err(EventError::request("its `typ` is not `logout+jwt`"));
        }
        let claims = &signed.claims;
        let Effects { issuer, clock, .. } = &self.effects;
        Parties { issuer, audiences: std::slice::from_ref(&self.client_id) }.check(claims)?;
        let required =
            |name| claims::date(claims, name)?.ok_or_else(|| EventError::request(format!("`{name}` is not there")));
        let (at, expires_at) = (required("iat")?, required("exp")?);
        if expires_at.checked_add(self.leeway).is_some_and(|end| end <= clock.now()) {
            return Err(EventError::request("it has expired"));
        }
        let id = token::id(claims)?;
        let event = claims::member(claims, "events")?.and_then(|events| events.get(LOGOUT));
        if !event.is_some_and(|event| event.is_object()) {
            return Err(EventError::request("`events` has no back-channel logout"));
        }
        if claims.contains_key("nonce") {
            return Err(EventError::request("`nonce` is none of a logout token's claims"));
        }
        let (session, subject) = (claims::text(claims, "sid")?, claims::text(claims, "sub")?);
        let concerned = match (session, subject) {
            (Some(id), _) => SubjectId::Session(id),
            (None, Some(subject)) => SubjectId::IssuerSubject { issuer, subject },
            (None, None) => return Err(EventError::request("neither `sid` nor `sub` is there")),
        };
        Ok(Logout { id, at, concerned })
    }
}

impl<B> Service<Request<B>> for LogoutReceiver
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = ReceiverFuture;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> ReceiverFuture {
        let receiver = self.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let kind = media_type::of(&head.headers);
            let is_form = kind.eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
            let taken = match answers::posted(&head.method, is_form, body, MOST).await {
                Ok(form) => receiver.take(&form).await,
                Err(Ok(wrong)) => Err(NotTaken::Refused(EventError::request(wrong))),
                Err(Err(response)) => return Ok(unstored(response)),
            };
            Ok(unstored(match taken {
                Ok(()) => answers::empty(StatusCode::OK),
                Err(NotTaken::Unavailable(retry_after)) => answers::unavailable(retry_after),
                Err(NotTaken::Refused(error)) => {
                    answers::refused(["error", "error_description"], "invalid_request", &error.description)
                }
            }))
        })
    }
}

fn unstored(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

impl fmt::Debug for LogoutReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutReceiver")
            .field("issuer", &self.0.effects.issuer)
            .field("client_id", &self.0.client_id)
            .finish_non_exhaustive()
    }
}
