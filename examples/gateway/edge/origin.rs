//! What an edge asks of its origin: by its own credential, which no client gets to see, and within bounds.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ::http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, IF_NONE_MATCH, VIA},
    uri::PathAndQuery,
};
use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use crate::{
    config::{Secret, UpstreamUrl},
    http::{State, reply},
    serve::PageBytes,
    sessions::{history::Query, store::RequestedKey},
    upstream::client::{self, Client},
};

/// How long an answer may take to begin, and each part of it.
const PATIENCE: Duration = Duration::from_secs(12);
/// How long a page, and a refusal, may be, in bytes.
const MOST: usize = 64 * 1024 * 1024;
const MOST_OF_REFUSAL: usize = 64 * 1024;
/// In units of 1 KiB: what was read of the origin and is not yet sent.
const ROOM: u32 = 256 * 1024;

/// The name that edges go by on the way.
const EDGE: &[u8] = b"tower-reauth-edge";
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// The gateway that has the sessions.
pub struct Origin {
    url: UpstreamUrl,
    client: Client,
    gateway: Arc<State>,
    room: PageBytes,
    /// Whether the log says that it does not answer.
    is_away: AtomicBool,
}

/// What is said to it of what this edge has.
#[derive(Clone, Copy)]
pub enum Saying<'a> {
    /// Events up to this one.
    After(&'a str),
    /// A page with this tag.
    Known(&'a HeaderValue),
}

/// What it answered.
pub struct Answered {
    pub status: StatusCode,
    pub content_type: Option<HeaderValue>,
    pub body: Bytes,
}

/// Why it cannot be said what it would answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Away {
    Unreachable,
    /// It does not take the credential of this edge, or not for what it asked.
    Locked,
    /// It says itself that it cannot answer.
    Unavailable,
    /// It answered with something that no origin says.
    Foreign,
    /// There is no room for it here.
    Busy,
}

impl Away {
    pub fn response(self) -> Response {
        match self {
            Self::Busy => reply::busy(),
            _ => reply::unavailable("The gateway that has the sessions cannot be asked at the moment."),
        }
    }

    pub fn words(self) -> &'static str {
        match self {
            Self::Unreachable => "it cannot be reached",
            Self::Locked => "it does not take the token of --edge-token-file for an admin's",
            Self::Unavailable => "it cannot answer",
            Self::Foreign => "it is no gateway that edges can ask, which has sessions, --redis and the feature edge",
            Self::Busy => "there is no room for its answer",
        }
    }
}

/// The same of one request, and what it was caused by, where somebody else says that.
struct Unanswered {
    away: Away,
    cause: Option<String>,
}

impl From<Away> for Unanswered {
    fn from(away: Away) -> Self {
        Self { away, cause: None }
    }
}

/// Whether a request comes from an edge (RFC 9110 section 7.6.3).
pub fn is_from_an_edge(headers: &HeaderMap) -> bool {
    headers.get_all(VIA).iter().any(|via| memchr::memmem::find(via.as_bytes(), EDGE).is_some())
}

/// The path of something of a session.
pub fn path(key: &RequestedKey, of: &str) -> String {
    // A segment of dots is no name in a URL, and space around a key does not count.
    let space = if matches!(key.as_str(), "." | "..") { "%20" } else { "" };
    format!("/sessions/{space}{}/{of}", utf8_percent_encode(key.as_str(), NON_ALPHANUMERIC))
}

/// The same with the query of a feed.
pub fn path_of_feed(key: &RequestedKey, of: &str, query: Query) -> String {
    let mut asked = form_urlencoded::Serializer::new(String::new());
    query.limit.iter().for_each(|limit| _ = asked.append_pair("limit", &limit.to_string()));
    query.cursor.iter().for_each(|cursor| _ = asked.append_pair("cursor", &cursor.to_string()));
    format!("{}?{}", path(key, of), asked.finish())
}

impl Origin {
    pub fn new(url: UpstreamUrl, gateway: Arc<State>) -> Result<Self, Box<dyn Error>> {
        let client = client::new(url.is_https()).map_err(|error| format!("--edge: {error}"))?;
        Ok(Self { url, client, gateway, room: PageBytes::new(ROOM), is_away: AtomicBool::new(false) })
    }

    /// Asks, and reads the whole answer. What it refuses to the edge itself is no answer.
    pub async fn ask(&self, method: Method, target: &str, saying: Option<Saying<'_>>) -> Result<Answered, Away> {
        let accept = HeaderValue::from_static("application/json");
        let response = self.begin(method, target, accept, saying).await?;
        let (head, body) = response.into_parts();
        let most = if head.status.is_success() { MOST } else { MOST_OF_REFUSAL };
        let body = self.read(body, most).await?;
        Ok(Answered { status: head.status, content_type: head.headers.get(CONTENT_TYPE).cloned(), body })
    }

    /// Asks for events that go on, and leaves them to be read.
    pub async fn follow(&self, target: &str) -> Result<Response<Incoming>, Away> {
        self.begin(Method::GET, target, HeaderValue::from_static("text/event-stream"), None).await
    }

    async fn begin(
        &self,
        method: Method,
        target: &str,
        accept: HeaderValue,
        saying: Option<Saying<'_>>,
    ) -> Result<Response<Incoming>, Away> {
        let begun = self.send(method, target, accept, saying).await;
        match &begun {
            Ok(_) if self.is_away.swap(false, Ordering::Relaxed) => tracing::info!("the origin answers again"),
            Err(Unanswered { away: away @ (Away::Unreachable | Away::Locked | Away::Foreign), cause })
                if !self.is_away.swap(true, Ordering::Relaxed) =>
            {
                tracing::warn!(why = away.words(), cause, "the origin does not answer");
            }
            _ => {}
        }
        begun.map_err(|unanswered| unanswered.away)
    }

    async fn send(
        &self,
        method: Method,
        target: &str,
        accept: HeaderValue,
        saying: Option<Saying<'_>>,
    ) -> Result<Response<Incoming>, Unanswered> {
        let target = PathAndQuery::try_from(target).map_err(|_| Away::Foreign)?;
        let mut request = Request::new(Body::empty());
        *request.method_mut() = method;
        *request.uri_mut() = self.url.at(&target).ok_or(Away::Foreign)?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, accept);
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        headers.insert(VIA, HeaderValue::from_static("1.1 tower-reauth-edge"));
        let knows = matches!(saying, Some(Saying::Known(_)));
        match saying {
            Some(Saying::After(id)) => {
                _ = headers.insert(LAST_EVENT_ID, HeaderValue::from_str(id).map_err(|_| Away::Foreign)?);
            }
            Some(Saying::Known(tag)) => _ = headers.insert(IF_NONE_MATCH, tag.clone()),
            None => {}
        }
        let token = self.gateway.settings().edge_token.as_ref().and_then(Secret::to_bearer);
        headers.insert(AUTHORIZATION, token.ok_or(Away::Locked)?);
        let unreachable = |cause| Unanswered { away: Away::Unreachable, cause: Some(cause) };
        let response = timeout(PATIENCE, self.client.request(request)).await;
        let response = response
            .map_err(|_| unreachable(format!("nothing came within {} s", PATIENCE.as_secs())))?
            .map_err(|error| unreachable(client::causes(&error)))?;
        let away = match response.status().as_u16() {
            _ if response.headers().contains_key(CONTENT_ENCODING) => Away::Foreign,
            // What is too long is so for its client.
            200 | 400 | 404 | 414 | 431 => return Ok(response),
            304 if knows => return Ok(response),
            401 | 403 | 407 | 429 => Away::Locked,
            508 => Away::Foreign,
            500..=599 => Away::Unavailable,
            _ => Away::Foreign,
        };
        Err(away.into())
    }

    /// Reads a body to its end, into the room that there is.
    async fn read(&self, mut body: Incoming, most: usize) -> Result<Bytes, Away> {
        let (mut bytes, mut held) = (BytesMut::new(), None::<OwnedSemaphorePermit>);
        loop {
            let frame = match timeout(PATIENCE, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(None) => return Ok(PageBytes::held(bytes.freeze(), held)),
                Ok(Some(Err(_))) | Err(_) => return Err(Away::Unreachable),
            };
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > most {
                return Err(Away::Foreign);
            }
            let more = self.room.take(data.len()).ok_or(Away::Busy)?;
            match &mut held {
                None => held = Some(more),
                Some(held) => held.merge(more),
            }
            bytes.extend_from_slice(&data);
        }
    }
}

impl Answered {
    /// An answer that has an end, as it is passed on.
    pub fn passed_on(self) -> Response {
        let content_type = self.content_type.unwrap_or(reply::JSON);
        reply::with_type(self.status, content_type, self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment_whatever_is_in_it() {
        for (key, expected) in [
            ("agent:main:one", "/sessions/agent%3Amain%3Aone/join?limit=5"),
            ("a b?c#d%2F", "/sessions/a%20b%3Fc%23d%252F/join?limit=5"),
            ("..", "/sessions/%20%2E%2E/join?limit=5"),
        ] {
            let query = Query::parse("limit=5").unwrap();
            assert_eq!(path_of_feed(&RequestedKey::parse(key).unwrap(), "join", query), expected);
        }
    }
}
