//! `--upstream`: completions by another server, for as long as access lasts.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};

use crate::{
    client::{End, PATIENCE, Request, Response},
    house::{AT_ONCE, House, TOKEN},
    operators::{ADMIN, READER, WRITER, house, start},
    process::Start,
    state::State,
};

const KEY: &str = "key-of-this-gateway-upstream";
const CHAT: &str = "/v1/chat/completions";
const RESPONSES: &str = "/v1/responses";
const QUESTION: &str = r#"{"model":"m","messages":[{"role":"user","content":"talk"}],"stream":true}"#;
/// How long the upstream may go on for nobody.
const SOON: Duration = Duration::from_secs(1);

/// A server that answers each request as it is told to, and tells what it was asked.
struct Fake {
    address: SocketAddr,
    asked: Receiver<Asked>,
    /// When somebody who asked went away.
    gone: Receiver<Instant>,
}

#[derive(Debug)]
struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn header(&self, wanted: &str) -> Option<&str> {
        let mut headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }

    fn line(&self) -> &str {
        self.head.lines().next().expect("a line")
    }
}

/// One request to it, to be answered.
struct Talk {
    socket: TcpStream,
    gone: std::sync::mpsc::Sender<Instant>,
}

impl Talk {
    /// Says something, if somebody listens.
    fn say(&mut self, text: &str) -> bool {
        self.socket.write_all(text.as_bytes()).is_ok()
    }

    fn answer(&mut self, status: &str, content_type: &str, body: &str) {
        self.say(&format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    fn json(&mut self, body: &Value) {
        self.answer("200 OK", "application/json", &body.to_string());
    }

    fn begin(&mut self) {
        self.say(
            "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n",
        );
    }

    fn chunk(&mut self, text: &str) -> bool {
        self.say(&format!("{:x}\r\n{text}\r\n", text.len()))
    }

    fn end(&mut self) {
        self.say("0\r\n\r\n");
    }

    /// Waits until whoever asked has gone.
    fn until_gone(&mut self) {
        self.socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let is_gone = match self.socket.read(&mut [0; 64]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        };
        if is_gone {
            let _ = self.gone.send(Instant::now());
        }
    }
}

impl Fake {
    fn new(answer: impl Fn(&Asked, &mut Talk) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let ((tell, asked), (left, gone)) = (channel(), channel());
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let (answer, tell, gone) = (Arc::clone(&answer), tell.clone(), left.clone());
                thread::spawn(move || {
                    let mut talk = Talk { socket, gone };
                    while let Some(asked) = read(&mut talk.socket) {
                        let (head, body) = (asked.head.clone(), asked.body.clone());
                        let _ = tell.send(asked);
                        answer(&Asked { head, body }, &mut talk);
                    }
                });
            }
        });
        Self { address, asked, gone }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn asked(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("it is asked")
    }

    fn is_left(&self) -> Instant {
        self.gone.recv_timeout(PATIENCE).expect("it is left")
    }
}

/// The next request. `None` if there is none, or not to its end.
fn read(socket: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    let mut more = |bytes: &mut Vec<u8>| {
        let mut buffer = [0; 64 * 1024];
        let count = socket.read(&mut buffer).ok().filter(|count| *count > 0)?;
        bytes.extend(&buffer[..count]);
        Some(())
    };
    let end = loop {
        match memchr::memmem::find(&bytes, b"\r\n\r\n") {
            Some(end) => break end,
            None => more(&mut bytes)?,
        }
    };
    let head = String::from_utf8(bytes.drain(..end + 4).collect()).ok()?;
    let mut asked = Asked { head, body: Vec::new() };
    match asked.header("content-length").map(str::to_owned) {
        Some(length) => {
            while bytes.len() < length.parse().ok()? {
                more(&mut bytes)?;
            }
        }
        None if asked.header("transfer-encoding").is_some() => {
            while !bytes.ends_with(b"0\r\n\r\n") {
                more(&mut bytes)?;
            }
        }
        None => {}
    }
    asked.body = bytes;
    Some(asked)
}

/// A chunk of a completion, as an event.
fn word(word: &str) -> String {
    let choice = json!({ "index": 0, "delta": { "content": word }, "finish_reason": null });
    let chunk = json!({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 7, "model": "m-2", "choices": [choice],
    });
    format!("data: {chunk}\n\n")
}

/// An event of a response.
fn delta(number: u64) -> String {
    let delta = json!({ "type": "response.output_text.delta", "sequence_number": number, "delta": "word" });
    format!("event: response.output_text.delta\ndata: {delta}\n\n")
}

/// A gateway with operators, and a key for this upstream.
fn before(fake: &Fake, flags: &[&str]) -> House {
    let state = State::of_messages(1);
    let key = state.file("upstream-key", KEY);
    let url = fake.url();
    let all = [&["--upstream", &url, "--upstream-key-file", key.to_str().expect("a path")], flags].concat();
    let gateway = start(&state, &all).run();
    House { state, gateway }
}

fn request(target: &str, token: &str) -> Request {
    Request::new("POST", target)
        .header("Authorization", &format!("Bearer {token}"))
        .header("Content-Type", "application/json")
}

impl House {
    fn complete(&self, target: &str, token: &str) -> Response {
        self.send(request(target, token).body(QUESTION))
    }

    /// A fault as a client sees it: the status, and the code and the message of the error.
    fn fault(&self, target: &str) -> (u16, String, String) {
        let response = self.complete(target, WRITER);
        let status = response.status;
        assert!(response.header("content-type").is_some_and(|kind| kind.starts_with("application/json")));
        let text = response.text();
        assert!(!text.contains(KEY), "{text}");
        let body: Value = serde_json::from_str(&text).expect("JSON");
        let text = |name: &str| body["error"][name].as_str().unwrap_or_else(|| panic!("{name}: {body}")).to_owned();
        assert!(!text("type").is_empty() && body["error"].get("param").is_some(), "{body}");
        (status, text("code"), text("message"))
    }
}

fn error_of(block: &str) -> Value {
    let data = block.lines().find_map(|line| line.strip_prefix("data: ")).expect("data");
    serde_json::from_str::<Value>(data).expect("JSON")["error"].clone()
}

#[test]
fn what_is_asked_passes_with_the_gateways_key_and_without_what_is_of_the_caller() {
    let fake = Fake::new(|_, talk| {
        let body = json!({ "object": "list", "data": [] }).to_string();
        talk.say(&format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=latin1\r\nSet-Cookie: a=b\r\nServer: x\r\n\
             OpenAI-Organization: org\r\nX-Request-Id: r7\r\nX-RateLimit-Remaining-Tokens: 9\r\nConnection: keep-alive, x-hop\r\n\
             X-Hop: 1\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    });
    let house = before(&fake, &[]);
    let response = house.send(
        Request::new("GET", "/v1/models?limit=2")
            .header("Authorization", &format!("Bearer {TOKEN}"))
            .header("Cookie", "session=secret")
            .header("Connection", "close, x-hop")
            .header("X-Hop", "1")
            .header("TE", "trailers")
            .header("Proxy-Authorization", "Basic x")
            .header("X-OpenClaw-Scopes", "operator.read")
            .header("OpenAI-Organization", "another")
            .header("OpenAI-Beta", "assistants=v2")
            .header("X-Stainless-Lang", "python")
            .header("User-Agent", "OpenAI/Python")
            .header("Accept", "application/json"),
    );
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("application/json; charset=latin1"));
    assert_eq!(response.header("x-request-id"), Some("r7"));
    assert_eq!(response.header("x-ratelimit-remaining-tokens"), Some("9"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    for dropped in ["set-cookie", "server", "openai-organization", "x-hop"] {
        assert_eq!(response.header(dropped), None, "{dropped}");
    }
    assert_eq!(response.text(), r#"{"object":"list","data":[]}"#);

    let asked = fake.asked();
    assert_eq!(asked.line(), "GET /v1/models?limit=2 HTTP/1.1");
    assert_eq!(asked.header("authorization"), Some(&*format!("Bearer {KEY}")));
    assert_eq!(asked.header("host"), Some(&*fake.address.to_string()));
    assert_eq!(asked.header("openai-beta"), Some("assistants=v2"));
    assert_eq!(asked.header("x-stainless-lang"), Some("python"));
    assert_eq!(asked.header("user-agent"), Some("OpenAI/Python"));
    assert_eq!(asked.header("accept"), Some("application/json"));
    assert_eq!(asked.header("accept-encoding"), Some("identity"));
    let head = asked.head.to_ascii_lowercase();
    for dropped in ["cookie", "x-hop", "te:", "proxy-", "x-openclaw", "openai-organization", TOKEN] {
        assert!(!head.contains(dropped), "{dropped}: {head}");
    }
}

#[test]
fn a_prefix_of_the_url_goes_before_and_a_models_name_is_a_name() {
    let fake = Fake::new(|_, talk| talk.json(&json!({ "id": "m" })));
    let state = State::of_messages(1);
    let gateway = start(&state, &["--upstream", &format!("{}/some/api/v1/", fake.url())]).run();
    let house = House { state, gateway };
    for (target, expected) in [
        ("/v1/models/llama3:8b", "/some/api/v1/models/llama3:8b"),
        ("/v1/models/meta-llama%2FLlama-3", "/some/api/v1/models/meta-llama/Llama-3"),
        ("/v1/models/meta-llama/Llama-3", "/some/api/v1/models/meta-llama/Llama-3"),
    ] {
        assert_eq!(house.ask("GET", target, READER).status, 200, "{target}");
        let asked = fake.asked();
        assert_eq!(asked.line(), format!("GET {expected} HTTP/1.1"));
        assert_eq!(asked.header("authorization"), None, "there is no key");
    }
    for target in
        ["/v1/models/..%2ffiles", "/v1/models/x%2f..%2f..%2ffiles", "/v1/models/%5c..%5cfiles", "/v1/models/a%0d%0ab"]
    {
        assert_eq!(house.ask("GET", target, READER).status, 404, "{target}");
    }
    assert!(fake.asked.try_recv().is_err());
}

#[test]
fn a_completion_in_json_is_passed_on_as_it_is() {
    let answer = json!({ "id": "chatcmpl-1", "choices": [{ "message": { "content": "pong ☃" } }] });
    let fake = Fake::new({
        let answer = answer.clone();
        move |_, talk| talk.json(&answer)
    });
    let house = before(&fake, &[]);
    for target in [CHAT, RESPONSES] {
        let response = house.complete(target, TOKEN);
        assert_eq!((response.status, response.header("content-type")), (200, Some("application/json")));
        assert_eq!(response.text(), answer.to_string());
        let asked = fake.asked();
        assert_eq!(asked.line(), format!("POST {target} HTTP/1.1"));
        assert_eq!(
            (asked.header("content-type"), asked.body.as_slice()),
            (Some("application/json"), QUESTION.as_bytes())
        );
    }
    // The same key reads its history beside it.
    assert_eq!(house.page("")["messages"].as_array().expect("a list").len(), 1);
}

#[test]
fn who_may_read_sees_the_models_and_who_may_write_completes() {
    let fake = Fake::new(|_, talk| talk.json(&json!({})));
    // What is strict for history is not meant for this.
    let house = before(&fake, &["--history-scopes", "strict"]);
    for (token, models, completions) in
        [(TOKEN, 200, 200), (READER, 200, 403), (WRITER, 200, 200), (ADMIN, 200, 200), ("nobody", 401, 401)]
    {
        for target in ["/v1/models", "/v1/models/m"] {
            assert_eq!(house.ask("GET", target, token).status, models, "{token} {target}");
        }
        for target in [CHAT, RESPONSES] {
            let response = house.complete(target, token);
            assert_eq!(response.status, completions, "{token} {target}");
            if completions > 400 {
                assert!(response.text().contains(r#""error":{"#));
            }
        }
    }
    for (method, target, allow) in [
        ("POST", "/v1/models", "GET"),
        ("HEAD", "/v1/models/m", "GET"),
        ("GET", CHAT, "POST"),
        ("DELETE", RESPONSES, "POST"),
    ] {
        let response = house.ask(method, target, TOKEN);
        assert_eq!((response.status, response.header("allow")), (405, Some(allow)), "{method} {target}");
    }
}

#[test]
fn without_the_flag_there_is_nothing_of_it() {
    let house = house(&[]);
    for (method, target) in [("GET", "/v1/models"), ("GET", "/v1/models/m"), ("POST", CHAT), ("POST", RESPONSES)] {
        let response = house.ask(method, target, TOKEN);
        assert_eq!((response.status, response.text()), (404, "Not Found".to_owned()), "{target}");
    }
}

#[test]
fn events_pass_one_by_one_and_an_idle_stream_is_kept_alive() {
    let (next, turns) = channel::<&str>();
    let turns = std::sync::Mutex::new(turns);
    let fake = Fake::new(move |_, talk| {
        talk.begin();
        for text in turns.lock().expect("turns").iter() {
            talk.chunk(text);
        }
    });
    let house = before(&fake, &["--heartbeat", "200ms"]);
    let mut response = house.complete(CHAT, WRITER);
    assert_eq!((response.status, response.header("content-type")), (200, Some("text/event-stream; charset=utf-8")));
    assert!(response.header("x-stream-id").is_some());
    let mut comments = 0;
    let mut next_block = |text: &'static str| {
        next.send(text).expect("somebody listens");
        let deadline = Instant::now() + Duration::from_millis(700);
        while Instant::now() < deadline {
            let blocks = response.take_blocks(deadline.saturating_duration_since(Instant::now()));
            comments += blocks.iter().filter(|block| block.starts_with(':')).count();
            if let Some(block) = blocks.into_iter().find(|block| !block.starts_with(':')) {
                return Some(block);
            }
        }
        None
    };
    assert_eq!(next_block("data: {\"id\":1}\n\n").as_deref(), Some("data: {\"id\":1}"));
    // Half of an event is none, and a line's end that comes in two parts is one.
    assert_eq!(next_block("data: {\"id\""), None);
    assert_eq!(next_block(":2}\r\n\r"), Some("data: {\"id\":2}".to_owned()));
    assert_eq!(next_block("\ndata: {\"id\":3}\r\n\r\n").as_deref(), Some("data: {\"id\":3}"));
    let listed = &house.streams()[0];
    assert_eq!((&listed["label"], &listed["credential"]), (&json!(CHAT), &json!("writer")));
    assert_eq!(next_block("data: [DONE]\n\n").as_deref(), Some("data: [DONE]"));
    assert!(comments >= 2, "{comments}");
    assert_eq!(response.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn a_completion_that_loses_access_ends_with_a_reason_and_an_error() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        talk.chunk(&(word("one") + "data: {\"half\":"));
        talk.until_gone();
    });
    let house = before(&fake, &[]);
    let mut response = house.complete(CHAT, WRITER);
    assert_eq!(response.take_blocks(PATIENCE), [word("one").trim_end()]);
    let revoked = Instant::now();
    assert_eq!(house.revoke(&json!({ "credential": "writer" })).status, 200);
    let blocks = response.blocks(2, PATIENCE);
    assert_eq!(response.end_within(AT_ONCE), Some(End::Clean));
    let chunk: Value = serde_json::from_str(blocks[0].strip_prefix("data: ").expect("data")).expect("JSON");
    let expected = json!({
        "id": "chatcmpl-7", "object": "chat.completion.chunk", "created": 7, "model": "m-2",
        "choices": [{ "index": 0, "delta": {}, "finish_reason": "error" }],
    });
    assert_eq!(chunk, expected);
    let error = error_of(&blocks[1]);
    assert_eq!((&error["type"], &error["code"], blocks.len()), (&json!("access_ended"), &json!("revoked"), 2));
    assert!(fake.is_left() - revoked < SOON);
    assert_eq!(house.complete(CHAT, WRITER).status, 401);
}

#[test]
fn a_response_that_loses_access_ends_with_an_error_event() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        talk.chunk(&(delta(0) + &delta(1)));
        talk.until_gone();
    });
    let house = before(&fake, &[]);
    let mut response = house.complete(RESPONSES, WRITER);
    assert_eq!(response.blocks(2, PATIENCE).len(), 2);
    assert_eq!(house.revoke(&json!({ "subject": "writer" })).status, 200);
    let last = response.blocks(3, PATIENCE).pop().expect("a last event");
    let data = last.strip_prefix("event: error\ndata: ").expect("an error event");
    let data: Value = serde_json::from_str(data).expect("JSON");
    assert_eq!((&data["type"], &data["sequence_number"]), (&json!("error"), &json!(2)));
    assert_eq!((&data["code"], &data["error"]["code"]), (&json!("revoked"), &json!("revoked")));
    fake.is_left();
}

#[test]
fn who_loses_access_before_the_answer_gets_none() {
    for part in ["", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{\"a\""] {
        let fake = Fake::new(move |_, talk| {
            talk.say(part);
            talk.until_gone();
        });
        let house = before(&fake, &[]);
        let address = house.gateway.address;
        let answer = thread::scope(|scope| {
            let waiting = scope.spawn(|| request(CHAT, WRITER).body(QUESTION).send(address));
            fake.asked();
            let revoked = Instant::now();
            assert_eq!(house.revoke(&json!({ "credential": "writer" })).status, 200);
            assert!(fake.is_left() - revoked < SOON);
            waiting.join().expect("no panic").expect("an answer")
        });
        assert!(answer.header("www-authenticate").is_some_and(|challenge| challenge.contains("invalid_token")));
        assert_eq!((answer.status, answer.text().contains("Unauthorized")), (401, true));
    }
}

#[test]
fn the_upstream_is_left_as_soon_as_the_client_goes() {
    // Before the answer, in the middle of one, and in the middle of a stream that has said something or nothing.
    for part in [
        "".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned() + &word("a") + "data: ",
    ] {
        let fake = Fake::new({
            let part = part.clone();
            move |_, talk| {
                talk.say(&part);
                talk.until_gone();
            }
        });
        let house = before(&fake, &[]);
        for how in [Shutdown::Both, Shutdown::Write] {
            let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
            let head = format!(
                "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nContent-Length: {}\r\n\r\n{QUESTION}",
                QUESTION.len()
            );
            socket.write_all(head.as_bytes()).expect("it is read");
            fake.asked();
            thread::sleep(Duration::from_millis(100));
            let went = Instant::now();
            if how == Shutdown::Both || !part.contains("event-stream") {
                socket.shutdown(how).expect("a socket");
            }
            drop(socket);
            let took = fake.is_left() - went;
            assert!(took < SOON, "{took:?} after {part:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_upstream_is_left_as_soon_as_a_client_goes_over_http_2() {
    let stream = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned() + &word("a");
    for part in [String::new(), stream] {
        let fake = Fake::new({
            let part = part.clone();
            move |_, talk| {
                talk.say(&part);
                talk.until_gone();
            }
        });
        let house = before(&fake, &[]);
        let socket = tokio::net::TcpStream::connect(house.gateway.address).await.expect("a connection");
        let (mut client, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(socket)).await.expect("HTTP/2");
        let connection = tokio::spawn(connection);
        let request = http::Request::post(format!("http://localhost{CHAT}"))
            .header("authorization", format!("Bearer {WRITER}"))
            .body(Full::<Bytes>::from(QUESTION))
            .expect("a request");
        let answer = client.send_request(request);
        let went = if part.is_empty() {
            let waited = tokio::time::timeout(Duration::from_millis(300), answer).await;
            assert!(waited.is_err(), "there is no answer");
            Instant::now()
        } else {
            let mut body = answer.await.expect("an answer").into_body();
            assert!(body.frame().await.is_some());
            Instant::now()
        };
        assert!(fake.is_left() - went < SOON);
        connection.abort();
    }
}

#[test]
fn what_the_upstream_refuses_is_the_callers_fault_or_the_gateways() {
    let error =
        |message: &str| json!({ "error": { "message": message, "type": "t", "code": "c", "param": null } }).to_string();
    let echo = error(&format!("Incorrect key: {KEY}"));
    for (status, body, expected) in [
        ("400 Bad Request", error("no model"), (400, "c", "no model")),
        ("404 Not Found", error("no model"), (404, "c", "no model")),
        ("418 I'm a teapot", error("short and stout"), (400, "c", "short and stout")),
        ("422 Unprocessable Entity", "{\"detail\":[]}".to_owned(), (422, "upstream_refused", "answered 422")),
        ("413 Content Too Large", "<html>".to_owned(), (413, "upstream_refused", "answered 413")),
        ("401 Unauthorized", echo.clone(), (502, "upstream_unauthorized", "the key of this gateway")),
        ("403 Forbidden", echo.clone(), (502, "upstream_unauthorized", "the key of this gateway")),
        ("407 Proxy Authentication Required", echo.clone(), (502, "upstream_unauthorized", "the key of this gateway")),
        ("400 Bad Request", error(&format!("{}{KEY}", "x".repeat(1990))), (400, "c", "xxxxxxx...")),
        ("400 Bad Request", "{\"error\":{\"code\":7,\"message\":\"m\"}}".to_owned(), (400, "7", "m")),
        ("400 Bad Request", echo, (400, "c", "Incorrect key: ...")),
        ("400 Bad Request", "{\"error\":\"plain\"}".to_owned(), (400, "upstream_refused", "plain")),
        ("500 Internal Server Error", error("oops"), (502, "c", "oops")),
        ("500 Internal Server Error", "oops".to_owned(), (502, "upstream_refused", "answered 500")),
        ("503 Service Unavailable", error("overloaded"), (503, "c", "overloaded")),
        ("504 Gateway Timeout", String::new(), (504, "upstream_refused", "answered 504")),
        ("302 Found", String::new(), (502, "upstream_invalid", "cannot be read")),
        ("200 OK", "{\"half\":".to_owned(), (502, "upstream_invalid", "cannot be read")),
        ("200 OK", "<html>".to_owned(), (502, "upstream_invalid", "cannot be read")),
        ("200 OK", String::new(), (502, "upstream_invalid", "cannot be read")),
    ] {
        let fake = Fake::new({
            let body = body.clone();
            move |_, talk| talk.answer(status, "application/json", &body)
        });
        let house = before(&fake, &[]);
        let (answered, code, message) = house.fault(CHAT);
        assert_eq!((answered, &*code), (expected.0, expected.1), "{status} {body}: {message}");
        assert!(message.contains(expected.2), "{status} {body}: {message}");
        assert!(!house.gateway.log().contains(KEY));
    }
}

#[test]
fn who_asks_too_much_is_told_when_to_come_again() {
    let fake = Fake::new(|_, talk| {
        let body = json!({ "error": { "message": "slow down", "type": "requests", "code": "rate_limit_exceeded" } });
        let body = body.to_string();
        talk.say(&format!(
            "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 7\r\nretry-after-ms: 7000\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    });
    let folder = tempfile::tempdir().expect("a folder");
    let audit = folder.path().join("audit.jsonl");
    let mut house = before(&fake, &["--audit-log", audit.to_str().expect("a path")]);
    let response = house.complete(CHAT, WRITER);
    assert_eq!((response.status, response.header("retry-after")), (429, Some("7")));
    assert_eq!(response.header("retry-after-ms"), Some("7000"));
    assert!(response.text().contains("rate_limit_exceeded"));
    // That was not this gateway's refusal, as another one is.
    assert_eq!(house.complete(CHAT, READER).status, 403);
    house.gateway.signal("TERM");
    assert!(house.gateway.ended_within(PATIENCE).is_some());
    let noted = std::fs::read_to_string(audit).expect("a log");
    assert_eq!(noted.lines().filter(|line| line.contains("refused")).count(), 1, "{noted}");
}

#[test]
fn an_upstream_that_is_away_cuts_or_says_nothing_is_an_error_like_all_others() {
    let state = State::of_messages(1);
    let nowhere = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let gateway = start(&state, &["--upstream", &format!("http://{nowhere}")]).run();
    let house = House { state, gateway };
    assert_eq!(house.fault(CHAT).1, "upstream_unreachable");
    house.gateway.has_logged("the upstream did not answer");

    for (part, status, code) in [
        ("", 504, "upstream_timeout"),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", 504, "upstream_timeout"),
    ] {
        let fake = Fake::new(move |_, talk| {
            talk.say(part);
            talk.until_gone();
        });
        let house = before(&fake, &["--upstream-timeout", "300ms"]);
        let fault = house.fault(CHAT);
        assert_eq!((fault.0, &*fault.1), (status, code));
        fake.is_left();
    }
    for (part, code) in [
        ("", "upstream_unreachable"),
        ("no HTTP\r\n\r\n", "upstream_unreachable"),
        ("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{", "upstream_cut"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
            "upstream_cut",
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "upstream_invalid"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\n{}", "upstream_invalid"),
        (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nContent-Length: 2\r\n\r\n{}",
            "upstream_invalid",
        ),
    ] {
        let fake = Fake::new(move |_, talk| {
            talk.say(part);
            let _ = talk.socket.shutdown(Shutdown::Both);
        });
        let house = before(&fake, &[]);
        let fault = house.fault(CHAT);
        assert_eq!((fault.0, &*fault.1), (502, code), "{part}");
    }
}

#[test]
fn a_stream_that_the_upstream_cuts_is_no_success() {
    let finished = word("x").replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    let second = |chunk: &str| chunk.replace("\"index\":0", "\"index\":1");
    for (api, said, code) in [
        (CHAT, word("one"), Some("upstream_cut")),
        (CHAT, word("one") + "data: {\"half\":", Some("upstream_cut")),
        (CHAT, word("one") + "data: {\"broken\":\n\n", Some("upstream_invalid")),
        (CHAT, String::new(), Some("upstream_cut")),
        (CHAT, finished.clone(), None),
        // Of two choices one is not finished.
        (CHAT, second(&word("one")) + &finished, Some("upstream_cut")),
        (CHAT, finished.clone() + &second(&word("one")), Some("upstream_cut")),
        (CHAT, second(&word("one")) + &finished + &second(&finished), None),
        // One that is finished is so, whatever is said of it after.
        (CHAT, finished.clone() + &word(""), None),
        (CHAT, word("one") + "data: [DONE]\n\n", None),
        (CHAT, word("one") + "data: {\"error\":{\"message\":\"its own\"}}\n\n", None),
        (RESPONSES, delta(0), Some("upstream_cut")),
        (RESPONSES, delta(0) + "event: response.completed\ndata: {\"type\":\"response.completed\"}\n\n", None),
    ] {
        for ends in [true, false] {
            let fake = Fake::new({
                let said = said.clone();
                move |_, talk| {
                    talk.begin();
                    if !said.is_empty() {
                        talk.chunk(&said);
                    }
                    if ends {
                        talk.end();
                    }
                    let _ = talk.socket.shutdown(Shutdown::Both);
                }
            });
            let house = before(&fake, &[]);
            let mut response = house.complete(api, WRITER);
            assert_eq!(response.end_within(AT_ONCE), Some(End::Clean), "{said}");
            let blocks = response.blocks(0, PATIENCE);
            let last = blocks.last().map(|block| error_of_any(block)).unwrap_or_default();
            let own = last["message"] == "its own";
            assert_eq!(last["code"].as_str().filter(|_| !own), code, "{said}: {blocks:?}");
            assert!(!blocks.iter().any(|block| block.contains("half") || block.contains("broken")), "{blocks:?}");
        }
    }

    let fake = Fake::new(|_, talk| {
        talk.begin();
        talk.chunk(&word("one"));
        talk.until_gone();
    });
    let house = before(&fake, &["--upstream-timeout", "300ms"]);
    let mut response = house.complete(CHAT, WRITER);
    assert_eq!(response.end_within(AT_ONCE), Some(End::Clean));
    assert_eq!(error_of(&response.blocks(3, PATIENCE)[2])["code"], "upstream_timeout");
    fake.is_left();
}

/// The error of an event, if it is one.
fn error_of_any(block: &str) -> Value {
    if block.contains("[DONE]") { Value::Null } else { error_of(block) }
}

#[test]
fn a_stream_may_take_longer_than_any_limit_on_silence() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        for _ in 0..8 {
            talk.chunk(&word("a"));
            thread::sleep(Duration::from_millis(250));
        }
        talk.chunk("data: [DONE]\n\n");
    });
    let house = before(&fake, &["--upstream-timeout", "1s"]);
    let mut response = house.complete(CHAT, WRITER);
    assert_eq!(response.end_within(PATIENCE), Some(End::Clean));
    assert_eq!(response.blocks(9, PATIENCE).len(), 9);
}

#[test]
fn a_client_that_does_not_read_is_not_read_for() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        let much = word(&"x".repeat(60_000));
        talk.socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        let written = (0..2000).take_while(|_| talk.chunk(&much)).count();
        assert!(written < 1000, "all of it was read");
        let _ = talk.gone.send(Instant::now());
    });
    let house = before(&fake, &[]);
    let response = house.complete(CHAT, WRITER);
    fake.is_left();
    drop(response);
}

#[test]
fn the_upstream_is_left_when_access_ends_though_the_client_does_not_read() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        let much = word(&"x".repeat(60_000));
        talk.socket.set_write_timeout(Some(Duration::from_millis(500))).expect("a timeout");
        while talk.chunk(&much) {}
        // It is full: what is read then is that whoever asked has gone.
        let _ = talk.gone.send(Instant::now());
        talk.until_gone();
    });
    let house = before(&fake, &[]);
    let response = house.complete(CHAT, WRITER);
    fake.is_left();
    let revoked = Instant::now();
    assert_eq!(house.revoke(&json!({ "credential": "writer" })).status, 200);
    assert!(fake.is_left() - revoked < SOON);
    drop(response);
}

#[test]
fn no_body_is_passed_on_of_a_request_that_has_none_by_its_method() {
    let fake = Fake::new(|_, talk| talk.json(&json!({ "object": "list", "data": [] })));
    let house = before(&fake, &[]);
    let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
    let head = format!(
        "GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {READER}\r\nContent-Length: 100\r\n\r\nhello"
    );
    socket.write_all(head.as_bytes()).expect("it is read");
    let mut answer = [0; 12];
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    let asked = fake.asked();
    assert_eq!((asked.header("content-length"), asked.body.len()), (None, 0), "{asked:?}");
}

#[test]
fn an_upstream_that_says_the_key_is_not_believed() {
    let said = json!({ "error": { "message": format!("Incorrect API key provided: {KEY}") } });
    let json = Fake::new({
        let said = said.clone();
        move |_, talk| talk.json(&said)
    });
    let house = before(&json, &[]);
    assert_eq!(house.fault(CHAT).1, "upstream_invalid");

    for half in [false, true] {
        let said = said.clone();
        let fake = Fake::new(move |_, talk| {
            talk.begin();
            talk.chunk(&word("one"));
            // As an event, and as what is not one.
            talk.chunk(&format!("{}data: {said}\n\n", if half { format!(": {KEY}\n") } else { String::new() }));
            talk.until_gone();
        });
        let house = before(&fake, &[]);
        let response = house.complete(CHAT, WRITER);
        let text = response.text();
        assert!(text.starts_with(&word("one")) && !text.contains(KEY) && text.contains("upstream_invalid"), "{text}");
        fake.is_left();
    }
}

#[test]
fn a_completion_takes_a_place_among_the_streams_of_its_client() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        talk.chunk(&word("one"));
        talk.until_gone();
    });
    let house = before(&fake, &["--max-streams-per-client", "1"]);
    let mut first = house.complete(CHAT, WRITER);
    assert_eq!(first.take_blocks(PATIENCE).len(), 1);
    let second = house.complete(RESPONSES, WRITER);
    assert_eq!((second.status, second.header("retry-after").is_some()), (429, true));
    assert_eq!(house.complete(CHAT, ADMIN).status, 200);
    drop(first);
    fake.is_left();
    let start = Instant::now();
    while house.complete(CHAT, WRITER).status != 200 {
        assert!(start.elapsed() < AT_ONCE, "its place is taken still");
    }
}

#[test]
fn a_body_is_bounded_whether_it_says_how_long_it_is_or_not() {
    let fake = Fake::new(|_, talk| talk.json(&json!({})));
    let house = before(&fake, &[]);
    let announced = Request::new("POST", CHAT).header("Authorization", &format!("Bearer {WRITER}"));
    let announced = house.send(announced.header("Content-Length", "33554433").header("Expect", "100-continue"));
    assert_eq!(announced.status, 413);
    assert!(announced.text().contains("body_too_large"));
    assert!(fake.asked.try_recv().is_err());

    let mut socket = TcpStream::connect(house.gateway.address).expect("a connection");
    let head = format!(
        "POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WRITER}\r\nTransfer-Encoding: chunked\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).expect("it is read");
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(0x10_0000));
    for _ in 0..40 {
        if socket.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
}

#[test]
fn a_new_key_is_shown_from_the_next_request_on_and_none_is_in_a_log() {
    let fake = Fake::new(|_, talk| talk.json(&json!({})));
    let state = State::of_messages(1);
    let key = state.file("upstream-key", KEY);
    let url = fake.url();
    let flags = ["--upstream", &url, "--upstream-key-file", key.to_str().expect("a path")];
    let gateway = start(&state, &flags).env("RUST_LOG", "trace").run();
    let house = House { state, gateway };
    assert_eq!(house.complete(CHAT, WRITER).status, 200);
    assert!(fake.asked().head.contains(KEY));
    house.state.file("upstream-key", "another-key-of-the-gateway\n");
    house.gateway.has_logged("--upstream-key-file");
    assert_eq!(house.complete(CHAT, WRITER).status, 200);
    assert_eq!(fake.asked().header("authorization"), Some("Bearer another-key-of-the-gateway"));
    let log = house.gateway.log();
    for secret in [KEY, "another-key-of-the-gateway", WRITER] {
        assert!(!log.contains(secret), "{secret}");
    }
}

#[test]
fn what_is_wrong_with_the_flags_is_said_at_the_start() {
    let state = State::of_messages(1);
    let empty = state.file("empty", "\n");
    let empty = empty.to_str().expect("a path");
    for (flags, expected) in [
        (&["--upstream", "ftp://hunter2"][..], "must be an http or https URL"),
        (&["--upstream", "https://me:hunter2@api.example"], "must hold no user and no password"),
        (&["--upstream", "https://api.example?key=hunter2"], "must have no query"),
        (&["--upstream-key-file", empty], "--upstream-key-file needs --upstream"),
        (&["--upstream", "http://localhost", "--upstream-key-file", empty], "is empty"),
        (&["--upstream", "http://localhost", "--upstream-key-file", "/nowhere/at/all"], "No such file"),
        (&["--upstream", "http://localhost", "--upstream-timeout", "0s"], "must be between 100ms and 1h"),
    ] {
        for command in [&[][..], &["check"]] {
            let output = Start::new().arg_state(&state).args(["--token", TOKEN]).args(flags).args(command).output();
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!output.status.success() && said.contains(expected), "{flags:?}: {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
    let key = state.file("key", KEY);
    let key = key.to_str().expect("a path");
    let flags = ["--token", TOKEN, "--upstream", "http://api.example", "--upstream-key-file", key, "check"];
    let output = Start::new().arg_state(&state).args(flags).output();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("others on the way there can read the key"), "{said}");
}

#[test]
fn a_completion_that_there_is_no_place_for_is_refused_as_all_others_are() {
    for (flag, status, code) in
        [("--max-streams", 503, "unavailable"), ("--max-streams-per-client", 429, "too_many_streams")]
    {
        let fake = Fake::new(|_, talk| {
            talk.begin();
            talk.chunk(&word("one"));
            talk.until_gone();
        });
        let house = before(&fake, &[flag, "1"]);
        let mut first = house.complete(CHAT, WRITER);
        assert_eq!((first.status, first.blocks(1, PATIENCE).len()), (200, 1));
        let (refused, shown, _) = house.fault(RESPONSES);
        assert_eq!((refused, shown.as_str()), (status, code));
        // Nothing was asked for it.
        assert_eq!(std::iter::from_fn(|| fake.asked.try_recv().ok()).count(), 1, "{flag}");
    }
}

#[test]
fn who_completes_by_the_shared_token_is_told_apart_by_the_address() {
    let fake = Fake::new(|_, talk| {
        talk.begin();
        talk.chunk(&word("one"));
        talk.until_gone();
    });
    let state = State::of_messages(1);
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.1'] } }");
    let key = state.file("upstream-key", KEY);
    let flags = ["--upstream", &fake.url(), "--upstream-key-file", key.to_str().expect("a path")];
    let gateway = start(&state, &[&flags[..], &["--max-streams-per-client", "1"]].concat()).run();
    let house = House { state, gateway };
    // As OpenAI's clients do, it says in the body alone that it wants events.
    let from = |client: &str| {
        let request = request(CHAT, TOKEN).header("Accept", "application/json").header("X-Forwarded-For", client);
        house.send(request.body(QUESTION))
    };
    let held = [from("203.0.113.1"), from("203.0.113.2")];
    assert_eq!(held.each_ref().map(|response| response.status), [200, 200]);
    assert_eq!(from("203.0.113.1").status, 429);
}
