//! The contestants of the door: the same token check, asked by each library in its own way.
//!
//! 1. All of them answer the same request, built anew for each call as a server builds it: header
//!    values that share one buffer.
//! 2. A service is cloned for each request and driven by `oneshot`, as hyper-util does.
//! 3. On a tower service stands what is tower middleware. What needs axum is compared on an axum
//!    router, with the others once more beside it.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::Body,
    extract::Request,
    middleware::{Next, from_fn},
    response::Response,
    routing::get,
};
use axum_extra::{
    TypedHeader,
    headers::{Authorization, authorization::Bearer},
};
use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT},
};
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_http::validate_request::ValidateRequestHeaderLayer;
use tower_reauth::{
    AuthMethod, BearerAuthLayer, Compat, Identity, RequireScopeLayer, Scope, ScopeResolverLayer, ScopeSet, StaticToken,
    StreamReauthLayer, Tokens,
    scope::ScopeHierarchy,
    verify::{Cached, Token, VerifyError, verify_async},
};

/// As long as the tokens that `openssl rand -hex 24` makes.
const TOKEN: &str = "9f8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928";
/// As long, and different from the first character on: what compares in variable time is at its best.
const WRONG_TOKEN: &str = "af8e7d6c5b4a39281706f5e4d3c2b1a09f8e7d6c5b4a3928";

const ADMIN: Scope = Scope::from_static("operator.admin");
const READ: Scope = Scope::from_static("operator.read");
const WRITE: Scope = Scope::from_static("operator.write");
const APPROVALS: Scope = Scope::from_static("operator.approvals");
const PAIRING: Scope = Scope::from_static("operator.pairing");

/// One way to check a token, ready to be called.
pub struct Contestant {
    pub name: &'static str,
    /// What it stands on.
    pub base: Base,
    call: Box<dyn Fn(Request) -> StatusCode>,
}

/// What a contestant stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    Tower,
    Axum,
}

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presents {
    Token,
    WrongToken,
    Nothing,
}

/// The head of a request, as a server has it in its read buffer.
pub struct Head(HeaderMap);

pub const BARE: &str = "bare";
pub const BEARER_AUTH: &str = "BearerAuth";
pub const TOKENS: &str = "BearerAuth of Tokens";
pub const CACHED: &str = "BearerAuth of Cached, a hit";
pub const WHOLE_STACK: &str = "BearerAuth + ScopeResolver + RequireScope";
pub const WHOLE_STACK_AND_STREAM: &str = "the same + StreamReauth, no stream";
pub const TOWER_HTTP: &str = "tower-http ValidateRequestHeaderLayer::bearer";
pub const FROM_FN: &str = "axum::middleware::from_fn";
pub const TYPED_HEADER: &str = "axum-extra TypedHeader<Authorization<Bearer>>";

/// All of them; the first one of each base is the bare one.
pub fn contestants() -> Vec<Contestant> {
    // Deprecated as too basic to be useful. It is what the field has, and what the budget names.
    #[allow(deprecated)]
    let tower_http = ValidateRequestHeaderLayer::bearer(TOKEN);
    let bearer = BearerAuthLayer::new(StaticToken::new(TOKEN));
    let scopes = (
        ScopeResolverLayer::new(Compat::new([ADMIN, READ, WRITE, APPROVALS, PAIRING]))
            .with_hierarchy(ScopeHierarchy::new().with_all(ADMIN).with_implied(WRITE, READ))
            .with_declared_header(HeaderName::from_static("x-scopes")),
        RequireScopeLayer::new(ScopeSet::from(READ)),
    );

    let tokens = Tokens::new([Token::new("alice", TOKEN)]).expect("it is one token");
    // One that must be waited for, as it would ask a provider.
    let asks = verify_async(async |token| match token.to_str() {
        Some(TOKEN) => Ok(Identity::new("alice", AuthMethod::Token).with_credential_id("alice")),
        _ => Err(VerifyError::Rejected),
    });
    let cached = Cached::new(asks, Duration::from_secs(600)).with_rejections_for(Duration::from_secs(60));

    let service = service_fn(async |_: Request| Ok::<_, Infallible>(Response::new(Body::empty())));
    let router = Router::new().route("/", get(async || ()));
    // As `axum::serve` does it: without a state the layers would be put together for each request.
    let axum = |name, router: Router| Contestant::new(name, Base::Axum, router.with_state::<()>(()));

    vec![
        Contestant::new(BARE, Base::Tower, service),
        Contestant::new(BEARER_AUTH, Base::Tower, bearer.layer(service)),
        Contestant::new(TOKENS, Base::Tower, BearerAuthLayer::new(tokens).layer(service)),
        Contestant::new(CACHED, Base::Tower, BearerAuthLayer::new(cached).layer(service)),
        Contestant::new(WHOLE_STACK, Base::Tower, (bearer.clone(), scopes.clone()).layer(service)),
        Contestant::new(
            WHOLE_STACK_AND_STREAM,
            Base::Tower,
            (bearer.clone(), scopes.clone(), StreamReauthLayer::new()).layer(service),
        ),
        Contestant::new(TOWER_HTTP, Base::Tower, tower_http.layer(service)),
        axum(BARE, router.clone()),
        axum(BEARER_AUTH, router.clone().layer(bearer.clone())),
        axum(WHOLE_STACK, router.clone().layer((bearer.clone(), scopes.clone()))),
        axum(WHOLE_STACK_AND_STREAM, router.clone().layer((bearer.clone(), scopes.clone(), StreamReauthLayer::new()))),
        axum(TOWER_HTTP, router.clone().layer(tower_http)),
        axum(FROM_FN, router.layer(from_fn(check))),
        axum(TYPED_HEADER, Router::new().route("/", get(typed_header))),
    ]
}

/// What one writes by hand.
async fn check(request: Request, next: Next) -> Result<Response, StatusCode> {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    match header.and_then(|value| value.strip_prefix("Bearer ")) {
        Some(TOKEN) => Ok(next.run(request).await),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

async fn typed_header(TypedHeader(credential): TypedHeader<Authorization<Bearer>>) -> Result<(), StatusCode> {
    if credential.token() == TOKEN { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
}

impl Contestant {
    fn new<S, B>(name: &'static str, base: Base, service: S) -> Self
    where
        S: Service<Request, Response = Response<B>, Error = Infallible> + Clone + 'static,
    {
        let call = move |request| match service.clone().oneshot(request).now_or_never() {
            Some(Ok(response)) => response.status(),
            None => panic!("{name} had to wait, with nothing to wait for"),
        };
        Self { name, base, call: Box::new(call) }
    }

    /// Answers a request with such a head.
    pub fn call(&self, head: &Head) -> StatusCode {
        self.answer(head.request())
    }

    /// Answers a request that was made before.
    pub fn answer(&self, request: Request) -> StatusCode {
        (self.call)(request)
    }

    /// Fails unless each request is answered as it should be.
    pub fn assert_works(&self) {
        let expected = |presents| match (self.name, presents) {
            (BARE, _) | (_, Presents::Token) => StatusCode::OK,
            // That is what axum-extra answers.
            (TYPED_HEADER, Presents::Nothing) => StatusCode::BAD_REQUEST,
            (_, Presents::WrongToken | Presents::Nothing) => StatusCode::UNAUTHORIZED,
        };
        for presents in [Presents::Token, Presents::WrongToken, Presents::Nothing] {
            assert_eq!(self.call(&Head::new(presents)), expected(presents), "{} on {:?}", self.name, self.base);
        }
    }
}

impl Head {
    pub fn new(presents: Presents) -> Self {
        let credential = match presents {
            Presents::Token => Some(format!("Bearer {TOKEN}")),
            Presents::WrongToken => Some(format!("Bearer {WRONG_TOKEN}")),
            Presents::Nothing => None,
        };
        let fields = [
            (HOST, "127.0.0.1:19001".to_owned()),
            (USER_AGENT, "curl/8.5.0".to_owned()),
            (ACCEPT, "text/event-stream".to_owned()),
        ];
        let fields = fields.into_iter().chain(credential.map(|credential| (AUTHORIZATION, credential)));
        let value = |text: String| HeaderValue::from_maybe_shared(Bytes::from(text.into_bytes()));
        Self(fields.map(|(name, text)| (name, value(text).expect("it is visible ASCII"))).collect())
    }

    /// A request with this head, for `/` and without a body.
    pub fn request(&self) -> Request {
        let mut request = Request::new(Body::empty());
        request.headers_mut().clone_from(&self.0);
        request
    }
}
