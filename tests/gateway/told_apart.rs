//! One who is not let in learns nothing by the answer: not which sessions and streams there are, not how much of a token
//! is right, not whether one is good while the client is locked out. Who shows a token that was good learns that it is
//! over (RFC 6750 section 3.1), and nothing else.

use serde_json::{Value, json};

use crate::{
    client::Request,
    house::{House, TOKEN},
    operators::{ADMIN, READER, TOKENS, start},
    state::{SESSION, State},
};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
const EXPIRED: &str = "secret-that-has-expired";
const REVOKED: &str = READER;

/// A gateway with every route that it can have, a token that has expired and one that is revoked, and a stream.
fn house() -> House {
    let state = State::of_messages(1);
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.1'] } }");
    let mut flags = vec!["--audit-log", "/dev/null"];
    if cfg!(feature = "upstream") {
        flags.extend(["--upstream", "http://127.0.0.1:9"]);
    }
    if cfg!(feature = "metrics") {
        flags.extend(["--metrics", "admin"]);
    }
    let gateway = start(&state, &flags);
    let old = format!(
        "[[token]]\nid = \"old\"\nsecret = \"{EXPIRED}\"\nscopes = [\"operator.admin\"]\nexpires_at = \"2020-01-01T00:00:00Z\"\n"
    );
    state.file("tokens.toml", &(TOKENS.to_owned() + &old));
    let house = House { gateway: gateway.run(), state };
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    house
}

/// The methods and paths that are not open to all, as the gateway describes them.
fn guarded(house: &House) -> Vec<(String, String)> {
    let described = house.send(Request::new("GET", "/openapi.json")).text();
    let described: Value = serde_json::from_str(&described).expect("JSON");
    let paths = described["paths"].as_object().expect("paths").iter();
    let operations = paths.flat_map(|(path, operations)| {
        let operations = operations.as_object().expect("operations").iter();
        operations.map(move |(method, operation)| (method.to_ascii_uppercase(), path.clone(), operation))
    });
    let is_guarded = |security: &Value| security.as_array().is_some_and(|schemes| !schemes.is_empty());
    let guarded = operations.filter(|(_, _, operation)| is_guarded(&operation["security"]));
    guarded.map(|(method, path, _)| (method, path)).collect()
}

/// All that a client sees of an answer, but for when it was given: the status, the headers, the body.
type Seen = (u16, Vec<(String, String)>, String);

fn seen(house: &House, request: Request) -> Seen {
    let response = house.send(request);
    let mut headers: Vec<_> = response.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    headers.retain(|(name, _)| name != "date");
    // How long a lockout still lasts is of the client, whatever it shows.
    headers.iter_mut().filter(|(name, _)| name == "retry-after").for_each(|(_, value)| *value = "soon".to_owned());
    headers.sort();
    (response.status, headers, response.text())
}

fn bearing(request: Request, token: &str) -> Request {
    request.header("Authorization", &format!("Bearer {token}"))
}

/// What a path may name: what is there, and what is not.
fn targets(path: &str, stream: &str) -> Vec<String> {
    let keys = [SESSION, "main", "agent:main:no-such-session", "agent:nobody:x", "..%2f..%2fetc", "%00"];
    let ids = [stream, "0000000000000001", "ffffffffffffffff"];
    let of_keys = path.contains("{key}").then(|| keys.map(|key| path.replace("{key}", key)).to_vec());
    let of_ids = path.contains("{id}").then(|| ids.map(|id| path.replace("{id}", id)).to_vec());
    let mut targets = of_keys.or(of_ids).unwrap_or_else(|| vec![path.to_owned()]);
    let with_queries = targets.clone();
    targets.extend(with_queries.iter().map(|target| format!("{target}?limit=1&cursor=abc&scopes&resume")));
    targets
}

/// Each guarded route, whatever it names, however it is asked.
fn asked(house: &House, stream: &str) -> Vec<Request> {
    let mut asked = Vec::new();
    for (method, path) in guarded(house) {
        for target in targets(&path, stream) {
            let request = Request::new(&method, &target);
            asked.push(request.clone());
            asked.push(request.clone().header("Accept", "text/event-stream").header("Last-Event-ID", "1-1"));
            if method != "HEAD" {
                asked.push(request.header("Content-Type", "application/json").body(r#"{"all":true}"#));
            }
        }
    }
    asked
}

#[test]
fn whoever_is_not_let_in_gets_one_answer_whatever_is_asked_for() {
    let house = house();
    let (stream, _) = house.stream("");
    let requests = asked(&house, stream.id());
    assert!(requests.len() > 50, "{}", requests.len());
    let bad = [
        "wrong",
        &EXPIRED[1..],
        &format!("{REVOKED}x"),
        &TOKEN[..TOKEN.len() - 1],
        &format!("{TOKEN}5"),
        &TOKEN.to_uppercase(),
        &"x".repeat(4000),
    ];
    let unknown = seen(&house, bearing(Request::new("GET", "/sessions"), "wrong"));
    assert_eq!(unknown.0, 401);
    let missing = seen(&house, Request::new("GET", "/sessions"));
    let without_challenge = |(status, headers, body): &Seen| {
        let rest = headers.iter().filter(|(name, _)| name != "www-authenticate").cloned().collect::<Vec<_>>();
        (*status, rest, body.clone())
    };
    // RFC 6750 section 3.1: what showed no token is not told that it was wrong.
    assert_eq!(without_challenge(&missing), without_challenge(&unknown));
    for request in requests {
        let expected = |answer: &Seen| match request.method() {
            "HEAD" => (answer.0, answer.1.clone(), String::new()),
            _ => answer.clone(),
        };
        assert_eq!(seen(&house, request.clone()), expected(&missing), "{request:?}");
        assert_eq!(seen(&house, bearing(request.clone(), bad[0])), expected(&unknown), "{request:?}");
    }
    for token in bad {
        for target in ["/sessions", &format!("/sessions/{SESSION}/history"), "/streams", "/revocations"] {
            assert_eq!(seen(&house, bearing(Request::new("GET", target), token)), unknown, "{token} at {target}");
        }
    }
    for token in [EXPIRED, REVOKED] {
        let over = seen(&house, bearing(Request::new("GET", "/sessions"), token));
        assert_eq!(without_challenge(&over), without_challenge(&unknown), "{token}");
        for target in [format!("/sessions/{SESSION}/history"), "/sessions/no/history".to_owned(), "/streams".to_owned()]
        {
            assert_eq!(seen(&house, bearing(Request::new("GET", &target), token)), over, "{token} at {target}");
        }
    }
}

#[test]
fn what_method_a_route_has_is_the_same_for_all() {
    let house = house();
    let (stream, _) = house.stream("");
    for (_, path) in guarded(&house) {
        for method in METHODS {
            let of = |target: &str, token: &str| seen(&house, bearing(Request::new(method, target), token));
            let [first, rest @ ..] = &targets(&path, stream.id())[..] else { panic!("no target of {path}") };
            let answer = of(first, "wrong");
            assert!([401, 405].contains(&answer.0), "{method} {path}: {answer:?}");
            for target in rest {
                assert_eq!(of(target, "wrong"), answer, "{method} {target}");
            }
            if answer.0 == 405 {
                assert_eq!(of(first, ADMIN), answer, "{method} {path}");
            }
        }
    }
}

#[test]
fn one_who_is_locked_out_does_not_learn_which_token_is_good() {
    let house = house();
    let (stream, _) = house.stream("");
    let proxied = |request: Request| request.header("X-Forwarded-For", "203.0.113.9");
    for n in 0..10 {
        let request = bearing(Request::new("GET", "/sessions"), &format!("guess-{n}"));
        assert_eq!(house.send(proxied(request)).status, 401);
    }
    let locked = seen(&house, proxied(bearing(Request::new("GET", "/sessions"), "wrong")));
    assert_eq!(locked.0, 429);
    for request in asked(&house, stream.id()) {
        let expected = match request.method() {
            "HEAD" => (locked.0, locked.1.clone(), String::new()),
            _ => locked.clone(),
        };
        for token in [ADMIN, "wrong"] {
            assert_eq!(seen(&house, proxied(bearing(request.clone(), token))), expected, "{token}: {request:?}");
        }
    }
    for token in [TOKEN, EXPIRED, REVOKED] {
        let request = bearing(Request::new("GET", &format!("/sessions/{SESSION}/history")), token);
        assert_eq!(seen(&house, proxied(request)), locked, "{token}");
    }
    // Nobody else is.
    assert_eq!(house.history("").status, 200);
}

/// What a socket says to who shows this in `connect`, and asks for a session before.
#[cfg(feature = "websocket")]
fn told(house: &House, token: &str, key: &str) -> Vec<crate::client::socket::Frame> {
    use crate::client::socket::{Frame, Socket};

    let mut socket = Socket::open(house.gateway.address);
    socket.next();
    let client = json!({ "id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend" });
    let connect = json!({
        "minProtocol": 4, "maxProtocol": 4, "client": client, "scopes": ["operator.read"], "auth": { "token": token },
    });
    let first = if key.is_empty() { ("connect", connect) } else { ("chat.history", json!({ "sessionKey": key })) };
    socket.send(&json!({ "type": "req", "id": "1", "method": first.0, "params": first.1 }).to_string());
    let mut told = Vec::new();
    while let Some(frame) = socket.next_within(crate::house::AT_ONCE) {
        let is_last = matches!(frame, Frame::Close(..) | Frame::End);
        told.push(frame);
        if is_last {
            break;
        }
    }
    told
}

#[cfg(feature = "websocket")]
#[test]
fn whoever_a_socket_does_not_let_in_is_told_the_same() {
    let house = house();
    let wrong = told(&house, "wrong", "");
    assert_eq!(wrong.len(), 2, "a refusal and a close: {wrong:?}");
    for token in [EXPIRED, REVOKED, &EXPIRED[1..], &TOKEN[..TOKEN.len() - 1], &TOKEN.to_uppercase()] {
        assert_eq!(told(&house, token, ""), wrong, "{token}");
    }
    let first = told(&house, "", SESSION);
    assert!(!first.is_empty());
    for key in ["main", "agent:nobody:x"] {
        assert_eq!(told(&house, "", key), first, "{key}");
    }
}
