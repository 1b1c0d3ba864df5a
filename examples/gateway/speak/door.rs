//! From what a `connect` says to who may come in: by the layers that requests pass.
//!
//! What it shows is put into the head of a request, and its scopes into another header of that, so that a socket's client
//! is asked, counted and noted as any other. A shared secret is granted what its client declares, where that is a
//! program of this machine that acts for its operator; elsewhere it is granted nothing, for then OpenClaw goes by the
//! device, and no device is known here.

use std::{convert::Infallible, time::Duration};

use ::http::{
    HeaderValue, Request, StatusCode,
    header::{AUTHORIZATION, CONNECTION, HeaderName, UPGRADE},
    request::Parts,
};
use axum::{body::Body, response::Response};
use serde_json::Value;
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_reauth::{
    Access, AuthMethod, Denied, Identity, ScopeSet, Strict,
    bearer::Head,
    proxy::PeerAddr,
    scope::{Declared, ResolveScopes},
};

use super::{
    connect::{self, Connect},
    frame::Refusal,
};
use crate::{
    auth::{GatewayAuth, Page},
    http::operate::{self, Audit, LATER, Seat, Seats},
    serve::Guest,
};

/// What lets a request in, and answers with its [`Access`] in the extensions.
type Door = BoxCloneSyncService<Request<Body>, Response, Infallible>;

/// The doors to all sockets.
#[derive(Clone)]
pub struct Doors {
    pub auth: GatewayAuth,
    pub audit: Audit,
    pub seats: Seats,
    pub scopes_header: HeaderName,
    /// For those whose shared secret is granted what they declare.
    declaring: Door,
    strict: Door,
}

/// Who came in.
pub struct Entered {
    pub access: Access,
    pub seat: Seat,
    /// How, in the words of the protocol.
    pub method: &'static str,
}

/// A shared secret has what it declares, and everybody else what is theirs by [`Strict`].
pub struct Declaring(pub Strict);

impl ResolveScopes for Declaring {
    fn resolve(&self, identity: &Identity, declared: Declared<'_>) -> ScopeSet {
        match (identity.method(), identity.scopes()) {
            (AuthMethod::SharedSecret, None) => declared.or(&ScopeSet::empty()),
            _ => self.0.resolve(identity, declared),
        }
    }

    fn keep_declared(&self, identity: &Identity, declared: Declared<'_>) -> Option<ScopeSet> {
        match (identity.method(), identity.scopes()) {
            (AuthMethod::SharedSecret, None) => declared.scopes().cloned(),
            _ => self.0.keep_declared(identity, declared),
        }
    }
}

impl Doors {
    /// Both doors are layers around what lets in.
    pub fn new<D, S>(
        auth: GatewayAuth,
        audit: Audit,
        seats: Seats,
        scopes_header: HeaderName,
        declaring: D,
        strict: S,
    ) -> Self
    where
        D: Layer<
                LetIn,
                Service: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
                             + Clone
                             + Send
                             + Sync
                             + 'static,
            >,
        S: Layer<
                LetIn,
                Service: Service<Request<Body>, Response = Response, Error = Infallible, Future: Send>
                             + Clone
                             + Send
                             + Sync
                             + 'static,
            >,
    {
        let declaring = BoxCloneSyncService::new(declaring.layer(LetIn));
        let strict = BoxCloneSyncService::new(strict.layer(LetIn));
        Self { auth, audit, seats, scopes_header, declaring, strict }
    }

    /// Asks the client who it is. `head` is that of its handshake.
    pub async fn enter(&self, head: &Parts, said: &Connect) -> Result<Entered, Refusal> {
        let stranger = self.auth.stranger(Head::from(head));
        let wrong = match stranger.page {
            Page::None if said.is_a_page() => Some("origin missing or invalid"),
            Page::Unreadable => Some("origin missing or invalid"),
            Page::MayNotCall => Some("origin not allowed"),
            Page::None | Page::MayCall => None,
        };
        if let Some(reason) = wrong {
            self.note(head, StatusCode::FORBIDDEN, "origin", None);
            return Err(connect::wrong_origin(reason));
        }
        let declares = stranger.is_a_local_program && said.is_a_tool();
        let door = if declares { &self.declaring } else { &self.strict };
        let secret = said.secret(stranger.owes_a_password);
        let request = self.request(head, said, secret);
        let request = request.inspect_err(|_| self.note(head, StatusCode::UNAUTHORIZED, "rejected", None))?;
        // Boxed, as it is seldom.
        let answer = Box::pin(door.clone().oneshot(request)).await;
        let Ok(response) = answer;
        if let Some(access) = response.extensions().get::<Access>().cloned() {
            return match said.lacks_a_device() {
                Some(refusal) => {
                    let caller = operate::caller(&access.identity());
                    self.note(head, StatusCode::FORBIDDEN, "no_device", Some(caller));
                    Err(refusal)
                }
                None => {
                    let method = method(&access.identity(), stranger.owes_a_password);
                    let seat = self.seat(head, &access)?;
                    Ok(Entered { access, seat, method })
                }
            };
        }
        let denied = response.extensions().get::<Denied>();
        Err(match denied {
            Some(Denied::Missing) if secret.is_some() => connect::blank_secret(stranger.owes_a_password),
            Some(Denied::Missing) => connect::no_device(),
            Some(Denied::LockedOut { retry_after, .. }) => connect::locked_out(milliseconds(*retry_after)),
            Some(Denied::Unavailable { .. }) => Refusal::unavailable("Credentials cannot be verified now."),
            Some(Denied::Rejected | Denied::Expired | Denied::Revoked) if secret.is_some() => {
                connect::wrong_secret(stranger.owes_a_password)
            }
            _ => connect::unauthorized(),
        })
    }

    /// A seat among the streams that may be open.
    fn seat(&self, head: &Parts, access: &Access) -> Result<Seat, Refusal> {
        let identity = access.identity();
        self.seats.take(Some(&identity), self.auth.client(Head::from(head))).map_err(|full| {
            self.note(head, StatusCode::SERVICE_UNAVAILABLE, full.as_str(), Some(operate::caller(&identity)));
            let later = u64::from(LATER) * 1000;
            Refusal { retry: Some(Some(later)), ..Refusal::unavailable("As many streams are open as may be.") }
        })
    }

    /// Notes a refusal that no layer knows of.
    fn note(&self, head: &Parts, status: StatusCode, reason: &'static str, caller: Option<Value>) {
        let asked = format!("{} {}", head.method, head.uri.path());
        let client = head.extensions.get::<PeerAddr>().map(|peer| peer.ip());
        self.audit.refused(status, reason, asked, client, caller);
    }

    /// The request that says what `connect` does.
    fn request(&self, head: &Parts, said: &Connect, secret: Option<&str>) -> Result<Request<Body>, Refusal> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = head.method.clone();
        *request.uri_mut() = head.uri.clone();
        *request.version_mut() = head.version;
        if let Some(peer) = head.extensions.get::<PeerAddr>() {
            request.extensions_mut().insert(*peer);
        }
        if let Some(guest) = head.extensions.get::<Guest>() {
            request.extensions_mut().insert(guest.clone());
        }
        let headers = request.headers_mut();
        headers.clone_from(&head.headers);
        for name in [&AUTHORIZATION, &CONNECTION, &UPGRADE, &self.scopes_header] {
            headers.remove(name);
        }
        if let Some(secret) = secret {
            headers.insert(AUTHORIZATION, bearer(secret)?);
        }
        // What is no scope could never be required.
        let scopes = said.scopes.iter().filter(|scope| scope.parse::<tower_reauth::Scope>().is_ok());
        let scopes = scopes.map(String::as_str).collect::<Vec<_>>().join(",");
        let scopes = HeaderValue::try_from(scopes).map_err(|_| Refusal::invalid("invalid connect params"))?;
        headers.insert(self.scopes_header.clone(), scopes);
        Ok(request)
    }
}

/// The header that carries this secret. A secret is Latin-1 text without control characters, so that what is not is
/// none, and no guess either.
fn bearer(secret: &str) -> Result<HeaderValue, Refusal> {
    let latin_1: Option<Vec<u8>> = secret.chars().map(|char| u8::try_from(u32::from(char)).ok()).collect();
    let value = latin_1.and_then(|bytes| HeaderValue::from_bytes(&[b"Bearer ", &*bytes].concat()).ok());
    let mut value = value.ok_or_else(connect::unauthorized)?;
    value.set_sensitive(true);
    Ok(value)
}

fn method(identity: &Identity, is_password: bool) -> &'static str {
    match identity.method() {
        AuthMethod::SharedSecret if is_password => "password",
        AuthMethod::TrustedProxy => "trusted-proxy",
        AuthMethod::Anonymous => "none",
        _ => "token",
    }
}

fn milliseconds(time: Duration) -> Option<u64> {
    u64::try_from(time.as_millis()).ok()
}

/// Answers a request that came in with its [`Access`].
#[derive(Clone, Copy, Debug)]
pub struct LetIn;

impl Service<Request<Body>> for LetIn {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let mut response = Response::new(Body::empty());
        if let Some(access) = request.extensions().get::<Access>() {
            response.extensions_mut().insert(access.clone());
        }
        std::future::ready(Ok(response))
    }
}
