//! The command line besides serving: tokens of single clients, and a configuration that is checked.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use crate::{
    client::End,
    house::{AT_ONCE, House, TOKEN},
    process::Start,
    state::State,
};

/// What a command said: whether it went well, its output and its errors.
fn run(start: Start) -> (bool, String, String) {
    let output = start.output();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

fn token(file: &Path, words: &[&str]) -> (bool, String, String) {
    let file = file.to_str().expect("a name");
    run(Start::new().args(["token"]).args(words).args(["--tokens", file]))
}

/// The token that a command printed.
fn printed(said: (bool, String, String)) -> String {
    let (is_done, output, errors) = said;
    assert!(is_done, "{errors}");
    let lines: Vec<_> = output.lines().collect();
    assert!(lines.len() == 1 && lines[0].len() == 43, "{output}");
    lines[0].to_owned()
}

#[test]
fn a_token_is_added_used_rotated_and_revoked_while_the_gateway_runs() {
    let state = State::of_messages(1);
    for name in ["tokens.toml", "tokens.json"] {
        let file = state.path().join(name);
        let admin = printed(token(&file, &["add", "olga", "--scope", "operator.admin"]));
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        let gateway = Start::new().arg_state(&state).args(["--tokens".as_ref(), file.as_os_str()]).run();
        let status = |token: &str| {
            let request = crate::house::history("").header("Authorization", &format!("Bearer {token}"));
            request.send(gateway.address).expect("an answer").status
        };
        let becomes = |token: &str, expected: u16| {
            let start = std::time::Instant::now();
            while status(token) != expected {
                assert!(start.elapsed() < AT_ONCE, "{name} {expected}: {}", gateway.log());
            }
        };
        becomes(&admin, 200);
        let words = ["add", "wall", "--scope", "operator.read", "--subject", "wall display", "--expires", "30d"];
        let first = printed(token(&file, &words));
        becomes(&first, 200);
        let second = printed(token(&file, &["rotate", "wall"]));
        becomes(&first, 401);
        becomes(&second, 200);
        let (_, listed, _) = token(&file, &["list"]);
        let rows: Vec<Vec<_>> = listed.lines().map(|line| line.split("  ").map(str::trim).collect()).collect();
        assert!(rows.len() == 3 && listed.contains("wall display") && listed.contains("operator.read"), "{listed}");
        assert!(rows[1].contains(&"never") && !rows[2].contains(&"never"), "{listed}");
        let text = fs::read_to_string(&file).expect("a file");
        for secret in [&admin, &first, &second] {
            assert!(!text.contains(secret.as_str()) && !listed.contains(secret.as_str()));
        }
        assert!(token(&file, &["revoke", "wall"]).0);
        becomes(&second, 401);
        assert_eq!(status(&admin), 200);
    }
}

#[test]
fn a_token_that_is_revoked_on_the_command_line_ends_its_stream() {
    let state = State::of_messages(1);
    let file = state.path().join("tokens.toml");
    let wall = printed(token(&file, &["add", "wall", "--scope", "operator.read"]));
    let house = House::with(state, ["--tokens".as_ref(), file.as_os_str()]);
    let (mut stream, _) = house.stream_by(&wall, "");
    assert!(token(&file, &["revoke", "wall"]).0);
    assert_eq!(stream.end_within(AT_ONCE), Some(End::Clean));
}

#[test]
fn what_makes_no_sense_changes_nothing_and_says_why() {
    let state = State::of_messages(1);
    let file = state.file("tokens.toml", "[[token]]\nid = 'a'\nsecret = 'hunter2'\n");
    let before = fs::read_to_string(&file).expect("a file");
    for (words, expected) in [
        (&["add", "a"][..], "there is one with the id \"a\""),
        (&["add", " "], "needs an id"),
        (&["add", "b", "--scope", "operator.raed"], "there are operator.admin"),
        (&["add", "b", "--expires", "yesterday"], "such as 12h or 30d"),
        (&["add", "b", "--expires", "2020-01-01T00:00:00Z"], "is over already"),
        (&["revoke", "b"], "there is none with the id \"b\""),
        (&["rotate", "b"], "there is none with the id \"b\""),
    ] {
        let (is_done, output, errors) = token(&file, words);
        assert!(!is_done && output.is_empty() && errors.contains(expected), "{words:?}: {errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
        assert_eq!(fs::read_to_string(&file).expect("a file"), before);
    }
    let missing = state.path().join("missing.toml");
    assert!(!token(&missing, &["revoke", "a"]).0 && !token(&missing, &["list"]).0);
    let (is_done, _, errors) = run(Start::new().args(["token", "list"]));
    assert!(!is_done && errors.contains("set --tokens"), "{errors}");
}

#[test]
fn the_file_of_tokens_may_be_told_by_a_variable_or_a_key_and_be_a_link() {
    let state = State::of_messages(1);
    let file = state.file("real.toml", "# kept\ntoken = []\n");
    let link = state.path().join("tokens.toml");
    std::os::unix::fs::symlink(&file, &link).expect("a link");
    let key = state.file("gateway.toml", &format!("tokens = {:?}\n", link.to_str().expect("a name")));
    let add = |id| Start::new().args(["token", "add", id]);
    printed(run(add("a").env("OPENCLAW_GATEWAY_TOKENS", &link)));
    printed(run(add("b").env("OPENCLAW_GATEWAY_CONFIG", &key)));
    assert!(fs::symlink_metadata(&link).expect("a link").is_symlink());
    let (_, listed, _) = token(&link, &["list"]);
    assert_eq!(listed.lines().count(), 3, "{listed}");
}

#[test]
fn a_token_that_is_added_under_a_revoked_name_is_worth_a_word() {
    let house = crate::operators::house(&[]);
    assert_eq!(house.revoke(&serde_json::json!({ "credential": "wall" })).status, 200);
    let data = house.state.path().join("data");
    let add = Start::new().args(["token", "add", "wall"]).env("HOME", house.state.path());
    let add = add.env("OPENCLAW_GATEWAY_TOKENS", house.state.path().join("tokens.toml"));
    let (is_done, _, errors) = run(add.env("OPENCLAW_GATEWAY_DATA_DIR", data));
    assert!(is_done && errors.contains("\"wall\" was revoked by POST /revocations"), "{errors}");
}

#[test]
fn check_says_every_problem_at_once() {
    let state = State::of_messages(1);
    let tokens = state.file("tokens.toml", "[[token]]\nid = 'a'\n");
    state.file("openclaw.json", "{ gateway: { trustedProxies: 7 }, session: { scope: 'hunter2' }, agents: [] }");
    let config = state.file("gateway.toml", "port = 'hunter2'\npotr = 1\n");
    let check = |config: Option<&Path>| {
        let start = Start::new().args(["check"]).arg_state(&state).args(["--tokens".as_ref(), tokens.as_os_str()]);
        let start = start.env("OPENCLAW_GATEWAY_PORT", if config.is_some() { "hunter2" } else { "0" });
        match config {
            Some(file) => start.args(["--config".as_ref(), file.as_os_str()]),
            None => start,
        }
    };
    let says = |start: Start, all: &[&str]| {
        let (is_good, output, errors) = run(start);
        assert!(!is_good && !output.contains("good"), "{output}");
        for expected in all {
            assert!(errors.contains(expected), "{expected}: {errors}");
        }
        assert_eq!(errors.lines().count(), all.len(), "{errors}");
        assert!(!errors.contains("hunter2"), "{errors}");
    };
    let keys = ["the variable OPENCLAW_GATEWAY_PORT must be a port number", "port: must be a port", "potr: is no key"];
    says(check(Some(&config)), &keys);
    says(check(None), &["needs sha256 or secret"]);
    state.file("tokens.toml", "token = []");
    let settings = ["gateway.trustedProxies: must be a list", "session.scope: must be", "agents: must be an object"];
    says(check(None), &settings);
    state.file("openclaw.json", "{ gateway: { auth: { mode: 'password' } } }");
    says(check(None), &["password"]);
    state.file("openclaw.json", "{}");
    let (is_good, output, errors) = run(check(None));
    assert!(is_good && errors.is_empty() && output.ends_with("good\n"), "{output} {errors}");
    assert!(output.contains("advice: nobody can get in"), "{output}");
    let places = [("--data-dir", state.path().join("openclaw.json")), ("--audit-log", state.path().to_owned())];
    let said = places.clone().map(|(flag, place)| format!("{flag}: {}: ", place.display()));
    let start = places.iter().fold(check(None), |start, (flag, place)| start.args([flag.as_ref(), place.as_os_str()]));
    says(start, &said.each_ref().map(String::as_str));
}

#[test]
fn check_warns_of_a_file_with_a_secret_that_others_can_read_and_of_an_address_that_is_taken() {
    let state = State::of_messages(1);
    let file = state.file("gateway.toml", &format!("token = '{TOKEN}'\n"));
    let check = |more: &[&str]| {
        run(Start::new().args(["check"]).arg_state(&state).args(["--config".as_ref(), file.as_os_str()]).args(more))
    };
    for (mode, is_said) in [(0o644, true), (0o604, true), (0o640, false), (0o600, false)] {
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("permissions");
        let (is_good, output, errors) = check(&[]);
        assert!(is_good && errors.is_empty(), "{errors}");
        assert_eq!(output.contains("gateway.toml holds secrets"), is_said, "{mode:o}: {output}");
    }
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("permissions");
    let start = Start::new().arg_state(&state).args(["--config".as_ref(), file.as_os_str()]);
    start.run().has_logged("gateway.toml holds secrets");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let (is_good, output, _) = check(&["--port", &taken.local_addr().expect("an address").port().to_string()]);
    assert!(is_good && output.contains("is taken"), "{output}");
    // No machine has one of these (RFC 5737).
    let (is_good, _, errors) = check(&["--bind", "192.0.2.1"]);
    assert!(!is_good && errors.contains("192.0.2.1:0: Cannot assign"), "{errors}");
}

#[test]
fn without_a_command_it_serves_by_the_file_that_config_names() {
    let state = State::of_messages(1);
    let file = state.file("gateway.toml", &format!("token = '{TOKEN}'\nheartbeat = '100ms'\n"));
    let house = House::with(state, ["--config".as_ref(), file.as_os_str()]);
    let (mut stream, _) = house.stream("");
    assert!(stream.comments_within(std::time::Duration::from_secs(2)) >= 3);
}

#[test]
fn a_start_says_every_problem_too() {
    let state = State::of_messages(1);
    let start = Start::new().arg_state(&state).args(["--token", TOKEN]);
    let start = start.env("OPENCLAW_GATEWAY_DRAIN", "soon").env("OPENCLAW_GATEWAY_HEARTBEAT", "often");
    let (is_done, _, errors) = run(start);
    assert!(!is_done && errors.matches("gateway: the variable").count() == 2, "{errors}");
}

#[test]
fn a_token_is_printed_though_nobody_reads_what_is_said_of_it() {
    let state = State::of_messages(1);
    let file = state.path().join("tokens.toml");
    for words in ["add ci", "rotate ci"] {
        let script = format!("exec \"$0\" token {words} --tokens '{}' 2>/dev/full", file.display());
        assert_eq!(printed(run(Start::under(&script))).len(), 43);
    }
    let script = format!("exec \"$0\" token revoke ci --tokens '{}' 2>/dev/full", file.display());
    assert!(run(Start::under(&script)).0);
}
