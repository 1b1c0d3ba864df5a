//! What keeps the gateway from starting is said clearly, and secrets come from where they should.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt, process::Output};

use crate::{
    client::Request,
    house::{House, TOKEN, history},
    process::{Gateway, Start},
    state::State,
};

/// Why a start with these flags fails.
fn failure(start: Start) -> String {
    let Output { status, stdout, stderr } = start.output();
    let stderr = String::from_utf8(stderr).expect("an error is text");
    assert_eq!(status.code(), Some(1), "{stderr}");
    assert!(stdout.is_empty(), "it should not have said that it listens");
    stderr
}

fn on(state: &State) -> Start {
    Start::new().arg_state(state)
}

#[test]
fn a_missing_token_is_an_error_that_says_what_to_set() {
    let state = State::seeded();
    // An empty variable counts as unset.
    for start in [on(&state), on(&state).env("OPENCLAW_GATEWAY_TOKEN", "")] {
        let error = failure(start);
        for remedy in ["--token-file", "--token", "--tokens", "gateway.auth.token", "OPENCLAW_GATEWAY_TOKEN"] {
            assert!(error.contains(remedy), "{error}");
        }
    }
}

#[test]
fn a_missing_password_is_an_error_that_says_what_to_set() {
    let error = failure(on(&State::seeded()).args(["--auth", "password"]));
    for remedy in ["--password", "gateway.auth.password", "OPENCLAW_GATEWAY_PASSWORD"] {
        assert!(error.contains(remedy), "{error}");
    }
}

#[test]
fn a_missing_or_broken_file_is_an_error_that_names_it() {
    let state = State::seeded();
    let broken = state.file("broken.json", r#"{"token":["#);
    let empty = state.file("empty", "\n");
    let missing = state.path().join("missing");
    for (flag, file) in [("--token-file", &missing), ("--token-file", &empty), ("--tokens", &broken)] {
        let error = failure(on(&state).args([flag.as_ref(), file.as_os_str()]));
        assert!(error.contains(file.to_str().expect("a name in UTF-8")), "{error}");
    }
    state.file("openclaw.json", "{ gateway: ");
    let error = failure(on(&state).args(["--token", "x"]));
    assert!(error.contains("openclaw.json"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_an_error_that_names_it() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let error = failure(on(&State::seeded()).args(["--token", "x", "--port", &port]));
    assert!(error.contains(&port), "{error}");
}

#[test]
fn the_token_may_come_from_the_variable_the_file_or_the_flag_and_the_flag_wins() {
    let status = |start: Start, token: &str| {
        let gateway = start.run();
        let request = history("").header("Authorization", &format!("Bearer {token}"));
        request.send(gateway.address).expect("an answer").status
    };
    let state = State::seeded();
    let by_variable = || on(&state).env("OPENCLAW_GATEWAY_TOKEN", "of-the-variable");
    assert_eq!(status(by_variable(), "of-the-variable"), 200);

    state.file("openclaw.json", "{ gateway: { auth: { token: 'of-the-file' } } } // JSON5");
    assert_eq!(status(by_variable(), "of-the-file"), 200);
    assert_eq!(status(by_variable(), "of-the-variable"), 401);

    let by_flag = || by_variable().args(["--token", "of-the-flag"]);
    assert_eq!(status(by_flag(), "of-the-flag"), 200);
    assert_eq!(status(by_flag(), "of-the-file"), 401);
}

#[test]
fn a_password_is_shown_as_a_bearer_token() {
    let house = House::with(State::seeded(), ["--auth", "password", "--password", "open sesame"]);
    assert_eq!(house.history_by("open sesame", "").status, 200);
    assert_eq!(house.history_by("open", "").status, 401);
}

#[test]
fn without_authentication_nothing_is_asked_for() {
    let house = House::with(State::seeded(), ["--auth", "none"]);
    assert_eq!(house.send(history("")).status, 200);
    // Whoever says what it may do is believed, and held to it.
    let narrowed = history("").header("X-OpenClaw-Scopes", "operator.pairing");
    assert_eq!(house.send(narrowed).status, 403);
    assert_eq!(house.send(Request::new("POST", "/sessions/agent:main:test-session/kill")).status, 200);
}

#[test]
fn no_authentication_where_others_can_connect_has_to_be_meant() {
    let state = State::seeded();
    for address in ["0.0.0.0", "::", "::ffff:0.0.0.0"] {
        let error = failure(on(&state).args(["--auth", "none", "--bind", address]));
        for remedy in ["--bind 127.0.0.1", "--auth token", "--allow-unauthenticated"] {
            assert!(error.contains(remedy), "{error}");
        }
        let by_variable = on(&state).env("OPENCLAW_GATEWAY_AUTH_MODE", "none").args(["--bind", address]);
        assert!(failure(by_variable).contains("--allow-unauthenticated"));
    }
    for flags in [&["--bind", "127.0.0.2"][..], &["--bind", "127.0.0.2", "--allow-unauthenticated"]] {
        let gateway = on(&state).args(["--auth", "none"]).args(flags).run();
        assert_eq!(history("").send(gateway.address).expect("an answer").status, 200);
    }
}

#[test]
fn a_secret_that_no_caller_could_show_is_an_error_and_is_not_quoted() {
    let state = State::seeded();
    for (name, secret) in [("control", "hunter\u{1}2"), ("beyond", "hunter-狩人"), ("lines", "hunter\n2")] {
        let file = state.file(name, secret);
        for start in [
            on(&state).args(["--token-file".as_ref(), file.as_os_str()]),
            on(&state).env("OPENCLAW_GATEWAY_TOKEN", secret),
        ] {
            let error = failure(start);
            assert!(!error.contains("hunter"), "{error}");
            assert!(error.contains("no Authorization header can carry") || error.contains("one line"), "{error}");
        }
    }
    // What a Windows editor puts around it is no part of it.
    let file = state.file("marked", "\u{feff}s3cret\r\n");
    let gateway = on(&state).args(["--token-file".as_ref(), file.as_os_str()]).run();
    let request = history("").header("Authorization", "Bearer s3cret");
    assert_eq!(request.send(gateway.address).expect("an answer").status, 200);
}

#[test]
fn a_mode_that_lets_nobody_in_is_an_error() {
    let state = State::seeded();
    state.file(
        "openclaw.json",
        "{ gateway: { auth: { mode: 'trusted-proxy', trustedProxy: { userHeader: 'x-user' } } } }",
    );
    assert!(failure(on(&state)).contains("gateway.trustedProxies"));
}

/// A gateway that was started although something is odd, once its log says this.
fn warned(start: Start, words: &[&str]) -> Gateway {
    let gateway = start.run();
    for word in words {
        gateway.has_logged(word);
    }
    assert!(!gateway.log().contains("hunter"), "{}", gateway.log());
    gateway
}

#[test]
fn what_does_nothing_or_gives_too_much_is_in_the_log() {
    let state = State::seeded();
    let both = on(&state).env("OPENCLAW_GATEWAY_TOKEN", "hunter2").env("OPENCLAW_GATEWAY_PASSWORD", "p");
    warned(both, &["WARN", "a token is set and opens nothing, as the auth mode is password"]);
    let two = on(&state).env("OPENCLAW_GATEWAY_TOKEN", "hunter2").args(["--token", TOKEN]);
    warned(two, &["there are two tokens: that of the flags is used, and that of the variables opens nothing"]);
    warned(
        Start::new().args(["--token", TOKEN, "--state-dir"]).args([state.path().join("missing")]),
        &["there is no state folder", "--state-dir"],
    );

    let tokens = state.file(
        "tokens.toml",
        "[[token]]\nid = 'old'\nsecret = 'hunter2'\nexpires_at = 2020-01-01T00:00:00Z\nscopes = ['operator.raed']\n",
    );
    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o644)).expect("permissions");
    let path = tokens.display().to_string();
    let words = ["\"old\" has expired", "operator.raed, which opens nothing", "chmod 600", &path];
    warned(on(&state).args(["--token", TOKEN, "--tokens"]).args([&tokens]), &words);

    fs::set_permissions(&tokens, fs::Permissions::from_mode(0o600)).expect("permissions");
    let gateway = warned(on(&state).args(["--token", TOKEN, "--tokens"]).args([&tokens]), &["listening"]);
    assert!(!gateway.log().contains("chmod"), "{}", gateway.log());
}

#[test]
fn a_secret_outside_ascii_is_compared_in_latin_1_whichever_kind_it_is() {
    let latin1 = "Bearer w\u{f6}rd";
    let utf8 = "Bearer w\u{c3}\u{b6}rd";
    let state = State::seeded();
    let token_file = state.file("token", "wörd");
    let tokens = state.file("tokens.toml", "[[token]]\nid = 'a'\nsecret = 'wörd'\nscopes = ['operator.read']\n");
    for start in [
        on(&state).args(["--token", "wörd"]),
        on(&state).args(["--password", "wörd"]),
        on(&state).env("OPENCLAW_GATEWAY_TOKEN", "wörd"),
        on(&state).args(["--token-file".as_ref(), token_file.as_os_str()]),
        on(&state).args(["--tokens".as_ref(), tokens.as_os_str()]),
    ] {
        let gateway = start.run();
        for (shown, status) in [(latin1, 200), (utf8, 401)] {
            let answer = history("").header("Authorization", shown).send(gateway.address).expect("an answer");
            assert_eq!(answer.status, status, "{shown}");
        }
    }
}
