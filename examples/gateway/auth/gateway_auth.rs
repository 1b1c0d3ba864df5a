//! The gateway's authentication, by the settings of now.

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, Once, PoisonError},
};

use arc_swap::ArcSwap;
use http::Response;
use tower_reauth::{
    Denied, Identity, Tokens, VerifyToken,
    bearer::{Authenticate, Head},
    limiter::{FailureLimiter, FailureLimits},
    revoke::{Revision, Revocations},
    verify::{CredentialKey, DuplicateToken, Token, Verification, VerifyError},
};

use super::challenge::name_schemes;
#[cfg(feature = "websocket")]
use super::rules::Stranger;
use super::rules::{Credential, Occasion, Rules};
use crate::config::{ClientToken, RateLimit, Settings};

/// Asks callers for what the settings of now demand. Clones are handles on the same rules.
#[derive(Clone, Debug)]
pub struct GatewayAuth(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Those that were applied last.
    settings: Mutex<Settings>,
    rules: ArcSwap<Rules>,
    /// Outlive the rules: a token that is taken away wakes its own streams and no others.
    clients: Tokens,
    /// Outlives the rules: who is locked out stays so under new ones.
    limiter: FailureLimiter,
    replaced: Revision,
    /// Moves when the rules or a client's token are replaced, and when a lock begins.
    revision: Revision,
    /// Whether the log has said so.
    unattributed: Once,
}

impl GatewayAuth {
    #[cfg(test)]
    pub fn new(settings: &Settings) -> Result<Self, DuplicateToken> {
        Self::with_limiter(settings, FailureLimiter::default())
    }

    /// Failures are counted by this limiter, whose limits are those of the settings from now on.
    pub fn with_limiter(settings: &Settings, limiter: FailureLimiter) -> Result<Self, DuplicateToken> {
        limiter.set_limits(limits(&settings.rate_limit));
        let clients = Tokens::new(tokens(settings))?;
        let rules = ArcSwap::from_pointee(Rules::new(settings, &clients, &limiter));
        let replaced = Revision::new();
        let revision = Revision::merged([&replaced, limiter.revision()].into_iter().chain(clients.revision()));
        let settings = Mutex::new(settings.clone());
        Ok(Self(Arc::new(Shared { settings, rules, clients, limiter, replaced, revision, unattributed: Once::new() })))
    }

    /// A token that the settings drop is revoked by these from now on, on all gateways that share them; and is good again
    /// when the settings add it.
    pub fn share_dropped(&self, revocations: &Revocations) {
        // For all handles.
        let _: Tokens = self.0.clients.clone().with_revocations(revocations);
    }

    /// Asks by these settings from now on: every open stream that they concern at once, every caller
    /// from the next request on. Settings that make no rules change nothing.
    pub fn apply(&self, settings: &Settings) -> Result<(), DuplicateToken> {
        let mut applied = self.0.settings.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.clients.replace(tokens(settings))?;
        self.0.limiter.set_limits(limits(&settings.rate_limit));
        if !Rules::are_alike(&applied, settings) {
            // First the rules, then the revision: a reader of the new revision finds the new rules.
            self.0.rules.store(Arc::new(Rules::new(settings, &self.0.clients, &self.0.limiter)));
            self.0.replaced.bump();
        }
        *applied = settings.clone();
        Ok(())
    }

    /// The response, whose challenge names the schemes that are good by the settings of now.
    pub fn challenge<B>(&self, mut response: Response<B>) -> Response<B> {
        name_schemes(response.headers_mut(), &self.0.rules.load());
        response
    }

    /// Whose address a request came from: that which a trusted proxy names, or else the peer's.
    pub fn client(&self, head: Head<'_>) -> Option<IpAddr> {
        self.0.rules.load().client(head)
    }

    /// Whether a program on this machine asks, and for itself.
    #[cfg(feature = "metrics")]
    pub fn is_from_nearby(&self, head: Head<'_>) -> bool {
        self.0.rules.load().is_from_nearby(head)
    }

    /// Whether it can be told who sent the request. The log says once that it cannot, and what to do.
    pub fn can_attribute(&self, head: Head<'_>) -> bool {
        let can = self.0.rules.load().can_attribute(head);
        if !can {
            self.0.unattributed.call_once(|| {
                tracing::warn!(
                    "requests that a proxy passed on are refused: nothing that can be believed names their client. \
                     Name the proxy in gateway.trustedProxies, and let it write X-Forwarded-For"
                );
            });
        }
        can
    }

    /// What can be told of a caller who has yet to say who it is.
    #[cfg(feature = "websocket")]
    pub fn stranger(&self, head: Head<'_>) -> Stranger {
        self.0.rules.load().stranger(head)
    }

    /// The same for settings that were published; that it failed is in the log.
    pub fn apply_published(&self, settings: &Settings) {
        if let Err(error) = self.apply(settings) {
            tracing::warn!(%error, "the old settings still decide who may call");
        }
    }
}

impl Authenticate for GatewayAuth {
    type Credential = Credential;

    fn present(&self, head: Head<'_>) -> Result<Credential, Denied> {
        self.0.rules.load().present(head)
    }

    fn verify(&self, credential: &Credential) -> Verification {
        self.0.rules.load().verify(credential, Occasion::Door)
    }

    fn verify_again(&self, credential: &Credential) -> Verification {
        self.0.rules.load().verify(credential, Occasion::Stream)
    }

    fn conclude(
        &self,
        credential: &Credential,
        verdict: Result<Identity, VerifyError>,
    ) -> Result<Identity, VerifyError> {
        self.0.rules.load().conclude(credential, verdict)
    }

    fn revision(&self) -> Option<&Revision> {
        Some(&self.0.revision)
    }

    fn key(&self, credential: &Credential) -> Option<CredentialKey> {
        self.0.rules.load().key(credential)
    }

    fn detach(&self, credential: &Credential) -> Credential {
        self.0.rules.load().detach(credential)
    }
}

fn tokens(settings: &Settings) -> impl Iterator<Item = Token> {
    settings.client_tokens.as_deref().unwrap_or_default().iter().map(token)
}

fn token(client: &ClientToken) -> Token {
    let token =
        Token::from_digest(&client.id, client.digest).with_subject(&client.subject).with_scopes(client.scopes.clone());
    match client.expires_at {
        None => token,
        Some(expires_at) => token.with_expires_at(expires_at),
    }
}

fn limits(settings: &RateLimit) -> FailureLimits {
    let limits = FailureLimits::new()
        .with_max_attempts(settings.max_attempts.try_into().unwrap_or(usize::MAX))
        .with_window(settings.window)
        .with_lockout(settings.lockout);
    if settings.exempt_loopback { limits } else { limits.with_loopback_counted() }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderName, Request, Response};
    use http_body_util::{BodyExt, channel::Channel};
    use tokio::time::{Instant, advance, timeout};
    use tower::{ServiceBuilder, ServiceExt, service_fn};
    use tower_reauth::{
        Access, StreamReauth, StreamReauthLayer, bearer::AuthLayer, proxy::PeerAddr, verify::TokenDigest,
    };

    use super::*;
    use crate::config::{Auth, ControlUi, Secret, Session, SessionScope, TrustedProxy};

    const LOOPBACK: &str = "127.0.0.1";
    const STRANGER: &str = "203.0.113.9";

    /// Settings in which only the authentication is of interest.
    fn settings(auth: Auth) -> Settings {
        Settings {
            auth,
            client_tokens: None,
            upstream_key: None,
            edge_token: None,
            rate_limit: RateLimit {
                max_attempts: 10,
                window: Duration::from_secs(60),
                lockout: Duration::from_secs(300),
                exempt_loopback: true,
            },
            trusted_proxies: vec![LOOPBACK.to_owned(), "10.0.0.0/8".to_owned()],
            allow_real_ip_fallback: false,
            control_ui: ControlUi { allowed_origins: Vec::new(), host_header_fallback: false },
            strict_transport_security: None,
            tls: None,
            session: Session { store: None, scope: SessionScope::PerSender },
            agents: Vec::new(),
            advice: Vec::new(),
        }
    }

    fn token(secret: &str) -> Settings {
        settings(Auth::Token(Secret::new(secret).ok()))
    }

    fn client(id: &str) -> ClientToken {
        ClientToken {
            id: id.to_owned(),
            digest: TokenDigest::of(format!("token-of-{id}")),
            subject: id.to_owned(),
            scopes: tower_reauth::ScopeSet::empty(),
            expires_at: None,
        }
    }

    fn with_clients(clients: &[&str]) -> Settings {
        Settings { client_tokens: Some(clients.iter().map(|id| client(id)).collect()), ..token("s3cret") }
    }

    fn proxy() -> TrustedProxy {
        TrustedProxy {
            user_header: HeaderName::from_static("x-user"),
            required_headers: Vec::new(),
            allow_users: Vec::new(),
            allow_loopback: true,
            local_password: Secret::new("pw").ok(),
        }
    }

    fn request(peer: &str, headers: &[(&str, &str)]) -> Request<()> {
        let peer = PeerAddr(SocketAddr::new(peer.parse::<IpAddr>().unwrap(), 40_000));
        let request = Request::builder().uri("/").extension(peer);
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value)).body(()).unwrap()
    }

    fn bearer(secret: &str) -> String {
        format!("Bearer {secret}")
    }

    /// Who the caller is, or the status of the refusal.
    async fn ask(auth: &GatewayAuth, peer: &str, headers: &[(&str, &str)]) -> Result<String, u16> {
        if !auth.can_attribute((&request(peer, headers)).into()) {
            return Err(403);
        }
        let service = ServiceBuilder::new().layer(AuthLayer::from_authenticator(auth.clone())).service(service_fn(
            async |request: Request<()>| {
                let caller = request.extensions().get::<Access>().unwrap().identity();
                Ok::<_, Infallible>(Response::new(caller.subject().to_owned()))
            },
        ));
        let response = service.oneshot(request(peer, headers)).await.unwrap();
        if response.status() == 200 { Ok(response.into_body()) } else { Err(response.status().as_u16()) }
    }

    /// A stream that has nothing to say.
    struct Stream {
        body: StreamReauth<Channel<Bytes>>,
        _open: http_body_util::channel::Sender<Bytes>,
    }

    impl Stream {
        async fn open(auth: &GatewayAuth, peer: &str, headers: &[(&str, &str)]) -> Self {
            let (sender, body) = Channel::new(1);
            let body = Arc::new(Mutex::new(Some(body)));
            let service = ServiceBuilder::new()
                .layer(AuthLayer::from_authenticator(auth.clone()))
                .layer(StreamReauthLayer::new())
                .service(service_fn(move |_: Request<()>| {
                    let body = body.lock().unwrap().take().expect("one request");
                    async { Ok::<_, Infallible>(Response::new(body)) }
                }));
            let response = service.oneshot(request(peer, headers)).await.unwrap();
            assert_eq!(response.status(), 200);
            Self { body: response.into_body(), _open: sender }
        }

        /// Whether it ends when `change` happens to it while it is idle.
        async fn ends_at_once(&mut self, change: impl FnOnce()) -> bool {
            let start = Instant::now();
            let ended = async { self.body.frame().await.is_none() };
            let (ended, ()) = tokio::join!(timeout(Duration::from_secs(1), ended), async { change() });
            ended == Ok(true) && start.elapsed() < Duration::from_millis(10)
        }
    }

    #[tokio::test]
    async fn mode_none_asks_for_nothing() {
        let auth = GatewayAuth::new(&settings(Auth::None)).unwrap();
        for headers in [&[][..], &[("authorization", "Bearer zzz"), ("origin", " ")]] {
            assert_eq!(ask(&auth, STRANGER, headers).await.as_deref(), Ok("anonymous"));
        }
    }

    #[tokio::test]
    async fn mode_none_asks_which_page_calls() {
        let mut settings = settings(Auth::None);
        settings.control_ui.allowed_origins = vec!["https://app.example.com".to_owned()];
        let auth = GatewayAuth::new(&settings).unwrap();
        for (peer, origin, may) in [
            (STRANGER, "https://app.example.com", true),
            (STRANGER, "https://app.example.com/x", false),
            (STRANGER, "https://evil.example", false),
            (STRANGER, "http://localhost:3000", false),
            (LOOPBACK, "http://localhost:3000", true),
            (LOOPBACK, "http://[::1]", true),
            (LOOPBACK, "http://localhost.evil.example", false),
            (LOOPBACK, "null", false),
        ] {
            assert_eq!(ask(&auth, peer, &[("origin", origin)]).await.is_ok(), may, "{peer} {origin}");
        }
        let two = [("origin", "http://localhost"), ("origin", "http://localhost")];
        assert_eq!(ask(&auth, LOOPBACK, &two).await, Err(401));
        // Tailscale says that the request is from the internet.
        let funnel = [("x-forwarded-for", STRANGER), ("tailscale-funnel-request", "?1")];
        assert_eq!(ask(&auth, LOOPBACK, &funnel).await, Err(401));
    }

    #[tokio::test]
    async fn what_a_proxy_passed_on_is_refused_unless_it_can_be_told_for_whom() {
        for (peer, headers, attributed) in [
            (LOOPBACK, &[][..], true),
            (LOOPBACK, &[("x-forwarded-for", STRANGER)], true),
            (LOOPBACK, &[("x-forwarded-for", "203.0.113.9, 10.1.1.1, 127.0.0.1")], true),
            (LOOPBACK, &[("x-forwarded-for", "10.1.1.1")], false),
            (LOOPBACK, &[("x-forwarded-for", "127.0.0.1")], false),
            (LOOPBACK, &[("x-forwarded-for", "")], false),
            (LOOPBACK, &[("x-forwarded-proto", "https")], false),
            (LOOPBACK, &[("x-real-ip", STRANGER)], false),
            (LOOPBACK, &[("forwarded", "for=203.0.113.9")], false),
            (LOOPBACK, &[("tailscale-user-login", "alice")], false),
            ("10.0.0.1", &[("x-forwarded-for", STRANGER)], true),
            ("10.0.0.1", &[], false),
            (STRANGER, &[], true),
            (STRANGER, &[("x-forwarded-for", "203.0.113.1")], false),
            (STRANGER, &[("x-forwarded-proto", "")], false),
        ] {
            for rules in [Auth::None, Auth::Token(None)] {
                let auth = GatewayAuth::new(&settings(rules)).unwrap();
                assert_eq!(ask(&auth, peer, headers).await != Err(403), attributed, "{peer} {headers:?}");
            }
        }
        let real_ip = Settings { allow_real_ip_fallback: true, ..token("s3cret") };
        let auth = GatewayAuth::new(&real_ip).unwrap();
        assert_eq!(ask(&auth, LOOPBACK, &[("x-real-ip", STRANGER)]).await, Err(401));
        assert_eq!(ask(&auth, LOOPBACK, &[("x-real-ip", "127.0.0.1")]).await, Err(403));
        // Where no proxy is believed nobody's word about a user is.
        let nobody = Settings { trusted_proxies: Vec::new(), ..settings(Auth::TrustedProxy(proxy())) };
        let auth = GatewayAuth::new(&nobody).unwrap();
        assert_eq!(ask(&auth, LOOPBACK, &[("x-forwarded-for", STRANGER), ("x-user", "alice")]).await, Err(401));
    }

    #[tokio::test]
    async fn a_shared_secret_and_a_token_of_a_client_are_both_good() {
        let auth = GatewayAuth::new(&with_clients(&["ci"])).unwrap();
        for (header, caller) in [
            ("Bearer s3cret", Ok("shared-secret")),
            ("bearer  s3cret ", Ok("shared-secret")),
            ("Bearer token-of-ci", Ok("ci")),
            ("Bearer token-of-me", Err(401)),
            ("Basic s3cret", Err(401)),
            ("Bearer", Err(401)),
        ] {
            assert_eq!(ask(&auth, STRANGER, &[("authorization", header)]).await.as_deref(), caller.as_ref().copied());
        }
        let password = GatewayAuth::new(&settings(Auth::Password(Secret::new("pw").unwrap()))).unwrap();
        assert!(ask(&password, STRANGER, &[("authorization", "Bearer pw")]).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn ten_failures_lock_the_client_behind_the_proxy() {
        let auth = GatewayAuth::new(&token("s3cret")).unwrap();
        let from = |client: &'static str| ("x-forwarded-for", client);
        for _ in 0..10 {
            let wrong = [("authorization", "Bearer nope"), from(STRANGER)];
            assert_eq!(ask(&auth, LOOPBACK, &wrong).await, Err(401));
        }
        for client in [STRANGER, "::ffff:203.0.113.9", "203.0.113.9:5555", "203.0.113.9, 10.9.9.9, junk"] {
            let right = [("authorization", "Bearer s3cret"), from(client)];
            assert_eq!(ask(&auth, LOOPBACK, &right).await, Err(429), "{client}");
        }
        assert_eq!(ask(&auth, LOOPBACK, &[from(STRANGER)]).await, Err(429));
        assert!(ask(&auth, LOOPBACK, &[("authorization", "Bearer s3cret"), from("203.0.113.1")]).await.is_ok());
        // Nobody believes a stranger about where they are.
        assert_eq!(ask(&auth, "203.0.113.1", &[("authorization", "Bearer s3cret"), from(STRANGER)]).await, Err(403));

        advance(Duration::from_secs(300)).await;
        assert!(ask(&auth, LOOPBACK, &[("authorization", "Bearer s3cret"), from(STRANGER)]).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lock_outlives_new_settings() {
        let auth = GatewayAuth::new(&token("s3cret")).unwrap();
        for _ in 0..10 {
            assert_eq!(ask(&auth, STRANGER, &[("authorization", "Bearer nope")]).await, Err(401));
        }
        auth.apply(&token("another")).unwrap();
        assert_eq!(ask(&auth, STRANGER, &[("authorization", "Bearer another")]).await, Err(429));
    }

    #[tokio::test]
    async fn a_user_of_the_proxy_passes_and_what_the_proxy_does_not_say_is_refused() {
        let rules = TrustedProxy {
            required_headers: vec![HeaderName::from_static("x-auth-src")],
            allow_users: vec!["alice".to_owned()],
            ..proxy()
        };
        let auth = GatewayAuth::new(&settings(Auth::TrustedProxy(rules))).unwrap();
        let (user, source, from) = (("x-user", " alice "), ("x-auth-src", "idp"), ("x-forwarded-for", STRANGER));
        assert_eq!(ask(&auth, "10.0.0.1", &[user, source, from]).await.as_deref(), Ok("alice"));
        for (peer, headers, status) in [
            (STRANGER, vec![user, source], 401),
            ("10.0.0.1", vec![user, from], 401),
            ("10.0.0.1", vec![source, from], 401),
            ("10.0.0.1", vec![("x-user", "Alice"), source, from], 401),
            ("10.0.0.1", vec![user, source, from, ("origin", "https://evil.example")], 401),
            ("10.0.0.1", vec![("authorization", "Bearer pw"), from], 401),
            ("10.0.0.1", vec![user, source], 403),
            (LOOPBACK, vec![user, source], 403),
        ] {
            assert_eq!(ask(&auth, peer, &headers).await, Err(status), "{peer} {headers:?}");
        }
    }

    #[tokio::test]
    async fn a_local_direct_caller_may_show_the_password_in_place_of_a_user() {
        let auth = GatewayAuth::new(&settings(Auth::TrustedProxy(proxy()))).unwrap();
        let password = ("authorization", "Bearer pw");
        assert_eq!(ask(&auth, LOOPBACK, &[password]).await.as_deref(), Ok("shared-secret"));
        // It is no browser's doing, so the page does not matter.
        assert!(ask(&auth, LOOPBACK, &[password, ("origin", "https://evil.example")]).await.is_ok());
        let from = ("x-forwarded-for", STRANGER);
        assert_eq!(ask(&auth, LOOPBACK, &[password, from, ("x-user", "alice")]).await.as_deref(), Ok("alice"));
        for (headers, status) in [
            (&[][..], 401),
            (&[("authorization", "Bearer nope")], 401),
            (&[password, from], 401),
            (&[password, from, ("x-user", "alice"), ("origin", "https://evil.example")], 401),
            (&[password, ("x-forwarded-for", "")], 403),
            // No proxy passed that on.
            (&[password, ("x-user", "alice")], 403),
        ] {
            assert_eq!(ask(&auth, LOOPBACK, headers).await, Err(status), "{headers:?}");
        }
        let without = TrustedProxy { local_password: None, ..proxy() };
        let auth = GatewayAuth::new(&settings(Auth::TrustedProxy(without))).unwrap();
        assert_eq!(ask(&auth, LOOPBACK, &[password]).await, Err(401));
    }

    #[tokio::test]
    async fn the_pages_that_are_named_may_call() {
        let page = |allowed: &[&str], fallback, origin: &'static str, host: &'static str| {
            let mut settings = settings(Auth::TrustedProxy(proxy()));
            settings.control_ui.allowed_origins = allowed.iter().map(|&text| text.to_owned()).collect();
            settings.control_ui.host_header_fallback = fallback;
            let auth = GatewayAuth::new(&settings).unwrap();
            let headers = [("x-forwarded-for", STRANGER), ("x-user", "a"), ("origin", origin), ("host", host)];
            async move { ask(&auth, LOOPBACK, &headers).await.is_ok() }
        };
        assert!(page(&[" HTTPS://Upper.example.com "], false, "https://upper.example.com", "h").await);
        assert!(page(&["not an origin", "*"], false, "https://anywhere.example", "h").await);
        assert!(!page(&["not an origin"], false, "https://anywhere.example", "h").await);
        assert!(page(&[], false, "http://box.local:1", "box.local:1").await);
        assert!(!page(&[], false, "https://gw.example.org", "gw.example.org").await);
        assert!(page(&[], true, "https://gw.example.org", "gw.example.org").await);
    }

    #[tokio::test]
    async fn an_entry_that_is_no_network_trusts_nobody() {
        let mut settings = settings(Auth::TrustedProxy(proxy()));
        settings.trusted_proxies = vec!["localhost".to_owned(), LOOPBACK.to_owned()];
        let auth = GatewayAuth::new(&settings).unwrap();
        let headers = [("x-user", "a"), ("x-forwarded-for", STRANGER)];
        assert!(ask(&auth, LOOPBACK, &headers).await.is_ok());
        assert_eq!(ask(&auth, "10.0.0.1", &headers).await, Err(403));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rotated_secret_ends_the_streams_of_the_old_one_at_once() {
        let auth = GatewayAuth::new(&with_clients(&["ci"])).unwrap();
        let mut shared = Stream::open(&auth, STRANGER, &[("authorization", "Bearer s3cret")]).await;
        let mut ci = Stream::open(&auth, STRANGER, &[("authorization", &bearer("token-of-ci"))]).await;

        let rotated = Settings { auth: Auth::Token(Secret::new("another").ok()), ..with_clients(&["ci"]) };
        assert!(shared.ends_at_once(|| auth.apply(&rotated).unwrap()).await);
        assert!(!ci.ends_at_once(|| ()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_taken_away_ends_its_streams_and_no_others() {
        let auth = GatewayAuth::new(&with_clients(&["ci", "me"])).unwrap();
        let mut ci = Stream::open(&auth, STRANGER, &[("authorization", &bearer("token-of-ci"))]).await;
        let mut me = Stream::open(&auth, STRANGER, &[("authorization", &bearer("token-of-me"))]).await;
        assert!(!me.ends_at_once(|| auth.apply(&with_clients(&["me"])).unwrap()).await);
        assert!(ci.ends_at_once(|| ()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_taken_away_wakes_no_other_stream() {
        let auth = GatewayAuth::new(&with_clients(&["ci", "me"])).unwrap();
        let mut me = Stream::open(&auth, STRANGER, &[("authorization", &bearer("token-of-me"))]).await;
        let mut me = tokio_test::task::spawn(me.body.frame());
        assert!(me.poll().is_pending());
        auth.apply(&with_clients(&["me"])).unwrap();
        // Nor do settings that say the same of everyone.
        auth.apply(&Settings { advice: vec!["another".to_owned()], ..with_clients(&["me"]) }).unwrap();
        assert!(!me.is_woken());
        auth.apply(&with_clients(&[])).unwrap();
        assert!(me.is_woken());
        assert!(me.poll().is_ready());
    }

    #[tokio::test(start_paused = true)]
    async fn another_mode_ends_the_streams_that_were_let_in_by_the_old_one() {
        let open = GatewayAuth::new(&settings(Auth::None)).unwrap();
        let right = [("authorization", "Bearer pw"), ("x-user", "alice")];
        let mut anonymous = Stream::open(&open, LOOPBACK, &right).await;
        assert!(anonymous.ends_at_once(|| open.apply(&token("pw")).unwrap()).await);

        let mut shared = Stream::open(&open, LOOPBACK, &right).await;
        assert!(shared.ends_at_once(|| open.apply(&settings(Auth::None)).unwrap()).await);

        let proxied = GatewayAuth::new(&settings(Auth::TrustedProxy(proxy()))).unwrap();
        let mut alice = Stream::open(&proxied, LOOPBACK, &right).await;
        assert!(alice.ends_at_once(|| proxied.apply(&token("pw")).unwrap()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_secret_goes_on_being_good_where_the_new_mode_asks_for_the_same() {
        let auth = GatewayAuth::new(&token("pw")).unwrap();
        let right = [("authorization", "Bearer pw")];
        let mut local = Stream::open(&auth, LOOPBACK, &right).await;
        let mut remote = Stream::open(&auth, STRANGER, &right).await;
        let password = settings(Auth::Password(Secret::new("pw").unwrap()));
        assert!(!local.ends_at_once(|| auth.apply(&password).unwrap()).await);
        // Behind a proxy the password is for local, direct callers.
        let behind = settings(Auth::TrustedProxy(proxy()));
        assert!(!local.ends_at_once(|| auth.apply(&behind).unwrap()).await);
        assert!(remote.ends_at_once(|| ()).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxied_stream_lives_as_long_as_its_user_its_peer_and_the_header_rules() {
        let of = |rules: TrustedProxy| settings(Auth::TrustedProxy(rules));
        let users = |users: &[&str]| users.iter().map(|&user| user.to_owned()).collect::<Vec<_>>();
        let pages = Settings {
            control_ui: ControlUi { allowed_origins: vec!["*".to_owned()], host_header_fallback: false },
            ..of(proxy())
        };
        let source = vec![HeaderName::from_static("x-auth-src")];
        for (now, ends) in [
            (of(proxy()), false),
            (of(TrustedProxy { allow_users: users(&["alice", "bob"]), ..proxy() }), false),
            (of(TrustedProxy { local_password: None, ..proxy() }), false),
            (Settings { trusted_proxies: vec!["127.0.0.0/8".to_owned()], ..of(proxy()) }, false),
            (of(TrustedProxy { allow_users: users(&["bob"]), ..proxy() }), true),
            (of(TrustedProxy { allow_loopback: false, ..proxy() }), true),
            (Settings { trusted_proxies: vec!["10.0.0.0/8".to_owned()], ..of(proxy()) }, true),
            (of(TrustedProxy { required_headers: source, ..proxy() }), true),
            (of(TrustedProxy { user_header: HeaderName::from_static("x-name"), ..proxy() }), true),
            (pages, true),
        ] {
            let auth = GatewayAuth::new(&of(proxy())).unwrap();
            let mut alice = Stream::open(&auth, LOOPBACK, &[("x-user", "alice")]).await;
            assert_eq!(alice.ends_at_once(|| auth.apply(&now).unwrap()).await, ends, "{now:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_sees_the_lock_of_its_client_by_its_heartbeat() {
        let auth = GatewayAuth::new(&token("s3cret")).unwrap();
        let mut stream = Stream::open(&auth, STRANGER, &[("authorization", "Bearer s3cret")]).await;
        for _ in 0..10 {
            assert_eq!(ask(&auth, STRANGER, &[("authorization", "Bearer nope")]).await, Err(401));
        }
        assert!(stream.body.frame().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn settings_that_make_no_rules_change_nothing() {
        let auth = GatewayAuth::new(&token("s3cret")).unwrap();
        assert!(auth.apply(&with_clients(&["twin", "twin"])).is_err());
        assert!(ask(&auth, STRANGER, &[("authorization", "Bearer s3cret")]).await.is_ok());
        assert_eq!(ask(&auth, STRANGER, &[("authorization", &bearer("token-of-twin"))]).await, Err(401));
    }

    #[tokio::test(start_paused = true)]
    async fn published_settings_are_applied() {
        let auth = GatewayAuth::new(&token("old")).unwrap();
        let mut stream = Stream::open(&auth, STRANGER, &[("authorization", "Bearer old")]).await;
        assert!(stream.ends_at_once(|| auth.apply_published(&token("new"))).await);
        assert!(ask(&auth, STRANGER, &[("authorization", "Bearer new")]).await.is_ok());
    }
}
