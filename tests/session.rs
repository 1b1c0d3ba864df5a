//! The layer that binds sessions to callers, through the public API.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{HeaderName, Method, Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tower_reauth::{
    Access, AuthMethod, BearerAuthLayer, Denied, Identity, Tokens,
    respond::{EmptyBody, OAuthJson, ProblemJson, Respond},
    session::SessionBindingLayer,
    verify::{Token, VerifyError, verify_fn},
};

const SESSION: &str = "mcp-session-id";

/// A request of this subject, which names these sessions.
fn request(subject: &str, sessions: &[&str]) -> Request<()> {
    let identity = Identity::new(subject, AuthMethod::Token).with_issuer("https://issuer.example");
    let request = Request::builder().extension(Access::new(identity));
    sessions.iter().fold(request, |request, id| request.header(SESSION, *id)).body(()).unwrap()
}

/// What a server answers to a request: a status, and the ids that it names.
type Answer = (u16, &'static [&'static str]);

struct Server {
    layer: SessionBindingLayer,
    answer: Arc<Mutex<Answer>>,
}

impl Server {
    fn new(layer: SessionBindingLayer) -> Self {
        Self { layer, answer: Arc::new(Mutex::new((200, &[]))) }
    }

    async fn ask(&self, request: Request<()>) -> Response<()> {
        let answer = Arc::clone(&self.answer);
        let inner = service_fn(move |_: Request<()>| {
            let (status, ids) = *answer.lock().unwrap();
            let response = Response::builder().status(status);
            let response = ids.iter().fold(response, |response, id| response.header(SESSION, *id));
            std::future::ready(Ok::<_, Infallible>(response.body(()).unwrap()))
        });
        self.layer.layer(inner).oneshot(request).await.unwrap()
    }

    async fn status(&self, subject: &str, sessions: &[&str]) -> u16 {
        self.ask(request(subject, sessions)).await.status().as_u16()
    }

    /// From now on it answers this.
    fn answers(&self, answer: Answer) -> &Self {
        *self.answer.lock().unwrap() = answer;
        self
    }

    /// `subject` begins a session.
    async fn begin(&self, subject: &str, id: &'static str) {
        let ids: &'static [&'static str] = Box::leak(Box::new([id]));
        assert_eq!(self.answers((200, ids)).status(subject, &[]).await, 200);
        self.answers((200, &[]));
    }
}

#[tokio::test]
async fn a_session_is_good_for_the_caller_who_began_it_and_for_nobody_else() {
    let server = Server::new(SessionBindingLayer::new());
    server.begin("alice", "7f3a").await;
    assert_eq!(server.status("alice", &["7f3a"]).await, 200);
    for (subject, id) in [("bob", "7f3a"), ("alice", "7f3b")] {
        let response = server.ask(request(subject, &[id])).await;
        assert_eq!(response.status(), 404);
        assert_eq!(response.extensions().get(), Some(&Denied::UnknownSession));
        assert!(!response.headers().contains_key("www-authenticate"));
    }
    // Another issuer's alice is somebody else, and so is one without an issuer.
    for stranger in
        [Identity::new("alice", AuthMethod::Token).with_issuer("other"), Identity::new("alice", AuthMethod::Token)]
    {
        let mut request = request("alice", &["7f3a"]);
        request.extensions_mut().insert(Access::new(stranger));
        assert_eq!(server.ask(request).await.status(), 404);
    }
    assert_eq!(server.status("alice", &["7f3a"]).await, 200);
}

#[tokio::test]
async fn no_answer_says_which_sessions_there_are() {
    fn answer<R>(respond: R, grpc: bool, id: &'static str) -> impl Future<Output = String>
    where
        R: Respond<String> + Clone,
    {
        let layer = SessionBindingLayer::new();
        async move {
            let begun = service_fn(async |_: Request<()>| {
                Ok::<_, Infallible>(Response::builder().header(SESSION, "7f3a").body(String::new()).unwrap())
            });
            layer.layer(begun).oneshot(request("alice", &[])).await.unwrap();
            let mut asked = request("bob", &[id]);
            if grpc {
                asked.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
            }
            let response = layer.with_response(respond).layer(begun).oneshot(asked).await.unwrap();
            // A layer further out may make its answer of what is in the extensions.
            let denied = response.extensions().get::<Denied>().cloned();
            format!("{:?} {:?} {denied:?} {}", response.status(), response.headers(), response.body())
        }
    }
    async fn both<R: Respond<String> + Clone>(respond: R, grpc: bool) {
        let (known, unknown) = (answer(respond.clone(), grpc, "7f3a").await, answer(respond, grpc, "7f3b").await);
        assert_eq!(known, unknown);
    }
    for grpc in [false, true] {
        both(EmptyBody::default(), grpc).await;
        both(ProblemJson, grpc).await;
        both(OAuthJson, grpc).await;
        both(|denied: &Denied| Response::new(format!("{denied:?} {}", denied.as_str())), grpc).await;
    }
}

#[tokio::test]
async fn a_fresh_token_of_the_same_caller_goes_on_with_the_session() {
    let tokens = Tokens::new([
        Token::new("old", "t0ken-1").with_subject("alice"),
        Token::new("new", "t0ken-2").with_subject("alice"),
        Token::new("other", "t0ken-3").with_subject("bob"),
    ]);
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(tokens.unwrap()))
        .layer(SessionBindingLayer::new())
        .service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::builder().header(SESSION, "7f3a").body(()).unwrap())
        });
    for (token, sessions, expected) in
        [("t0ken-1", 0, 200), ("t0ken-2", 1, 200), ("t0ken-3", 1, 404), ("t0ken-1", 1, 200), ("t0ken-2", 2, 400)]
    {
        let mut request = Request::builder().header("authorization", format!("Bearer {token}"));
        for _ in 0..sessions {
            request = request.header(SESSION, "7f3a");
        }
        let response = service.clone().oneshot(request.body(()).unwrap()).await.unwrap();
        assert_eq!(response.status(), expected, "{token} {sessions}");
    }
}

#[tokio::test]
async fn an_id_that_is_somebodys_stays_theirs_though_the_server_gives_it_again() {
    let server = Server::new(SessionBindingLayer::new());
    server.begin("alice", "7f3a").await;
    server.begin("bob", "7f3a").await;
    assert_eq!(server.status("alice", &["7f3a"]).await, 200);
    assert_eq!(server.status("bob", &["7f3a"]).await, 404);
}

#[tokio::test]
async fn a_failure_begins_no_session() {
    let server = Server::new(SessionBindingLayer::new());
    for status in [400, 401, 404, 500] {
        assert_eq!(server.answers((status, &["7f3a"])).status("alice", &[]).await, status);
        assert_eq!(server.status("alice", &["7f3a"]).await, 404, "{status}");
    }
    assert_eq!(server.layer.len(), 0);
}

#[tokio::test]
async fn a_session_that_is_deleted_or_that_the_server_does_not_know_is_forgotten() {
    let server = Server::new(SessionBindingLayer::new());
    let delete = |subject: &str| {
        let mut request = request(subject, &["7f3a"]);
        *request.method_mut() = Method::DELETE;
        request
    };
    server.begin("alice", "7f3a").await;
    assert_eq!(server.ask(delete("bob")).await.status(), 404);
    // Where clients may not delete, it goes on.
    assert_eq!(server.answers((405, &[])).ask(delete("alice")).await.status(), 405);
    assert_eq!(server.answers((204, &["7f3a"])).ask(delete("alice")).await.status(), 204);
    assert_eq!((server.status("alice", &["7f3a"]).await, server.layer.len()), (404, 0));

    server.begin("alice", "7f3a").await;
    assert_eq!(server.answers((404, &[])).status("alice", &["7f3a"]).await, 404);
    assert_eq!((server.answers((200, &[])).status("alice", &["7f3a"]).await, server.layer.len()), (404, 0));
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_one_caller_ends_no_session_of_another() {
    let layer = SessionBindingLayer::new().with_idle_time(Duration::from_secs(60));
    let late = service_fn(async |_: Request<()>| {
        tokio::time::sleep(Duration::from_secs(90)).await;
        Ok::<_, Infallible>(Response::builder().status(404).body(()).unwrap())
    });
    let server = Server::new(layer.clone());
    server.begin("alice", "1").await;
    let answered = tokio::spawn(layer.layer(late).oneshot(request("alice", &["1"])));
    tokio::task::yield_now().await;
    // It is forgotten, and the server counts from one again.
    advance(Duration::from_secs(60)).await;
    assert_eq!(server.status("alice", &["1"]).await, 404);
    server.begin("bob", "1").await;
    assert_eq!(answered.await.unwrap().unwrap().status(), 404);
    assert_eq!(server.status("bob", &["1"]).await, 200);
}

#[tokio::test(start_paused = true)]
async fn a_session_that_nobody_names_is_forgotten_after_its_idle_time() {
    let server = Server::new(SessionBindingLayer::new().with_idle_time(Duration::from_secs(60)));
    server.begin("alice", "7f3a").await;
    for _ in 0..3 {
        advance(Duration::from_secs(59)).await;
        assert_eq!(server.status("alice", &["7f3a"]).await, 200);
    }
    // What another caller tries does not keep it.
    advance(Duration::from_secs(59)).await;
    assert_eq!(server.status("bob", &["7f3a"]).await, 404);
    advance(Duration::from_secs(1)).await;
    assert_eq!(server.status("alice", &["7f3a"]).await, 404);
}

#[tokio::test]
async fn memory_is_bounded_and_one_caller_alone_pushes_out_only_their_own() {
    let server = Server::new(SessionBindingLayer::new().with_capacity(4).with_per_caller(2));
    server.begin("alice", "a1").await;
    for id in ["b1", "b2", "b3", "b4"] {
        server.begin("bob", id).await;
    }
    assert_eq!(server.layer.len(), 3);
    for (subject, id, expected) in
        [("alice", "a1", 200), ("bob", "b1", 404), ("bob", "b2", 404), ("bob", "b3", 200), ("bob", "b4", 200)]
    {
        assert_eq!(server.status(subject, &[id]).await, expected, "{id}");
    }
    // Of all, that gives way which was named the longest ago.
    assert_eq!(server.status("alice", &["a1"]).await, 200);
    server.begin("carol", "c1").await;
    server.begin("dave", "d1").await;
    assert_eq!(server.layer.len(), 4);
    for (subject, id, expected) in [("bob", "b3", 404), ("bob", "b4", 200), ("alice", "a1", 200), ("dave", "d1", 200)] {
        assert_eq!(server.status(subject, &[id]).await, expected, "{id}");
    }
    // A layer that may remember nothing does not.
    let none = Server::new(SessionBindingLayer::new().with_capacity(0));
    none.begin("alice", "a1").await;
    assert_eq!(none.status("alice", &["a1"]).await, 404);
}

#[tokio::test]
async fn clones_remember_together_and_another_header_may_name_sessions() {
    let layer = SessionBindingLayer::new().with_header(HeaderName::from_static("x-session"));
    let inner = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::builder().header("x-session", "1").body(()).unwrap())
    });
    let (one, other) = (layer.clone().layer(inner), layer.layer(inner));
    assert_eq!(one.oneshot(request("alice", &[])).await.unwrap().status(), 200);
    for (subject, expected) in [("alice", 200), ("bob", 404)] {
        let mut request = request(subject, &[]);
        request.headers_mut().insert("x-session", "1".parse().unwrap());
        assert_eq!(other.clone().oneshot(request).await.unwrap().status(), expected, "{subject}");
    }
}

#[tokio::test]
async fn without_an_access_it_refuses_and_another_response_may_say_so() {
    let layer = SessionBindingLayer::new();
    let inner = service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(String::new())));
    let response = layer.layer(inner).oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);

    let own = layer.with_response(|denied: &Denied| Response::new(denied.as_str().to_owned()));
    let response = own.layer(inner).oneshot(request("alice", &["7f3a"])).await.unwrap();
    assert_eq!(response.body(), "unknown_session");
}

#[tokio::test]
async fn a_caller_who_is_not_let_in_names_no_session() {
    let nobody = verify_fn(|_| Err(VerifyError::Rejected));
    let service = ServiceBuilder::new()
        .layer(BearerAuthLayer::new(nobody))
        .layer(SessionBindingLayer::new())
        .service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(())));
    let request = Request::builder().header("authorization", "Bearer x").header(SESSION, "7f3a").body(()).unwrap();
    assert_eq!(service.oneshot(request).await.unwrap().status(), 401);
}
