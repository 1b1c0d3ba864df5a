//! What a client writes is no line, no header and no command to a terminal in what the gateway writes.

use std::{collections::BTreeSet, fs, thread::sleep, time::Duration};

use serde_json::Value;

use crate::{
    client::Request,
    house::{House, TOKEN},
    operators::{self, ADMIN},
    process::Start,
    state::{SESSION, State},
};

/// What a log, a terminal, an editor or a header could take for more than text.
const HOSTILE: [&str; 8] = [
    "\r\nX-Forged: 1\r\n\r\n",
    "\n2026-01-01T00:00:00.000000Z ERROR gateway: forged",
    "\x1b[2K\x1b[1A forged",
    "\u{9b}2J forged",
    "\u{85}forged",
    "\u{2028}forged\u{2029}",
    "\u{202e}degrof\u{2066}\u{200f}",
    "\"}\n{\"at\":\"2026-01-01T00:00:00Z\",\"event\":\"forged\"}",
];

/// One byte of UTF-8 for each character, as the client sends it.
fn raw(text: &str) -> String {
    text.bytes().map(char::from).collect()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// The same without what no HTTP/1.1 head can hold, for it would be another head.
fn in_a_line(text: &str) -> String {
    raw(text).replace(['\r', '\n', '\x1b'], "")
}

/// Neither a control character, but for the end of a line, nor one that changes the order of those beside it.
#[track_caller]
fn assert_plain(text: &str, what: &str) {
    let is_obeyed = |char: char| {
        char.is_control() && char != '\n'
            || matches!(char, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let found: Vec<_> = text.lines().filter(|line| line.contains(is_obeyed)).collect();
    assert!(found.is_empty(), "{what}: {found:?}");
}

/// Asks in every way in which one can say something, by a client that is known and by one that is not.
fn drive(house: &House) {
    for text in HOSTILE {
        let (in_a_line, encoded, in_a_target) =
            (in_a_line(text), encoded(text), in_a_line(text).replace([' ', '"'], "_"));
        for token in [ADMIN, "wrong", &in_a_line] {
            for target in [
                format!("/sessions/{encoded}/history"),
                format!("/sessions/{in_a_target}/history"),
                format!("/sessions/{SESSION}/history?limit={encoded}&cursor={in_a_target}"),
                format!("/__openclaw__/cap/{in_a_target}/sessions/{encoded}/history"),
                format!("/streams/{encoded}/renew"),
                format!("/{in_a_target}/{encoded}"),
                format!("http://{in_a_target}/sessions/{encoded}/history"),
            ] {
                for method in ["GET", "POST", "DELETE"] {
                    answered(house, Request::new(method, &target).header("Authorization", &format!("Bearer {token}")));
                }
            }
            for name in HEADERS {
                let request = Request::new("GET", &format!("/sessions/{SESSION}/history"));
                let request = request.header("Authorization", &format!("Bearer {token}"));
                answered(house, request.header(name, &in_a_line));
            }
            let body = serde_json::json!({ "credential": text, "subject": text, "session": text }).to_string();
            let revocation = Request::new("POST", "/revocations").header("Authorization", &format!("Bearer {token}"));
            answered(house, revocation.clone().body(&serde_json::json!({ "credential": text }).to_string()));
            answered(house, revocation.body(&body));
        }
    }
}

const HEADERS: [&str; 16] = [
    "Accept",
    "Content-Type",
    "Cookie",
    "Forwarded",
    "Host",
    "If-None-Match",
    "Last-Event-ID",
    "Origin",
    "Referer",
    "Sec-WebSocket-Protocol",
    "traceparent",
    "User-Agent",
    "X-Forwarded-For",
    "X-OpenClaw-Scopes",
    "X-Real-IP",
    "X-Request-Id",
];

/// Whatever the answer is, its head is the gateway's, and so is each line of what it says.
fn answered(house: &House, request: Request) {
    // A head that is no HTTP is answered by nothing but the end of the connection.
    let Ok(response) = request.clone().send(house.gateway.address) else { return };
    for (name, value) in response.headers() {
        assert!(!name.contains("forged") && !value.contains("orged"), "{name}: {value} to {request:?}");
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}: {value:?} to {request:?}");
    }
    let is_json = response.header("content-type").is_some_and(|kind| kind.starts_with("application/json"));
    let body = response.text();
    if is_json {
        assert!(!body.contains('\n') && serde_json::from_str::<Value>(&body).is_ok(), "{body}");
    } else {
        assert!(!body.contains("orged"), "{body} to {request:?}");
    }
}

/// A socket's client, too, says what it is.
#[cfg(feature = "websocket")]
fn talk(house: &House) {
    use crate::client::socket::{Frame, Socket};

    for text in HOSTILE {
        for token in [ADMIN, "wrong"] {
            let mut socket = Socket::open(house.gateway.address);
            socket.next();
            let client = serde_json::json!({
                "id": "gateway-client", "version": text, "platform": text, "mode": "backend", "displayName": text,
            });
            for params in [
                serde_json::json!({
                    "minProtocol": 4, "maxProtocol": 4, "client": client, "scopes": ["operator.read", text],
                    "auth": { "token": token }, "userAgent": text, "locale": text,
                }),
                serde_json::json!({ "key": text, "sessionKey": text, text: text }),
            ] {
                for method in ["connect", "chat.history", "sessions.messages.subscribe", text] {
                    let request = serde_json::json!({ "type": "req", "id": text, "method": method, "params": params });
                    socket.send(&request.to_string());
                }
            }
            while let Some(frame) = socket.next_within(Duration::from_millis(100)) {
                match frame {
                    Frame::Text(said) => {
                        assert!(serde_json::from_str::<Value>(&said).is_ok() && !said.contains('\n'), "{said}");
                    }
                    Frame::Close(_, reason) => assert!(!reason.contains("orged"), "{reason}"),
                    Frame::Pong(_) => {}
                    Frame::End => break,
                }
            }
        }
    }
}

fn house(format: &str) -> House {
    let state = State::of_messages(1);
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['192.0.2.1'] } }");
    let audit = state.path().join("audit");
    let flags = ["--log-format", format, "--audit-log", audit.to_str().expect("a name")];
    let gateway = operators::start(&state, &flags).env("RUST_LOG", "trace").run();
    House { state, gateway }
}

/// All that is logged, once nothing more comes.
fn log(house: &House) -> String {
    loop {
        let before = house.gateway.log();
        sleep(Duration::from_millis(300));
        let after = house.gateway.log();
        if before.len() == after.len() {
            return after;
        }
    }
}

fn check(format: &str) {
    let house = house(format);
    drive(&house);
    #[cfg(feature = "websocket")]
    talk(&house);
    let log = log(&house);
    assert!(log.contains("orged"), "nothing of what was asked is in the log");
    assert_plain(&log, "the log");
    for line in log.lines() {
        if format == "json" {
            let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            assert!(line["level"].is_string() && line["target"].is_string(), "{line}");
        } else {
            let is_event = line.starts_with("20") && line.get(20..).is_some_and(|rest| rest.contains("Z "));
            assert!(is_event && !line.starts_with("2026-01-01T"), "{line}");
        }
    }
    let audit = fs::read_to_string(house.state.path().join("audit")).expect("a log");
    assert!(audit.contains("orged"), "nothing of what was asked is in the audit log");
    assert_plain(&audit, "the audit log");
    let events: BTreeSet<String> = audit
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["event"].as_str().expect("an event").to_owned())
        .collect();
    let known = ["opened", "ended", "refused", "revoked"].map(str::to_owned);
    assert!(events.iter().all(|event| known.contains(event)), "{events:?}");
}

#[test]
fn nobody_writes_a_line_of_a_log_in_text() {
    check("text");
}

#[test]
fn nobody_writes_a_line_of_a_log_in_json() {
    check("json");
}

#[test]
fn the_name_that_a_proxy_gives_a_caller_is_no_line_either() {
    let state = State::of_messages(1);
    let proxy = "mode: 'trusted-proxy', trustedProxy: { userHeader: 'x-user', allowLoopback: true }";
    state.file("openclaw.json", &format!("{{ gateway: {{ trustedProxies: ['127.0.0.1'], auth: {{ {proxy} }} }} }}"));
    let audit = state.path().join("audit");
    for format in ["text", "json"] {
        let flags = ["--log-format", format, "--audit-log", audit.to_str().expect("a name")];
        let gateway = Start::new().arg_state(&state).args(flags).env("RUST_LOG", "trace").run();
        let mut known = 0;
        for text in HOSTILE {
            let request = Request::new("GET", &format!("/sessions/{SESSION}/history"));
            let request = request.header("X-User", &in_a_line(text)).header("X-Forwarded-For", "203.0.113.9");
            let asked = request.header("Accept", "text/event-stream").send(gateway.address).expect("an answer");
            known += usize::from(asked.status == 200);
        }
        assert!(known > 0, "nobody was known");
        let house = House { state: State::seeded(), gateway };
        assert_plain(&log(&house), "the log");
        assert_plain(&fs::read_to_string(&audit).expect("a log"), "the audit log");
    }
}

#[test]
fn the_name_that_a_file_gives_a_token_is_no_line_either() {
    let state = State::of_messages(1);
    let tokens: Vec<_> = HOSTILE
        .iter()
        .enumerate()
        .map(|(n, text)| serde_json::json!({ "id": format!("{n}{text}x"), "secret": format!("secret-{n}"), "subject": format!("{text}x"), "scopes": ["operator.read"] }))
        .collect();
    let file = state.file("tokens.json", &serde_json::json!({ "token": tokens }).to_string());
    let audit = state.path().join("audit");
    for format in ["text", "json"] {
        let paths = ["--tokens", file.to_str().expect("a name"), "--audit-log", audit.to_str().expect("a name")];
        let gateway = Start::new().arg_state(&state).args(["--token", TOKEN, "--log-format", format]).args(paths);
        let house = House { state: State::seeded(), gateway: gateway.env("RUST_LOG", "trace").run() };
        for n in 0..HOSTILE.len() {
            let answer = house.history_by(&format!("secret-{n}"), "");
            assert_eq!(answer.status, 200);
            drop(house.stream_by(&format!("secret-{n}"), ""));
        }
        assert_plain(&log(&house), "the log");
        assert_plain(&fs::read_to_string(&audit).expect("a log"), "the audit log");
    }
    let listed = Start::new().args(["token", "list", "--tokens", file.to_str().expect("a name")]).output();
    assert!(listed.status.success());
    assert_plain(&String::from_utf8_lossy(&listed.stdout), "the list");
    assert_eq!(listed.stdout.iter().filter(|byte| **byte == b'\n').count(), HOSTILE.len() + 1);
}
