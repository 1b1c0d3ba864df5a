//! What is said over a socket is what OpenClaw says, for the database of `sample-database/`.
//!
//! Of its answers these have but what is served here too: of `hello-ok` the protocol and the `auth`, of a page the
//! messages and where it lies. An event other than the challenge is not among them. The codes of a `Close` for what is no
//! WebSocket (RFC 6455 section 7.4.1) are compared without their reasons, which OpenClaw leaves empty.

use std::{net::SocketAddr, thread, time::Duration};

use base64::{Engine, prelude::BASE64_STANDARD};

use super::{
    compare,
    pack::{objects, text},
    sample_database::{decompressed, over_sample_database},
};
use crate::{
    client::{
        PATIENCE,
        socket::{BINARY, CLOSE, Frame, Handshake, PING, Socket, TEXT},
    },
    json::{Fields as _, Object, Value, parse},
};

/// How long nothing is to come where nothing comes.
const QUIET: Duration = Duration::from_millis(150);

#[test]
fn what_is_said_over_a_socket_is_what_openclaw_says() {
    let (house, sources) = over_sample_database(|_| {});
    let recorded = String::from_utf8(decompressed("../sample-sockets/exchanges.jsonl.zst")).expect("text");
    let lines: Vec<&str> = recorded.lines().collect();
    let replay = |line: &&str| {
        let Some(Value::Object(exchange)) = parse(line.as_bytes()) else { panic!("an exchange") };
        let replayed = Exchange { address: house.address, sources: &sources, recorded: &exchange }.replay();
        replayed.err().map(|difference| format!("{}: {difference}", text(&exchange, "name")))
    };
    // Some at a time: of each it is waited whether more comes.
    let complaints: Vec<String> = thread::scope(|scope| {
        let some = |lines: &[&str]| lines.iter().filter_map(replay).collect::<Vec<_>>();
        let replays: Vec<_> = lines.chunks(lines.len() / 12).map(|lines| scope.spawn(move || some(lines))).collect();
        replays.into_iter().flat_map(|replay| replay.join().expect("a replay")).collect()
    });
    house.close();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(lines.len() > 300, "there are many");
}

struct Exchange<'a> {
    address: SocketAddr,
    /// By what name the generation of each session is known.
    sources: &'a [(String, String)],
    recorded: &'a Object,
}

impl Exchange<'_> {
    fn replay(&self) -> Result<(), String> {
        let none = Object::new();
        let headers = self.recorded.object("headers").unwrap_or(&none);
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str().expect("text"))).collect();
        let path = self.recorded.text("path").unwrap_or("/");
        let shaken = Socket::shake_hands(self.address, path, &headers).map_err(|error| error.to_string())?;
        let mut hears = objects(self.recorded, "hears");
        let mut socket = match shaken {
            Handshake::Socket(socket) => socket,
            Handshake::Refused(answer) => return refused(hears.next().ok_or("a socket was expected")?, &answer),
        };
        if self.recorded.text("protocol") != socket.protocol.as_deref() {
            return Err(format!("the subprotocol {:?} was chosen", socket.protocol));
        }
        for said in self.recorded.array("says").ok_or("nothing is said")? {
            say(&mut socket, said);
        }
        for heard in hears {
            let next = socket.next_within(PATIENCE).ok_or_else(|| format!("nothing came, but {heard:?} was to"))?;
            self.same(heard, &next)?;
            if let Frame::Close(..) = next {
                return Ok(());
            }
        }
        match socket.next_within(QUIET) {
            None => Ok(()),
            Some(more) => Err(format!("{more:?} was not expected")),
        }
    }

    fn same(&self, expected: &Object, got: &Frame) -> Result<(), String> {
        match got {
            Frame::Text(got) => {
                let Some(Value::Object(mut got)) = parse(got.as_bytes()) else { return Err(format!("no JSON: {got}")) };
                tidy(&mut got, expected);
                // One of them is the source of this session.
                let expected = String::from_utf8(crate::json::Write::to_json(expected)).expect("JSON is text");
                let mut difference = String::new();
                for source in self.sources.iter().map(|(_, source)| source.as_str()) {
                    let expected = parse(expected.replace("<source>", source).as_bytes()).expect("JSON");
                    match compare::value(&expected, &got.clone().into()) {
                        Ok(()) => return Ok(()),
                        Err(found) => difference = found,
                    }
                }
                Err(difference)
            }
            Frame::Close(code, reason) => {
                let is_alike = expected.number("close") == code.map(f64::from);
                let is_of_the_protocol =
                    matches!(code, Some(1002 | 1007 | 1009)) && expected.text("reason") == Some("");
                let says_the_same = is_of_the_protocol || expected.text("reason") == Some(reason);
                if is_alike && says_the_same { Ok(()) } else { Err(format!("expected {expected:?}, got {got:?}")) }
            }
            Frame::Pong(payload) if expected.text("pong").map(str::as_bytes) == Some(payload) => Ok(()),
            Frame::Pong(_) | Frame::End => Err(format!("expected {expected:?}, got {got:?}")),
        }
    }
}

/// Says what was said: text as it stands, or a frame that says what it is.
fn say(socket: &mut Socket, said: &Value) {
    let said = match said {
        Value::String(text) => return socket.send(text),
        Value::Object(said) => said,
        _ => panic!("what is said is text or an object"),
    };
    let kind = if said.contains_key("binary") { BINARY } else { TEXT };
    if let Some(text) = said.text("text").or(said.text("binary")) {
        socket.frame(kind, true, text.as_bytes());
    } else if let Some(bytes) = said.text("base64") {
        socket.frame(kind, true, &BASE64_STANDARD.decode(bytes).expect("base64"));
    } else if let Some(parts) = said.array("parts") {
        socket.send_in_parts(&parts.iter().map(|part| part.as_str().expect("text")).collect::<Vec<_>>());
    } else if let Some(ping) = said.text("ping") {
        socket.frame(PING, true, ping.as_bytes());
    } else if let Some(code) = said.number("close") {
        socket.frame(CLOSE, true, &(code as u16).to_be_bytes());
    }
}

/// Leaves of an answer what was recorded of it, and of an event its name.
fn tidy(got: &mut Object, expected: &Object) {
    if got.says("type", "event") {
        got.remove("payload");
    }
    let none = Object::new();
    let recorded = expected.object("payload").unwrap_or(&none);
    if let Some(Value::Object(payload)) = got.get_mut("payload") {
        payload.retain(|name, _| recorded.contains_key(name) || NEVER_LEFT_OUT.contains(&name.as_str()));
        if let Some(Value::Array(scopes)) = payload.get_mut("auth").and_then(|auth| auth.get_mut("scopes")) {
            scopes.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
        }
    }
}

/// What an answer has if OpenClaw's has it, and only then.
const NEVER_LEFT_OUT: [&str; 7] = ["messages", "hasMore", "nextOffset", "offset", "sessionId", "kind", "subscribed"];

/// A handshake that was answered otherwise.
fn refused(expected: &Object, answer: &str) -> Result<(), String> {
    let status = expected.number("status").ok_or_else(|| format!("a socket was expected: {answer}"))?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let json = parse(body.as_bytes()).ok_or_else(|| format!("no JSON: {answer}"))?;
    if !answer.starts_with(&format!("HTTP/1.1 {status} ")) {
        return Err(format!("expected {status}: {answer}"));
    }
    compare::value(expected.get("json").ok_or("no body was recorded")?, &json)
}
