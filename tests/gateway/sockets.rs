//! OpenClaw's protocol over a WebSocket: what is said, to whom, for how long and how much of it.
//!
//! That each answer is OpenClaw's is tested by replay, in `openclaw/sockets.rs`.

use std::{
    fs,
    io::Write,
    net::TcpStream,
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    client::{
        Request,
        socket::{BINARY, CLOSE, Frame, Handshake, Socket},
    },
    house::{AT_ONCE, House, TOKEN},
    operators::{ADMIN, READER, house, start},
    state::{SESSION, State, message},
};

/// How long nothing is to come where nothing comes.
const QUIET: Duration = Duration::from_millis(300);

impl House {
    /// A socket, past the challenge.
    fn challenged(&self) -> Socket {
        let mut socket = Socket::open(self.gateway.address);
        assert_eq!(json_of(socket.next())["event"], "connect.challenge");
        socket
    }

    /// A socket of who shows this token and declares the scope to read.
    fn socket(&self, token: &str) -> Socket {
        let mut socket = self.challenged();
        socket.send(&connect(token));
        assert_eq!(answer(&mut socket)["payload"]["type"], "hello-ok");
        socket
    }

    /// The same, told of what is appended to the session.
    fn subscribed(&self, token: &str) -> Socket {
        let mut socket = self.socket(token);
        subscribe(&mut socket, SESSION);
        socket
    }
}

fn connect(token: &str) -> String {
    connect_with(&json!({ "token": token }), &["operator.read"])
}

fn connect_with(auth: &Value, scopes: &[&str]) -> String {
    let client = json!({ "id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend" });
    let params = json!({ "minProtocol": 4, "maxProtocol": 4, "client": client, "scopes": scopes, "auth": auth });
    request("connect", &params)
}

fn request(method: &str, params: &Value) -> String {
    json!({ "type": "req", "id": method, "method": method, "params": params }).to_string()
}

fn json_of(frame: Frame) -> Value {
    match frame {
        Frame::Text(text) => serde_json::from_str(&text).expect("JSON"),
        other => panic!("{other:?} is no message"),
    }
}

/// The next message, which is an answer.
fn answer(socket: &mut Socket) -> Value {
    let answer = json_of(socket.next());
    assert_eq!(answer["type"], "res", "{answer}");
    answer
}

fn subscribe(socket: &mut Socket, key: &str) {
    socket.send(&request("sessions.messages.subscribe", &json!({ "key": key })));
    assert_eq!(answer(socket)["payload"], json!({ "subscribed": true, "key": key }));
}

/// The next message, which is an event of this name.
fn event(socket: &mut Socket, name: &str) -> Value {
    let event = json_of(socket.next());
    assert_eq!(event["event"], name, "{event}");
    event
}

fn closes(socket: &mut Socket, code: u16, reason: &str) {
    assert_eq!(socket.next_within(AT_ONCE), Some(Frame::Close(Some(code), reason.to_owned())));
    assert_eq!(socket.next_within(QUIET), None, "the gateway waits for the answer");
    socket.frame(CLOSE, true, &code.to_be_bytes());
    assert_eq!(socket.next_within(AT_ONCE), Some(Frame::End));
}

#[test]
fn what_is_appended_is_an_event_for_those_who_subscribed_and_for_as_long_as_they_do() {
    let house = house(&[]);
    let (mut stream, _) = house.stream("");
    let mut socket = house.subscribed(TOKEN);
    let mut other = house.socket(TOKEN);
    house.state.append(&message(2));
    let shown = stream.event().data;
    let told = event(&mut socket, "session.message");
    assert_eq!(told["seq"], 1);
    let mut payload = told["payload"].as_object().expect("an object").clone();
    assert_eq!(payload.remove("agentId"), Some(json!("main")));
    assert_eq!(Value::from(payload), shown, "what a stream of the session shows");
    assert_eq!(other.next_within(QUIET), None);

    house.state.append(&[message(3), message(4)].concat());
    for seq in [3, 4] {
        assert_eq!(event(&mut socket, "session.message")["payload"]["messageSeq"], seq);
    }
    socket.send(&request("sessions.messages.unsubscribe", &json!({ "key": "test-session" })));
    assert_eq!(answer(&mut socket)["payload"], json!({ "subscribed": false, "key": SESSION }));
    house.state.append(&message(5));
    stream.event();
    assert_eq!(socket.next_within(QUIET), None);
    // From now on, and not what was missed.
    subscribe(&mut socket, SESSION);
    house.state.append(&message(6));
    assert_eq!(event(&mut socket, "session.message")["payload"]["messageId"], "m6");
}

#[test]
fn what_messages_cannot_say_is_told_as_a_change_and_followed_on() {
    let house = house(&[]);
    let mut socket = house.subscribed(TOKEN);
    fs::write(house.state.transcript(), [message(8), message(9)].concat()).expect("another history");
    let changed = json!({ "sessionKey": SESSION, "reason": "transcript" });
    assert_eq!(event(&mut socket, "sessions.changed")["payload"], changed);
    // It may have been seen half written.
    while let Some(frame) = socket.next_within(QUIET) {
        assert_eq!(json_of(frame)["event"], "sessions.changed");
    }
    socket.send(&request("chat.history", &json!({ "sessionKey": SESSION })));
    let page = answer(&mut socket)["payload"].clone();
    assert_eq!((&page["totalMessages"], &page["sessionId"]), (&json!(2), &json!("test-session")));
    house.state.append(&message(10));
    assert_eq!(event(&mut socket, "session.message")["payload"]["messageSeq"], 3);
}

#[test]
fn a_session_that_comes_later_is_told_of_when_it_comes() {
    let house = house(&[]);
    let mut socket = house.socket(TOKEN);
    let later = "agent:main:later";
    subscribe(&mut socket, later);
    fs::write(house.state.sessions().join("later.jsonl"), message(1)).expect("a transcript");
    let row = |id: &str| json!({ "sessionId": id, "updatedAt": 1 });
    house.state.write_store(&json!({ SESSION: row("test-session"), later: row("later") }));
    let created = json!({ "sessionKey": later, "reason": "create" });
    assert_eq!(event(&mut socket, "sessions.changed")["payload"], created);
    let mut transcript =
        fs::File::options().append(true).open(house.state.sessions().join("later.jsonl")).expect("a file");
    transcript.write_all(message(2).as_bytes()).expect("an append");
    assert_eq!(event(&mut socket, "session.message")["payload"]["messageId"], "m2");
}

#[test]
fn a_session_that_is_killed_is_told_of_no_more() {
    let house = house(&[]);
    let mut socket = house.subscribed(TOKEN);
    assert_eq!(house.kill(ADMIN, SESSION).text(), r#"{"ok":true,"killed":true}"#);
    let killed = json!({ "sessionKey": SESSION, "reason": "kill" });
    assert_eq!(event(&mut socket, "sessions.changed")["payload"], killed);
    house.state.append(&message(2));
    assert_eq!(socket.next_within(QUIET), None);
    subscribe(&mut socket, SESSION);
    house.state.append(&message(3));
    assert_eq!(event(&mut socket, "session.message")["payload"]["messageId"], "m3");
}

#[test]
fn a_revoked_token_closes_its_socket_with_1008_before_a_message_that_comes_after() {
    let house = house(&[]);
    let mut socket = house.subscribed(READER);
    let mut other = house.subscribed(TOKEN);
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    house.state.append(&message(2));
    closes(&mut socket, 1008, "revoked");
    assert_eq!(event(&mut other, "session.message")["payload"]["messageId"], "m2");
    // Nor does it come in again.
    let mut again = house.challenged();
    again.send(&connect(READER));
    assert_eq!(answer(&mut again)["error"]["details"]["code"], "AUTH_TOKEN_MISMATCH");
}

#[test]
fn an_operator_sees_a_socket_and_shows_it_out() {
    let house = house(&[]);
    let mut socket = house.challenged();
    socket.send(&connect(READER));
    let hello = answer(&mut socket)["payload"].clone();
    let listed = house.streams();
    assert_eq!(hello["server"]["connId"], listed[0]["id"]);
    let expected = json!({ "label": "websocket gateway-client", "subject": "rita", "scopes": ["operator.read"] });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&listed[0][name], value, "{name}");
    }
    let id = listed[0]["id"].as_str().expect("an id");
    // Its client may renew its credential by it, and nobody else.
    assert_eq!(house.ask("POST", &format!("/streams/{id}/renew"), READER).status, 200);
    assert_eq!(house.ask("POST", &format!("/streams/{id}/renew"), TOKEN).status, 403);
    assert_eq!(house.ask("DELETE", &format!("/streams/{id}"), ADMIN).status, 204);
    closes(&mut socket, 1008, "closed");
    house.come_to(0);
    // One that goes by itself is listed no more either.
    let socket = house.socket(READER);
    house.come_to(1);
    drop(socket);
    house.come_to(0);
}

#[test]
fn a_token_that_expires_or_loses_its_scope_closes_its_socket_with_1008() {
    let house = house(&[]);
    let tokens = |scopes: &str, expires: jiff::Timestamp| {
        let reader = format!("id = \"r\"\nsecret = \"secret-of-r\"\nscopes = [{scopes}]\nexpires_at = \"{expires}\"\n");
        house.state.replace(&house.state.path().join("tokens.toml"), &format!("[[token]]\n{reader}"));
    };
    // As soon as the file is taken in.
    let reader = || {
        let start = Instant::now();
        loop {
            let mut socket = house.challenged();
            socket.send(&connect("secret-of-r"));
            let answer = answer(&mut socket);
            if answer["payload"]["auth"]["scopes"] == json!(["operator.read"]) {
                return socket;
            }
            assert!(start.elapsed() < AT_ONCE, "{answer}");
        }
    };
    let far = jiff::Timestamp::now() + Duration::from_secs(3600);
    tokens("\"operator.read\"", far);
    let mut socket = reader();
    tokens("\"operator.approvals\"", far);
    closes(&mut socket, 1008, "scope_lost");

    tokens("\"operator.read\"", jiff::Timestamp::now() + Duration::from_secs(4));
    let mut socket = reader();
    closes(&mut socket, 1008, "expired");
}

#[test]
fn another_shared_token_closes_the_sockets_of_the_old_one() {
    let state = State::of_messages(1);
    let file = state.file("token", "old");
    let house = House::with(state, ["--token-file".as_ref(), file.as_os_str()]);
    let mut socket = house.subscribed("old");
    house.state.file("token", "new");
    closes(&mut socket, 1008, "revoked");
}

#[test]
fn a_gateway_that_stops_says_so_to_every_socket_and_does_not_wait_for_them() {
    let mut house = house(&[]);
    let mut known = house.subscribed(TOKEN);
    let mut unknown = house.challenged();
    house.gateway.signal("TERM");
    for (socket, reason) in [(&mut known, "shutting_down"), (&mut unknown, "shutting_down")] {
        assert_eq!(socket.next_within(AT_ONCE), Some(Frame::Close(Some(1001), reason.to_owned())));
        socket.frame(CLOSE, true, &1001_u16.to_be_bytes());
    }
    assert!(house.gateway.ended_within(AT_ONCE).expect("an end").success());
}

#[test]
fn a_shared_secret_is_granted_what_it_declares_and_a_token_of_ones_own_is_narrowed() {
    let house = house(&[]);
    let granted = |token: &str, scopes: &[&str]| {
        let mut socket = house.challenged();
        socket.send(&connect_with(&json!({ "token": token }), scopes));
        answer(&mut socket)["payload"]["auth"]["scopes"].clone()
    };
    assert_eq!(granted(TOKEN, &["operator.admin", "operator.write"]), json!(["operator.admin", "operator.write"]));
    assert_eq!(granted(TOKEN, &[]), json!([]));
    assert_eq!(granted(READER, &["operator.read", "operator.admin"]), json!(["operator.read"]));
    assert_eq!(granted(READER, &[]), json!([]));
    assert_eq!(granted(ADMIN, &["operator.read"]), json!(["operator.read"]));
}

#[test]
fn failed_connects_count_as_failed_bearers_do() {
    let state = State::of_messages(1);
    let limits = json!({ "maxAttempts": 3, "windowMs": 60_000, "lockoutMs": 60_000, "exemptLoopback": false });
    state.file("openclaw.json", &json!({ "gateway": { "auth": { "rateLimit": limits } } }).to_string());
    let house = House::over(state);
    let ask = |auth: &Value| {
        let mut socket = house.challenged();
        socket.send(&connect_with(auth, &["operator.read"]));
        let answer = answer(&mut socket);
        let Frame::Close(Some(1008), _) = socket.next() else { panic!("it is closed") };
        answer["error"].clone()
    };
    // Who shows nothing does not guess.
    for _ in 0..4 {
        assert_eq!(ask(&json!({}))["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    }
    assert_eq!(house.history_by("wrong", "").status, 401);
    for _ in 0..2 {
        assert_eq!(ask(&json!({ "token": "wrong" }))["details"]["code"], "AUTH_TOKEN_MISMATCH");
    }
    let locked = ask(&json!({ "token": TOKEN }));
    assert_eq!((&locked["details"]["code"], &locked["retryable"]), (&json!("AUTH_RATE_LIMITED"), &json!(true)));
    let after = locked["retryAfterMs"].as_u64().expect("a number");
    assert!((30_000..=60_000).contains(&after), "{after}");
    assert_eq!(house.history("").status, 429);
}

#[test]
fn the_audit_log_has_who_came_and_went_and_each_refusal_once() {
    let state = State::of_messages(1);
    let log = state.path().join("audit");
    let gateway = start(&state, &["--audit-log", log.to_str().expect("a name")]).run();
    let house = House { state, gateway };
    let mut wrong = house.challenged();
    wrong.send(&connect("wrong-secret"));
    answer(&mut wrong);
    let headers = [("Origin", "http://evil.example")];
    let Handshake::Socket(mut page) = Socket::shake_hands(house.gateway.address, "/", &headers).expect("an answer")
    else {
        panic!("no socket")
    };
    page.next();
    page.send(&connect(TOKEN));
    answer(&mut page);
    let mut socket = house.socket(READER);
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    closes(&mut socket, 1008, "revoked");
    let start = Instant::now();
    let lines = loop {
        let text = fs::read_to_string(&log).expect("a log");
        assert!(!text.contains("secret"), "{text}");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        if lines.len() >= 5 {
            break lines;
        }
        assert!(start.elapsed() < AT_ONCE, "{text}");
    };
    let said = |name: &str| -> Vec<&Value> { lines.iter().map(|line| &line[name]).collect() };
    // What is revoked is noted beside the end that comes of it, before or after it.
    let mut events = said("event");
    events[3..].sort_by_key(|event| event.as_str());
    assert_eq!(events, ["refused", "refused", "opened", "ended", "revoked"]);
    assert_eq!(said("reason")[..2], [&json!("rejected"), &json!("origin")]);
    assert_eq!((said("request")[0], said("label")[2]), (&json!("GET /"), &json!("websocket gateway-client")));
    let ended = lines.iter().find(|line| line["event"] == "ended").expect("an end");
    assert_eq!((&ended["reason"], &ended["stream"]), (&json!("revoked"), &lines[2]["stream"]));
}

#[test]
fn more_sessions_requests_and_bytes_than_may_be_are_refused_and_the_rest_goes_on() {
    let house = house(&[]);
    let mut socket = house.socket(TOKEN);
    for number in 0..64 {
        subscribe(&mut socket, &format!("agent:main:s{number}"));
    }
    socket.send(&request("sessions.messages.subscribe", &json!({ "key": "one-more" })));
    let busy = answer(&mut socket);
    assert_eq!((&busy["error"]["code"], &busy["error"]["retryable"]), (&json!("UNAVAILABLE"), &json!(true)));
    for number in [7, 8] {
        socket.send(&request("sessions.messages.unsubscribe", &json!({ "key": format!("s{number}") })));
        answer(&mut socket);
    }
    subscribe(&mut socket, "agent:main:one-more");

    // Each is answered, in its order or with a refusal.
    const MANY: usize = 300;
    for _ in 0..MANY {
        socket.send(&request("chat.history", &json!({ "sessionKey": SESSION })));
    }
    let answers: Vec<Value> = (0..MANY).map(|_| answer(&mut socket)).collect();
    assert!(answers.iter().any(|answer| answer["ok"] == true));
    for refused in answers.iter().filter(|answer| answer["ok"] == false) {
        assert_eq!(refused["error"]["code"], "UNAVAILABLE");
    }
    subscribe(&mut socket, SESSION);

    socket.send(&"x".repeat(64 * 1024 + 1));
    let closed = socket.next();
    assert_eq!(closed, Frame::Close(Some(1009), "a message is too long".to_owned()));
    house.come_to(0);
}

#[test]
fn who_does_not_read_is_let_go() {
    let state = State::holding(&(1..=400).map(long).collect::<String>());
    let gateway = start(&state, &["--write-timeout", "1s"]).run();
    let house = House { state, gateway };
    let mut socket = house.socket(TOKEN);
    for _ in 0..16 {
        socket.send(&request("chat.history", &json!({ "sessionKey": SESSION, "limit": 1000 })));
    }
    house.come_to(1);
    let start = Instant::now();
    while !house.streams().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20), "it is still there");
        sleep(Duration::from_millis(50));
    }
    // The others are served meanwhile and after it.
    assert_eq!(house.history("?limit=1").status, 200);
    drop(socket);
}

/// A message of 8 kB.
fn long(number: usize) -> String {
    let message = json!({ "role": "user", "content": "x".repeat(8000) });
    format!("{}\n", json!({ "type": "message", "id": format!("m{number}"), "message": message }))
}

#[test]
fn a_socket_is_one_of_the_streams_that_a_client_may_have() {
    let house = house(&["--max-streams-per-client", "2"]);
    let first = house.socket(READER);
    let (_stream, _) = house.stream_by(READER, "");
    let mut third = house.challenged();
    third.send(&connect(READER));
    let refused = answer(&mut third)["error"].clone();
    assert_eq!((&refused["code"], &refused["retryAfterMs"]), (&json!("UNAVAILABLE"), &json!(10_000)));
    closes(&mut third, 1013, "As many streams are open as may be.");
    drop(first);
    house.come_to(1);
    house.socket(READER);
}

#[test]
fn a_socket_is_one_of_the_connections_that_may_be_open() {
    let house = house(&["--max-connections", "2"]);
    let sockets = [house.socket(TOKEN), house.socket(TOKEN)];
    let (asked, address) = (Request::new("GET", "/health"), house.gateway.address);
    let waiting = TcpStream::connect(address).expect("it waits");
    waiting.set_read_timeout(Some(QUIET)).expect("a time");
    std::io::Write::write_all(&mut &waiting, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("room");
    assert!(std::io::Read::read(&mut &waiting, &mut [0; 64]).is_err(), "there is no place for it");
    drop(sockets);
    assert_eq!(asked.send(address).expect("an answer").status, 200);
}

#[test]
fn a_stranger_that_does_not_say_who_it_is_gives_its_place_to_the_next() {
    let house = house(&["--max-connections", "2"]);
    let mut known = house.socket(TOKEN);
    let mut stranger = house.challenged();
    for _ in 0..2 {
        let asked = Instant::now();
        assert_eq!(Request::new("GET", "/health").send(house.gateway.address).expect("an answer").status, 200);
        assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
    }
    while stranger.next() != Frame::End {}
    subscribe(&mut known, SESSION);
}

#[test]
fn who_does_not_answer_the_close_frame_has_its_place_until_it_is_let_go() {
    let house = house(&["--max-connections", "1"]);
    let mut stranger = house.challenged();
    stranger.send("no JSON");
    assert_eq!(stranger.next(), Frame::Close(Some(1000), String::new()));
    let waiting = TcpStream::connect(house.gateway.address).expect("it waits");
    waiting.set_read_timeout(Some(QUIET)).expect("a time");
    std::io::Write::write_all(&mut &waiting, b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        .expect("room");
    assert!(std::io::Read::read(&mut &waiting, &mut [0; 64]).is_err(), "the first connection is open still");
    drop(stranger);
    waiting.set_read_timeout(Some(AT_ONCE)).expect("a time");
    assert!(std::io::Read::read(&mut &waiting, &mut [0; 64]).expect("an answer") > 0);
}

#[test]
fn a_refusal_that_is_no_layers_is_in_the_audit_log_too() {
    let state = State::of_messages(1);
    let log = state.path().join("audit");
    let gateway = start(&state, &["--audit-log", log.to_str().expect("a name")]).run();
    let house = House { state, gateway };
    let mut socket = house.challenged();
    socket.send(&connect_with(&json!({ "token": TOKEN }), &[]));
    assert_eq!(answer(&mut socket)["ok"], true);
    for method in ["chat.history", "config.set"] {
        socket.send(&request(method, &json!({ "sessionKey": SESSION })));
        assert_eq!(answer(&mut socket)["error"]["code"], "FORBIDDEN");
    }
    let mut node = house.challenged();
    let mut params: Value = serde_json::from_str(&connect(TOKEN)).expect("JSON");
    params["params"]["role"] = "node".into();
    node.send(&params.to_string());
    assert_eq!(answer(&mut node)["error"]["details"]["code"], "DEVICE_IDENTITY_REQUIRED");
    let mut unsendable = house.challenged();
    unsendable.send(&connect("\u{65e5}"));
    assert_eq!(answer(&mut unsendable)["ok"], false);
    let start = Instant::now();
    let refused = loop {
        let text = fs::read_to_string(&log).expect("a log");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let refused: Vec<_> = lines.filter(|line| line["event"] == "refused").collect();
        if refused.len() >= 4 {
            break refused;
        }
        assert!(start.elapsed() < AT_ONCE, "{text}");
    };
    let said: Vec<_> = refused.iter().map(|line| (line["reason"].clone(), line["caller"]["method"].clone())).collect();
    let secret = json!("shared-secret");
    assert_eq!(
        said,
        [
            (json!("insufficient_scope"), secret.clone()),
            (json!("insufficient_scope"), secret.clone()),
            (json!("no_device"), secret),
            (json!("rejected"), Value::Null),
        ]
    );
}

#[test]
fn a_request_may_come_in_parts_or_as_binary_to_any_path_and_the_first_subprotocol_is_chosen() {
    let house = house(&[]);
    let headers = [("Sec-WebSocket-Protocol", "zeta, alpha")];
    let path = "/sessions/x/history?a=b";
    let Handshake::Socket(mut socket) = Socket::shake_hands(house.gateway.address, path, &headers).expect("an answer")
    else {
        panic!("no socket")
    };
    assert_eq!(socket.protocol.as_deref(), Some("zeta"));
    socket.next();
    let connect = connect(TOKEN);
    let (first, rest) = connect.split_at(40);
    socket.send_in_parts(&[first, &rest[..1], &rest[1..]]);
    assert_eq!(answer(&mut socket)["ok"], true);
    let history = request("chat.history", &json!({ "sessionKey": SESSION }));
    socket.frame(BINARY, true, history.as_bytes());
    assert_eq!(answer(&mut socket)["payload"]["totalMessages"], 1);
}

#[test]
fn a_handshake_that_is_none_is_refused_and_routes_are_as_they_were() {
    let house = house(&[]);
    let upgrade = |request: Request| request.header("Upgrade", "websocket").header("Connection", "upgrade");
    // No key, another version, another method.
    let none = upgrade(Request::new("GET", "/"));
    assert_eq!(house.send(none.clone().header("Sec-WebSocket-Version", "13")).status, 400);
    let key = none.header("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    assert_eq!(house.send(key.header("Sec-WebSocket-Version", "8")).status, 400);
    assert_eq!(house.send(upgrade(Request::new("POST", "/health"))).status, 405);
    let other = Request::new("GET", "/health").header("Upgrade", "h2c").header("Connection", "upgrade");
    assert_eq!(house.send(other).status, 200);
}

#[test]
fn with_auth_none_a_page_of_another_origin_gets_no_socket_and_a_program_has_what_it_declares() {
    let state = State::of_messages(1);
    let house = House::with(state, ["--auth", "none"]);
    let open = |headers: &[(&str, &str)]| match Socket::shake_hands(house.gateway.address, "/", headers) {
        Ok(Handshake::Socket(mut socket)) => {
            socket.next();
            socket.send(&connect_with(&json!({}), &["operator.read"]));
            Ok(answer(&mut socket))
        }
        Ok(Handshake::Refused(answer)) => Err(answer[9..12].to_owned()),
        Err(error) => panic!("{error}"),
    };
    let auth = json!({ "method": "none", "role": "operator", "scopes": ["operator.read"] });
    assert_eq!(open(&[]).expect("a socket")["payload"]["auth"], auth);
    assert_eq!(open(&[("Origin", "http://localhost:1")]).expect("a socket")["payload"]["auth"], auth);
    let evil = open(&[("Origin", "http://evil.example")]).expect("a socket");
    assert_eq!(evil["error"]["details"]["code"], "CONTROL_UI_ORIGIN_NOT_ALLOWED");
    // A page that has its own name point at this machine.
    assert_eq!(open(&[("Host", "evil.example"), ("Origin", "http://evil.example")]), Err("421".to_owned()));
}
