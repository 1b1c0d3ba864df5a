//! Tokens that their issuer is asked about (RFC 7662).

// - `client_auth`: how this service authenticates to the endpoint.
// - `response`: what the endpoint answers, and what of it is believed.

mod client_auth;
mod response;

use std::{error::Error, fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderValue, Request, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE},
};
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::Instant;

pub use self::client_auth::ClientAuth;
use self::response::{Fault, Refusal};
use super::{BearerToken, Verification, VerifyError, VerifyToken};
use crate::{
    Identity,
    claims::Claims,
    fault,
    http_client::{
        HttpClient,
        secure::{is_secure, shown, shown_url},
    },
    timer::within,
};

/// Asks an authorization server about each token (RFC 7662): for opaque tokens, and for any that the server can
/// take back.
///
/// # How a token is judged
///
/// 1. The token is posted as a form, with this service's own [credentials](ClientAuth). There are three answers
///    and not two: active, not active, and none. Whatever is wrong with the endpoint is the third: it cannot be
///    reached or not within [`with_time_limit`](Self::with_time_limit), another status than 200, another content
///    type than JSON, more than 64 KiB, no object, a name twice, a member of the wrong type. It is answered with
///    503, so that nobody throws a good token away, and told to the operator with the endpoint and what is wrong.
///    So is a 401 or 403 to *this service*, which says nothing of the token.
/// 2. `active` is `false`: rejected.
/// 3. A token with `cnf`, or of the `token_type` `DPoP`, is bound to a key (RFC 9449, RFC 8705), and no bearer
///    token: rejected. So is one that is of another `token_type` than `Bearer`, and a refresh token that says so.
/// 4. `iss` must be the [expected issuer](Self::with_issuer), and one of `aud` an
///    [expected audience](Self::with_audience), where these are named. No `aud` is then a rejection; no `iss` is
///    not, as it is that issuer's endpoint which answered.
/// 5. `sub` must be there: with the issuer it is who is calling. `nbf` and `exp` are for
///    the door to judge, `scope` is what the token was issued for, `jti` its credential id, `sid` its
///    session.
///
/// # For how long
///
/// The server says nothing of a token that it takes back later. So it is asked again at each recheck of a stream: a
/// token that is no longer active ends an idle stream within a
/// [heartbeat](crate::StreamReauthLayer::with_heartbeat) and the time limit of a check, which together are 20 s
/// unless chosen otherwise, and no frame passes that was not asked for, unless
/// [`with_max_age`](crate::StreamReauthLayer::with_max_age) allows it. A [`Cached`](super::Cached) around this
/// asks less often, and adds its age to these bounds.
///
/// # Example
///
/// ```
/// use bytes::Bytes;
/// use http::{Request, Response};
/// use tower::{ServiceBuilder, ServiceExt};
/// use tower_reauth::{BearerAuthLayer, verify::{ClientAuth, Introspection}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
/// // In place of an `HttpsClient`, an authorization server.
/// let server = async |request: Request<Bytes>| {
///     let is_active = request.body().starts_with(b"token=opaque-123&");
///     let answer = if is_active { r#"{"active":true,"sub":"alice","scope":"read"}"# } else { r#"{"active":false}"# };
///     Ok(Response::builder().header("content-type", "application/json").body(Bytes::from(answer))?)
/// };
/// let auth = ClientAuth::basic("this-service", "s3cret");
/// let verifier = Introspection::new("https://issuer.example/introspect", auth, server)?
///     .with_issuer("https://issuer.example");
///
/// let service = ServiceBuilder::new()
///     .layer(BearerAuthLayer::new(verifier))
///     .service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new())));
/// let request = |token| Request::builder().header("authorization", format!("Bearer {token}")).body(()).unwrap();
/// assert_eq!(service.clone().oneshot(request("opaque-123")).await?.status(), 200);
/// assert_eq!(service.oneshot(request("opaque-124")).await?.status(), 401);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Introspection {
    endpoint: Uri,
    auth: ClientAuth,
    client: Arc<dyn HttpClient>,
    time_limit: Duration,
    rules: Rules,
}

#[derive(Clone)]
struct Rules {
    issuer: Option<Arc<str>>,
    /// One of these; none where any will do.
    audiences: Vec<String>,
    subject_member: &'static str,
    read_claims: Option<fn(Identity, Claims) -> Option<Identity>>,
}

/// What was named as an endpoint is no absolute URL, or neither `https` nor on this machine: whoever stands between
/// would read each token, and the credentials of this service (RFC 7662 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidEndpoint {
    /// What was named, without user, password and query.
    pub url: String,
}

impl Introspection {
    /// Asks `endpoint`, an absolute URL, over `client`.
    ///
    /// # Errors
    ///
    /// If `endpoint` is none, or neither `https` nor on this machine.
    pub fn new(endpoint: &str, auth: ClientAuth, client: impl HttpClient) -> Result<Self, InvalidEndpoint> {
        let is_absolute = |uri: &Uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some();
        let is_good = |uri: &Uri| is_absolute(uri) && is_secure(uri);
        let invalid = || InvalidEndpoint { url: shown(endpoint) };
        Ok(Self {
            endpoint: endpoint.parse().ok().filter(is_good).ok_or_else(invalid)?,
            auth,
            client: Arc::new(client),
            time_limit: Duration::from_secs(5),
            rules: Rules { issuer: None, audiences: Vec::new(), subject_member: "sub", read_claims: None },
        })
    }

    /// Whose endpoint it is: what `iss` must be where it is said, and the issuer of each identity.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<Arc<str>>) -> Self {
        self.rules.issuer = Some(issuer.into());
        self
    }

    /// What `aud` must name. Called again, it adds another one that will do.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.rules.audiences.push(audience.into());
        self
    }

    /// Takes the subject from this member in place of `sub`: `client_id`, say, where services call each other. A
    /// client must not be able to choose its id so that it equals somebody's `sub` (RFC 9700 section 4.15).
    #[must_use]
    pub fn with_subject_member(mut self, name: &'static str) -> Self {
        self.rules.subject_member = name;
        self
    }

    /// Keeps all members of the answer as a `T`: [`Identity::claims`]. A token whose answer is no `T` is rejected.
    #[must_use]
    pub fn with_claims<T: DeserializeOwned + Send + Sync + 'static>(mut self) -> Self {
        self.rules.read_claims = Some(|identity, claims| {
            let claims = serde_json::from_value::<T>(Value::Object(claims)).ok()?;
            Some(identity.with_claims(claims))
        });
        self
    }

    /// How long the endpoint is waited for. Default: five seconds. The time is [`tokio::time`]'s: outside of a
    /// runtime there is no limit.
    #[must_use]
    pub fn with_time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    fn request(&self, token: &BearerToken) -> Request<Bytes> {
        let token: String = form_urlencoded::byte_serialize(token.as_bytes()).collect();
        let mut request = Request::post(self.endpoint.clone())
            .body(format!("token={token}&token_type_hint=access_token").into())
            .expect("its parts are valid");
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, self.auth.header());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        request
    }

    async fn ask(&self, request: Request<Bytes>) -> Result<Identity, Refusal> {
        let end = Instant::now().checked_add(self.time_limit);
        let response = match within(end, self.client.send(request)).await {
            None => return Err(Refusal::Fault(Fault::timed_out(self.time_limit))),
            Some(Err(error)) => return Err(Refusal::Fault(Fault::unreachable(error))),
            Some(Ok(response)) => response,
        };
        let claims = response::read(&response).map_err(Refusal::Fault)?;
        response::identify(claims, &self.rules)
    }
}

impl VerifyToken for Introspection {
    fn verify(&self, token: &BearerToken) -> Verification {
        let (request, asked) = (self.request(token), self.clone());
        Verification::pending(async move {
            asked.ask(request).await.map_err(|refusal| match refusal {
                Refusal::Token(rejection) => VerifyError::rejected(rejection),
                Refusal::Fault(fault) => {
                    fault::report(&format_args!("introspection at {}", shown_url(&asked.endpoint)), &fault);
                    fault.into()
                }
            })
        })
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("endpoint", &shown_url(&self.endpoint))
            .field("auth", &self.auth)
            .field("issuer", &self.rules.issuer)
            .field("audiences", &self.rules.audiences)
            .field("time_limit", &self.time_limit)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for InvalidEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no absolute URL that is https or on this machine", self.url)
    }
}

impl Error for InvalidEndpoint {}
