//! Each secret of each kind, shown rightly and wrongly at every route: none is in anything that the gateway wrote.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    path::Path,
    slice, thread,
    time::Duration,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    client::Request,
    house::House,
    http2,
    operators::ADMIN,
    process::Start,
    state::{SESSION, State, message},
};

/// What each secret of this file has in it.
const CANARY: &str = "c4narY";

fn secret(of: &str) -> String {
    format!("{CANARY}-of-{of}-{CANARY}")
}

/// Every way in which it could be written that somebody could read it back from.
fn forms(secret: &str) -> Vec<String> {
    let list = format!("{:?}", secret.as_bytes());
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let digest: String = Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect();
    let base64 = BASE64_STANDARD.encode(secret);
    vec![list[1..list.len() - 1].to_owned(), hex, digest, base64.trim_end_matches('=').to_owned()]
}

#[track_caller]
fn assert_nothing_in(text: &str, what: &str, secrets: &[String]) {
    let lower = text.to_lowercase();
    let found: Vec<_> = text.lines().filter(|line| line.to_lowercase().contains(&CANARY.to_lowercase())).collect();
    assert!(found.is_empty(), "{what}: {found:?}");
    for secret in secrets.iter().flat_map(|secret| [secret.clone(), format!("{secret}x")]) {
        for form in forms(&secret) {
            assert!(!text.contains(&form) && !lower.contains(&form), "{what} has a form of {secret}");
        }
    }
}

/// All files below a folder, but for those named, as text.
fn written(folder: &Path, but: &[&Path]) -> Vec<(String, String)> {
    let mut texts = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").map_while(Result::ok) {
        let path = entry.path();
        if path.is_dir() {
            texts.extend(written(&path, but));
        } else if !but.contains(&path.as_path()) {
            let text = String::from_utf8_lossy(&fs::read(&path).expect("a file")).into_owned();
            texts.push((path.display().to_string(), text));
        }
    }
    texts
}

/// A server that answers whatever it is sent with this, made of it, and stays.
fn echo(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        thread::scope(|scope| {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let answer = &answer;
                scope.spawn(move || {
                    let mut piece = [0; 64 * 1024];
                    while let Ok(count @ 1..) = socket.read(&mut piece) {
                        let answer = answer(&String::from_utf8_lossy(&piece[..count]));
                        if socket.write_all(answer.as_bytes()).is_err() {
                            break;
                        }
                    }
                });
            }
        });
    });
    address
}

/// An upstream that says of each request, in its own words, with which key it was asked.
fn upstream() -> SocketAddr {
    echo(|asked| {
        let key = asked.lines().find(|line| line.to_lowercase().starts_with("authorization")).unwrap_or_default();
        let body =
            json!({ "error": { "message": format!("no such key: {key}"), "type": "x", "code": key } }).to_string();
        let status = ["401 No", "400 No", "500 No", "200 OK"][asked.len() % 4];
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nX-Request-Id: {key}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    })
}

/// A Redis that repeats each command in its error, as real ones do with those that they do not know.
fn redis() -> SocketAddr {
    echo(|asked| format!("-ERR unknown command, with args beginning with: {}\r\n", asked.replace("\r\n", " ")))
}

/// Each request that somebody could show a secret in, to each route.
fn drive(house: &House, secrets: &[String]) {
    let described = house.send(Request::new("GET", "/openapi.json")).text();
    let described: Value = serde_json::from_str(&described).expect("JSON");
    for (path, operations) in described["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("operations").keys() {
            for secret in secrets {
                let target = path.replace("{key}", SESSION).replace("{id}", "0000000000000001");
                let basic = BASE64_STANDARD.encode(format!("user:{secret}"));
                let request = |target: &str| Request::new(&method.to_ascii_uppercase(), target);
                for asked in [
                    request(&target).header("Authorization", &format!("Bearer {secret}")),
                    request(&target).header("Authorization", &format!("Bearer {secret}x")),
                    request(&target).header("Authorization", &format!("Bearer {secret} {secret}")),
                    request(&target).header("Authorization", &format!("Basic {basic}")),
                    request(&target).header("Authorization", secret).header("Authorization", secret),
                    request(&target).header("Cookie", &format!("session={secret}")).header("X-Api-Key", secret),
                    request(&target)
                        .header("Referer", &format!("http://a/?token={secret}"))
                        .header("User-Agent", secret),
                    request(&target).header("Sec-WebSocket-Protocol", secret).header("Last-Event-ID", secret),
                    request(&format!("{target}?token={secret}&access_token={secret}&cursor={secret}&limit={secret}")),
                    request(&format!("/__openclaw__/cap/{secret}{target}")),
                    request(&format!("/__openclaw__/cap/{secret}/nothing")),
                    request(&format!("/{secret}")),
                ] {
                    // A stream is read no further than its head.
                    let Ok(answer) = asked.send(house.gateway.address) else { continue };
                    for (name, value) in answer.headers() {
                        assert!(!value.contains(CANARY), "{name}: {value}");
                    }
                }
            }
        }
    }
    for secret in secrets {
        http2::status(house.gateway.address, secret);
        let question = json!({ "model": "m", "messages": [{ "role": "user", "content": "talk" }] }).to_string();
        for path in ["/v1/chat/completions", "/v1/responses", "/revocations"] {
            let request = Request::new("POST", path).header("Authorization", &format!("Bearer {secret}"));
            let _ = request.header("Content-Type", "application/json").body(&question).send(house.gateway.address);
        }
        // Of one that is not good anyway.
        let digest: String = Sha256::digest(format!("{secret}x")).iter().map(|byte| format!("{byte:02x}")).collect();
        let revocation = json!({ "sha256": digest, "until": "2999-01-01T00:00:00Z", "x": secret }).to_string();
        house.revoke_by(secret, &revocation);
    }
}

#[cfg(feature = "websocket")]
fn talk(house: &House, secrets: &[String]) {
    use crate::client::socket::{Frame, Handshake, Socket};

    for secret in secrets {
        for auth in
            [json!({ "token": secret }), json!({ "password": secret }), json!({ "token": format!("{secret}x") })]
        {
            let path = format!("/?token={secret}");
            let protocol = [("Sec-WebSocket-Protocol", secret.as_str()), ("Cookie", secret.as_str())];
            let Ok(Handshake::Socket(mut socket)) = Socket::shake_hands(house.gateway.address, &path, &protocol) else {
                continue;
            };
            let client = json!({ "id": "gateway-client", "version": secret, "platform": secret, "mode": "backend" });
            let params = json!({
                "minProtocol": 4, "maxProtocol": 4, "client": client, "scopes": ["operator.read"], "auth": auth,
            });
            socket.send(&json!({ "type": "req", "id": "1", "method": "connect", "params": params }).to_string());
            let history = json!({ "sessionKey": SESSION });
            socket.send(&json!({ "type": "req", "id": "2", "method": "chat.history", "params": history }).to_string());
            while let Some(frame) = socket.next_within(Duration::from_millis(100)) {
                assert!(!format!("{frame:?}").contains(CANARY), "{frame:?}");
                if frame == Frame::End {
                    break;
                }
            }
        }
    }
}

/// All that this gateway has written, but for the files that it was given.
#[track_caller]
fn check(house: House, given: &[&Path], secrets: &[String]) {
    let metrics = house.send(Request::new("GET", "/metrics")).text();
    assert_nothing_in(&metrics, "the metrics", secrets);
    for target in ["/streams", "/revocations"] {
        // What is revoked is named by its digest, to those who may revoke.
        let told = house.ask("GET", target, ADMIN).text();
        assert!(!told.contains(CANARY), "{target}: {told}");
    }
    let House { state, mut gateway } = house;
    gateway.signal("TERM");
    assert!(gateway.ended_within(Duration::from_secs(20)).is_some());
    let log = gateway.log();
    assert!(log.contains("TRACE") && log.lines().count() > 100, "nothing was logged: {log}");
    assert_nothing_in(&log, "the log", secrets);
    while let Some(line) = gateway.printed() {
        assert_nothing_in(&line, "what it printed", secrets);
    }
    for (file, text) in written(state.path(), given) {
        assert!(!text.contains(CANARY), "{file}");
        // It has to be known by something what is revoked: there it is a digest, for the owner alone.
        if !file.ends_with("revocations.json") {
            assert_nothing_in(&text, &file, secrets);
        }
    }
}

#[test]
fn no_secret_of_a_gateway_is_in_anything_that_it_writes() {
    let state = State::of_messages(3);
    let [shared, client, key, password] = ["the-token-file", "a-client", "the-upstream", "redis"].map(secret);
    let strangers = [secret("a-stranger"), format!("eyJhbGciOiJub25lIn0.{}.{CANARY}", BASE64_STANDARD.encode(CANARY))];
    let admin = json!({ "id": "admin", "secret": ADMIN, "scopes": ["operator.admin"] });
    let token = |secret: &str| json!({ "id": "ci", "secret": secret, "scopes": ["operator.admin", "operator.write"] });
    let token_file = state.file("token", &shared);
    let tokens = state.file("tokens.json", &json!({ "token": [admin, token(&client)] }).to_string());
    let key_file = state.file("key", &key);
    let path = |path: &Path| path.to_str().expect("a name in UTF-8").to_owned();
    let (audit, data) = (state.path().join("audit"), state.path().join("data"));
    let mut flags = vec![
        ["--token-file".to_owned(), path(&token_file)],
        ["--tokens".to_owned(), path(&tokens)],
        ["--audit-log".to_owned(), path(&audit)],
        ["--data-dir".to_owned(), path(&data)],
        ["--log-format".to_owned(), "json".to_owned()],
    ];
    if cfg!(feature = "upstream") {
        flags.push(["--upstream".to_owned(), format!("http://{}", upstream())]);
        flags.push(["--upstream-key-file".to_owned(), path(&key_file)]);
    }
    // Whatever is asked of the crate whose messages have secrets in them, by its name, a span or a field.
    let loudest = "trace,tungstenite::protocol=trace,tungstenite::protocol[{message}]=trace,[request]=trace";
    let gateway = Start::new().arg_state(&state).args(flags.concat()).env("RUST_LOG", loudest).run();
    let house = House { state, gateway };
    let secrets: Vec<String> = [shared.clone(), client.clone(), key, password].into_iter().chain(strangers).collect();

    drive(&house, &secrets);
    #[cfg(feature = "websocket")]
    talk(&house, &secrets);
    let (mut stream, _) = house.stream_by(&client, "");
    house.state.append(&message(4));
    stream.event();
    // Files that are new, and broken where the secret is.
    let rotated = secret("tomorrow");
    house.state.file("token", &rotated);
    house.gateway.has_logged("new settings");
    for broken in [
        format!(r#"{{"token":[{{"id":"ci","secret":"{client}","scopes":5}}]}}"#),
        format!(r#"{{"token":[{{"id":"ci","secret":"{client}"#),
        format!(r#"{{"token":[{{"id":"ci","secret":"{client}"}},{{"id":"b","secret":"{client}"}}]}}"#),
        format!(r#"{{"token":[{{"id":"ci","secret":{client}}}]}}"#),
    ] {
        house.state.file("tokens.json", &broken);
        thread::sleep(Duration::from_millis(200));
    }
    house.gateway.has_logged("the settings stay as they were");
    let given = [token_file.as_path(), &tokens, &key_file];
    let secrets: Vec<String> = secrets.into_iter().chain([rotated]).collect();
    check(house, &given, &secrets);
}

#[test]
fn no_password_is_in_anything_that_a_gateway_writes() {
    let state = State::of_messages(1);
    let password = secret("the-password");
    let admin = json!({ "token": [{ "id": "admin", "secret": ADMIN, "scopes": ["operator.admin"] }] });
    let tokens = state.file("tokens.json", &admin.to_string());
    let config = state
        .file("openclaw.json", &format!("{{ gateway: {{ auth: {{ mode: 'password', password: '{password}' }} }} }}"));
    let audit = state.path().join("audit");
    let flags = ["--tokens".as_ref(), tokens.as_os_str(), "--audit-log".as_ref(), audit.as_os_str()];
    let gateway = Start::new().arg_state(&state).args(flags).env("RUST_LOG", "trace").run();
    let house = House { state, gateway };
    assert_eq!(house.history_by(&password, "").status, 200);
    let secrets = [password.clone(), secret("a-stranger")];
    drive(&house, &secrets);
    #[cfg(feature = "websocket")]
    talk(&house, &secrets);
    for broken in [
        format!("{{ gateway: {{ auth: {{ mode: 'password', password: '{password}"),
        format!("{{ gateway: {{ auth: {{ mode: '{password}' }} }} }}"),
        format!("{{ gateway: {{ auth: {{ mode: 'password', password: ['{password}'] }} }} }}"),
        format!("{{ gateway: {{ auth: {{ mode: 'password', password: {password} }} }} }}"),
    ] {
        house.state.file("openclaw.json", &broken);
        thread::sleep(Duration::from_millis(200));
    }
    house.gateway.has_logged("the settings stay as they were");
    check(house, &[&tokens, &config], &secrets);
}

#[cfg(feature = "edge")]
#[test]
fn neither_the_password_of_redis_nor_the_token_of_an_edge_is_in_anything_that_it_writes() {
    let (password, edge) = (secret("redis"), secret("the-edge"));
    let state = State::of_messages(1);
    let admin = json!({ "token": [{ "id": "admin", "secret": ADMIN, "scopes": ["operator.admin"] }] });
    let tokens = state.file("tokens.json", &admin.to_string());
    let edge_file = state.file("edge", &edge);
    let origin = upstream();
    let flags = ["--tokens".as_ref(), tokens.as_os_str(), "--edge-token-file".as_ref(), edge_file.as_os_str()];
    let gateway = Start::new()
        .env("HOME", state.path().join("home"))
        .args(flags)
        .args([
            "--edge",
            &format!("http://{origin}"),
            "--data-dir",
            state.path().join("data").to_str().expect("a name"),
        ])
        .env("OPENCLAW_GATEWAY_REDIS", format!("redis://user:{password}@{}", redis()))
        .env("RUST_LOG", "trace")
        .run();
    let house = House { state, gateway };
    let ready = house.send(Request::new("GET", "/ready"));
    assert_eq!(ready.status, 503);
    let secrets = [password, edge];
    drive(&house, &secrets);
    // So that what is tried again is tried again.
    thread::sleep(Duration::from_secs(2));
    let House { state, mut gateway } = house;
    gateway.signal("TERM");
    assert!(gateway.ended_within(Duration::from_secs(20)).is_some());
    assert!(gateway.log().contains("TRACE"));
    assert_nothing_in(&gateway.log(), "the log", &secrets);
    for (file, text) in written(state.path(), &[&tokens, &edge_file]) {
        assert_nothing_in(&text, &file, &secrets);
    }
}

#[test]
fn no_secret_is_in_the_error_that_refuses_it() {
    let state = State::seeded();
    let path = |name: &str, content: &str| state.file(name, content).to_str().expect("a name in UTF-8").to_owned();
    let secret = secret("a-mistake");
    let in_a_url = |scheme: &str, host: &str| format!("{scheme}://user:{secret}@{host}");
    let mut mistakes = vec![
        vec![format!("--tokn={secret}")],
        vec!["--token".to_owned(), format!("{secret}\u{1}")],
        vec!["--token".to_owned(), secret.clone(), "--token".to_owned(), secret.clone()],
        vec!["--tls-cert".to_owned(), path("cert", &secret), "--tls-key".to_owned(), path("private", &secret)],
        vec!["--token-file".to_owned(), path("two", &format!("{secret}\n\u{1}"))],
    ];
    for flag in ["--redis", "--edge", "--upstream"] {
        for url in [in_a_url("ftp", "h"), in_a_url("redis", "h:port"), in_a_url("http", "h:port"), in_a_url("http", "")]
        {
            mistakes.push(vec![flag.to_owned(), url.clone()]);
            mistakes.push(vec![
                "--config".to_owned(),
                path(&format!("{}.toml", mistakes.len()), &format!("{} = \"{url}\"", &flag[2..])),
            ]);
        }
    }
    for text in [
        format!("token = \"{secret}"),
        format!("token = {secret}"),
        format!("tokenn = \"{secret}\""),
        format!("token = \"{secret}\\u0001\""),
        format!("password = {{ a = \"{secret}\" }}"),
    ] {
        mistakes.push(vec!["--config".to_owned(), path(&format!("{}.toml", mistakes.len()), &text)]);
    }
    for text in [
        format!("[[token]]\nid = \"a\"\nsecret = {secret}"),
        format!("[[token]]\nid = \"a\"\nsecret = \"{secret}"),
        format!("[[token]]\nid = \"a\"\nsecret = [\"{secret}\"]"),
        format!("[[token]]\nid = \"a\"\nsha256 = \"{secret}\""),
        format!("[[token]]\nid = \"a\"\nsecret = \"{secret}\"\n[[token]]\nid = \"b\"\nsecret = \"{secret}\""),
        format!("[[token]]\nid = \"a\"\nsecret = \"{secret}\\u0001\""),
    ] {
        mistakes.push(vec!["--tokens".to_owned(), path(&format!("{}.toml", mistakes.len()), &text)]);
    }
    for mistake in mistakes {
        for command in [None, Some("check")] {
            // What is taken for no mistake would run on.
            let start = Start::under("exec timeout 20 \"$0\" \"$@\"").arg_state(&state).args(&mistake).args(command);
            let output = start.env("RUST_LOG", "trace").output();
            assert!(output.status.code().is_some_and(|code| [1, 2].contains(&code)), "{mistake:?}: {output:?}");
            for text in [output.stdout, output.stderr] {
                assert_nothing_in(&String::from_utf8_lossy(&text), &format!("{mistake:?}"), slice::from_ref(&secret));
            }
        }
    }
}

/// The tests would find it.
#[test]
fn the_search_finds_each_form() {
    let secret = secret("itself");
    for shown in forms(&secret).into_iter().chain([secret.clone(), secret.to_uppercase()]) {
        let search = || assert_nothing_in(&format!("a\n{shown} b"), "a text", slice::from_ref(&secret));
        assert!(std::panic::catch_unwind(search).is_err(), "{shown}");
    }
    assert_nothing_in("a text\nof nothing", "a text", &[secret]);
}
