//! The routes of an edge that are about sessions.

use std::{error::Error, sync::Arc};

use ::http::{HeaderValue, Method, StatusCode, header::CACHE_CONTROL};
use axum::{
    Extension,
    body::Body,
    extract::{self, Request},
    response::Response,
};
use tower_reauth::Access;

use super::{
    feed::Feeds,
    origin::{self, Answered, Away, Origin, Saying},
    pages::Pages,
    tail::Tail,
};
use crate::{
    config::{RedisUrl, UpstreamUrl},
    http::{
        State,
        accept::wants_events,
        handlers::{self, Opened, Opening},
        reply,
    },
    nodes,
    serve::PageBytes,
    sessions::{history::Query, store::RequestedKey},
};

/// This gateway, as an edge.
pub struct Edge {
    gateway: Arc<State>,
    origin: Arc<Origin>,
    feeds: Feeds,
    pages: Pages,
}

impl Edge {
    /// With what has to run beside the requests.
    pub fn new(
        url: &UpstreamUrl,
        redis: &RedisUrl,
        gateway: Arc<State>,
    ) -> Result<(Self, impl Future<Output = ()> + Send + 'static + use<>), Box<dyn Error>> {
        let origin = Arc::new(Origin::new(url.clone(), Arc::clone(&gateway))?);
        let (reach, tail) = (nodes::reach(redis)?, Arc::new(Tail::default()));
        let feeds = Feeds::new(Arc::clone(&origin), Arc::clone(&tail));
        Ok((Self { gateway, origin, feeds, pages: Pages::default() }, async move { match tail.run(reach).await {} }))
    }
}

type Handle = extract::State<Arc<Edge>>;

/// `GET /sessions/{key}/history`: a page of the origin's, or a stream that goes on from it.
pub fn history(
    extract::State(edge): Handle,
    Extension(key): Extension<RequestedKey>,
    request: Request,
) -> impl Future<Output = Response> + Send {
    let asked = request.uri().query().unwrap_or_default();
    let query = Query::parse(asked).ok().filter(|_| wants_events(request.headers()));
    let target = with_query(&origin::path(&key, "history"), asked);
    let opening = query.map(|query| (query, Box::new(Opening::of(&request))));
    let asker = Asker::of(&request);
    async move {
        let mut response = match opening {
            Some(_) if asker.is_an_edge => loops(),
            Some((query, opening)) => stream(&edge, (key, query), *opening, asker.room).await,
            None => edge.page(&target, asker).await,
        };
        let headers = response.headers_mut();
        reply::vary_by_accept(headers);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

/// `GET /sessions`
pub async fn sessions(extract::State(edge): Handle, request: Request) -> Response {
    let target = with_query("/sessions", request.uri().query().unwrap_or_default());
    let mut response = edge.pass(Method::GET, &target, Asker::of(&request)).await;
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// `POST /sessions/{key}/kill`: the streams of a session end, here, at the origin and at all its edges.
pub async fn kill(extract::State(edge): Handle, Extension(key): Extension<RequestedKey>, request: Request) -> Response {
    edge.pass(Method::POST, &origin::path(&key, "kill"), Asker::of(&request)).await
}

/// What of a query a page goes by.
fn with_query(path: &str, query: &str) -> String {
    let pairs = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| matches!(&**name, "limit" | "cursor"));
    let mut asked = form_urlencoded::Serializer::new(String::new());
    asked.extend_pairs(pairs);
    format!("{path}?{}", asked.finish())
}

/// Who asks.
struct Asker {
    is_an_edge: bool,
    access: Option<Access>,
    /// That of the connection.
    room: Option<PageBytes>,
}

impl Asker {
    fn of(request: &Request) -> Self {
        let extensions = request.extensions();
        let is_an_edge = origin::is_from_an_edge(request.headers());
        Self { is_an_edge, access: extensions.get().cloned(), room: extensions.get().cloned() }
    }
}

impl Edge {
    /// What the origin answers.
    async fn pass(&self, method: Method, target: &str, asker: Asker) -> Response {
        if asker.is_an_edge {
            return loops();
        }
        answer(self.origin.ask(method, target, None).await, asker).await
    }

    /// The same of a page that may be here.
    async fn page(&self, target: &str, asker: Asker) -> Response {
        if asker.is_an_edge {
            return loops();
        }
        let known = self.pages.get(target);
        let saying = known.as_ref().map(|page| Saying::Known(&page.tag));
        let answered =
            self.origin.ask(Method::GET, target, saying).await.map(|answered| match (answered.status, known) {
                (StatusCode::NOT_MODIFIED, Some(page)) => {
                    Answered { status: StatusCode::OK, content_type: Some(reply::JSON), body: page.body }
                }
                (StatusCode::OK, _) => {
                    self.pages.keep(target, &answered.body);
                    answered
                }
                _ => answered,
            });
        answer(answered, asker).await
    }
}

/// What was answered, for one who may have it still.
async fn answer(answered: Result<Answered, Away>, asker: Asker) -> Response {
    let mut answered = match answered {
        Ok(answered) => answered,
        Err(away) => return away.response(),
    };
    // It may have taken a while.
    if let Some(access) = &asker.access
        && let Err(refusal) = handlers::confirm(access).await
    {
        return *refusal;
    }
    if let Some(room) = asker.room {
        match room.hold(answered.body) {
            Some(body) => answered.body = body,
            None => return reply::busy(),
        }
    }
    answered.passed_on()
}

fn loops() -> Response {
    reply::error(StatusCode::LOOP_DETECTED, "loop", "An edge has no sessions for another one.")
}

async fn stream(edge: &Edge, key: (RequestedKey, Query), opening: Opening, room: Option<PageBytes>) -> Response {
    let identity = opening.access.as_ref().map(Access::identity);
    let seat = match edge.gateway.seats.take(identity.as_ref(), opening.address) {
        Ok(seat) => seat,
        Err(full) => return full.answer(),
    };
    let Opening { options, access, scope_updates, asks_for_reasons, client, version, .. } = opening;
    let (events, session) = match edge.feeds.open(key, options, room).await {
        Ok(opened) => opened,
        Err(refusal) => return refusal,
    };
    let events = seat.held_by(Body::new(events.with_scope_updates(scope_updates)));
    let opened = Opened { label: session, asks_for_reasons, client, version };
    handlers::event_stream(&edge.gateway, events, opened, access.as_ref())
}
