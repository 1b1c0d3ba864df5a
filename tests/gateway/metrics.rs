//! `GET /metrics`: what is counted, who may see it, and what it costs.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use regex::Regex;
use serde_json::{Value, json};

use crate::{
    client::Request,
    database,
    house::{AT_ONCE, House, TOKEN, history},
    operators::{self, ADMIN, READER},
    process::Start,
    state::{SESSION, State, message},
};

/// A metric's kind and help text, by its name.
type Table = BTreeMap<String, (String, String)>;

/// What the README says there is.
fn written() -> Table {
    let readme = include_str!("../../examples/README.md");
    let table = readme.split("| metric | kind | labels | help |").nth(1).expect("a table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        (cells[0].trim_matches('`').to_owned(), (cells[1].to_owned(), cells[3].to_owned()))
    })
    .collect()
}

/// What a scrape shows.
fn shown(scrape: &str) -> Table {
    let commented = |kind: &str| {
        let lines = scrape.lines().filter_map(|line| line.strip_prefix("# ")?.strip_prefix(kind)?.split_once(' '));
        lines.map(|(name, text)| (name.to_owned(), text.to_owned())).collect::<BTreeMap<_, _>>()
    };
    let helps = commented("HELP ");
    let help = |name: &str| helps.get(name).cloned().unwrap_or_default();
    commented("TYPE ").into_iter().map(|(name, kind)| (name.clone(), (kind, help(&name)))).collect()
}

/// The value of a series, or the sum of those whose labels have this in them.
fn value(scrape: &str, name: &str, labels: &str) -> f64 {
    let series = scrape.lines().filter_map(|line| line.rsplit_once(' '));
    let series = series.filter(|(series, _)| {
        let (found, rest) = series.split_once('{').unwrap_or((series, ""));
        found == name && rest.contains(labels)
    });
    series.map(|(_, value)| value.parse::<f64>().expect("a number")).sum()
}

fn scraped(address: SocketAddr) -> String {
    let response = Request::new("GET", "/metrics").send(address).expect("an answer");
    assert_eq!(response.status, 200);
    assert_eq!(response.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(response.header("cache-control"), Some("no-store"));
    response.text()
}

impl House {
    fn scrape(&self) -> String {
        scraped(self.gateway.address)
    }

    /// Waits until a scrape shows a value of this series that will do.
    fn shows(&self, name: &str, labels: &str, will_do: impl Fn(f64) -> bool) -> String {
        let start = Instant::now();
        loop {
            let scrape = self.scrape();
            if will_do(value(&scrape, name, labels)) {
                return scrape;
            }
            assert!(start.elapsed() < AT_ONCE, "{name} {labels}: {scrape}");
        }
    }
}

#[test]
fn a_scrape_shows_the_metrics_of_the_table_and_no_others() {
    let house = operators::house(&["--heartbeat", "100ms", "--max-connections", "4"]);
    assert_eq!(house.history_by("wrong", "").status, 401);
    assert_eq!(house.history_by(READER, "").status, 200);
    let (mut one, _) = house.stream_by(READER, "");
    let (mut two, _) = house.stream_by(READER, "");
    house.state.append(&message(2));
    assert_eq!(one.event().data["messageId"], "m2");
    assert_eq!(two.event().data["messageId"], "m2");
    house.shows("tower_reauth_checks_shared_total", "occasion=\"stream\"", |value| value > 0.0);
    // One more than may be: it has to wait.
    let others: Vec<_> = (0..3).map(|_| TcpStream::connect(house.gateway.address).expect("it listens")).collect();
    thread::sleep(Duration::from_millis(200));
    drop(others);
    assert_eq!(house.revoke(&json!({ "credential": "reader" })).status, 200);
    assert!(one.end_within(AT_ONCE).is_some() && two.end_within(AT_ONCE).is_some());
    let scrape = house.shows("tower_reauth_revocation_duration_seconds_count", "", |value| value == 1.0);
    assert_eq!(shown(&scrape), written());

    for (name, labels, expected) in [
        ("tower_reauth_refused_total", "reason=\"rejected\"", 1.0),
        ("tower_reauth_streams_ended_total", "reason=\"revoked\"", 2.0),
        ("tower_reauth_streams_ended_total", "", 2.0),
        ("tower_reauth_streams_open", "", 0.0),
        ("tower_reauth_revocations_total", "kind=\"credential\"", 1.0),
        ("gateway_page_duration_seconds_count", "result=\"read\"", 1.0),
        ("http_server_request_duration_seconds_count", "http_route=\"/revocations\"", 1.0),
        ("http_server_request_duration_seconds_count", "http_response_status_code=\"401\"", 1.0),
    ] {
        assert_eq!(value(&scrape, name, labels), expected, "{name} {labels}: {scrape}");
    }
    let started = value(&scrape, "process_start_time_seconds", "");
    let now = std::time::UNIX_EPOCH.elapsed().expect("a time after 1970").as_secs_f64();
    assert!((now - 120.0..now + 2.0).contains(&started), "{started} {now}");
    assert!(value(&scrape, "process_resident_memory_bytes", "") > 1e6, "{scrape}");
    assert!(value(&scrape, "process_open_fds", "") > 5.0, "{scrape}");
    assert!(value(&scrape, "process_cpu_seconds_total", "") > 0.0, "{scrape}");
}

#[test]
fn names_follow_the_conventions() {
    let is_name = Regex::new("^(http_server|gateway|tower_reauth|process)(_[a-z]+)+$").expect("a pattern");
    for (name, (kind, help)) in written() {
        assert!(is_name.is_match(&name), "{name}");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(kind != "histogram" || name.ends_with("_seconds"), "{name}");
        assert!(help.ends_with('.'), "{name}: {help}");
    }
}

#[test]
fn who_asks_from_nearby_may_see_it_and_others_are_asked_who_they_are() {
    let house = operators::house(&[]);
    let ask = |house: &House, headers: &[(&str, &str)], method: &str| {
        let request = Request::new(method, "/metrics");
        house.send(headers.iter().fold(request, |request, (name, value)| request.header(name, value))).status
    };
    let port = house.gateway.address.port();
    for (headers, status) in [
        (&[][..], 200),
        (&[("Host", &format!("localhost:{port}")[..])], 200),
        (&[("Host", &format!("[::1]:{port}"))], 200),
        (&[("Sec-Fetch-Site", "none")], 200),
        // A page, of another origin or of its own name that it had point here, or a proxy's client.
        (&[("Origin", "https://evil.example")], 401),
        (&[("Origin", "null")], 401),
        (&[("Origin", &format!("http://127.0.0.1:{port}"))], 401),
        (&[("Sec-Fetch-Site", "cross-site")], 401),
        (&[("Sec-Fetch-Site", "same-origin")], 401),
        (&[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")], 401),
        (&[("Host", &format!("evil.example:{port}"))], 401),
        (&[("Host", "localhost.evil.example")], 401),
        (&[("Host", "")], 401),
        (&[("Via", "1.1 proxy")], 401),
        (&[("X-Forwarded-For", "127.0.0.1")], 403),
        (&[("Forwarded", "for=127.0.0.1")], 403),
    ] {
        assert_eq!(ask(&house, headers, "GET"), status, "{headers:?}");
    }
    assert_eq!(ask(&house, &[], "POST"), 405);
    assert_eq!(ask(&house, &[], "HEAD"), 405);
    for (token, status) in [(ADMIN, 200), (READER, 403), (TOKEN, 403), ("wrong", 401)] {
        let authorization = format!("Bearer {token}");
        assert_eq!(ask(&house, &[("Host", "a.example"), ("Authorization", &authorization)], "GET"), status, "{token}");
    }
    // No page is told that it may read the answer.
    let response = house.send(Request::new("GET", "/metrics").header("Sec-Fetch-Site", "none"));
    assert_eq!(response.header("access-control-allow-origin"), None);

    let house = operators::house(&["--metrics", "admin"]);
    let admin = [("Authorization", "Bearer secret-of-an-admin")];
    assert_eq!((ask(&house, &[], "GET"), ask(&house, &admin, "GET")), (401, 200));

    // Where the proxy is, nobody can tell who asks.
    let state = State::of_messages(1);
    state.file("openclaw.json", "{ gateway: { trustedProxies: ['127.0.0.0/8'] } }");
    let gateway = operators::start(&state, &[]).run();
    let house = House { state, gateway };
    assert_eq!((ask(&house, &[], "GET"), ask(&house, &admin, "GET")), (401, 200));
}

#[test]
fn what_a_client_says_is_in_no_label_and_makes_no_series() {
    let house = operators::house(&[]);
    let series = || house.scrape().lines().filter(|line| !line.starts_with('#')).count();
    let ask = |n: usize| {
        let bearer = format!("Bearer canary-{n}");
        for (method, target) in [
            ("GET", format!("/canary-{n}")),
            (&format!("CANARY{n}"), format!("/sessions/canary-{n}/history")),
            ("GET", format!("/sessions/canary-{n}/history?limit=canary-{n}")),
            ("GET", format!("/__openclaw__/cap/canary-{n}/sessions/k/history")),
            ("DELETE", format!("/streams/canary-{n}")),
        ] {
            let request = Request::new(method, &target).header("Authorization", &bearer);
            house.send(request.header("traceparent", &format!("canary-{n}")).header("X-Canary", "canary"));
        }
        house.ask("GET", &format!("/sessions/canary-{n}/history"), READER);
    };
    ask(0);
    house.scrape();
    let before = series();
    (1..50).for_each(ask);
    assert_eq!(series(), before);
    let scrape = house.scrape();
    assert!(!scrape.to_lowercase().contains("canary"), "{scrape}");
    for secret in [TOKEN, ADMIN, READER, SESSION, "rita", "olga"] {
        assert!(!scrape.contains(secret), "{secret}: {scrape}");
    }
    assert!(scrape.contains("http_request_method=\"_OTHER\""), "{scrape}");
}

#[test]
fn a_scrape_while_a_thousand_streams_are_open_holds_nothing_up() {
    const STREAMS: usize = 1000;
    let house = House::over(State::of_messages(1));
    let request = history("").header("Accept", "text/event-stream").header("Authorization", &format!("Bearer {TOKEN}"));
    let streams: Vec<_> = (0..STREAMS).map(|_| house.send(request.clone())).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    let (mut followed, _) = house.stream("");
    let scrape = house.scrape();
    for (name, least) in [
        ("tower_reauth_streams_open", STREAMS + 1),
        ("gateway_connections_open", STREAMS + 1),
        ("gateway_transcripts_followed", 1),
    ] {
        assert!(value(&scrape, name, "") >= least as f64, "{name}: {scrape}");
    }
    assert_eq!(value(&scrape, "gateway_transcripts_followed", ""), 1.0);

    let address = house.gateway.address;
    let (is_over, scrapes) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    scraped(address);
                    scrapes.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 2..20 {
            house.state.append(&message(n));
            let event = followed.event_within(AT_ONCE).expect("an event");
            assert_eq!(event.data["messageId"], format!("m{n}"));
            assert_eq!(house.history("?limit=1").status, 200);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert!(scrapes.load(Ordering::Relaxed) > 4);
    drop(streams);
    house.shows("tower_reauth_streams_open", "", |value| value == 1.0);
    house.shows("gateway_connections_open", "", |value| value <= 3.0);
}

#[test]
fn how_late_a_stream_shows_a_change_is_seen_of_files_and_of_databases() {
    const LAG: &str = "gateway_watcher_lag_seconds_count";
    let of_file = House::over(State::of_messages(1));
    let (mut stream, _) = of_file.stream("");
    of_file.state.append(&message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    let (of_database, mut writer) = database::house(1);
    let (mut other, _) = of_database.stream("");
    database::append(&mut writer, 2..=2);
    assert_eq!(other.event().data["messageId"], "m2");
    for house in [of_file, of_database] {
        let scrape = house.shows(LAG, "", |count| count > 0.0);
        let seconds = value(&scrape, "gateway_watcher_lag_seconds_sum", "");
        assert!(seconds > 0.0 && seconds < AT_ONCE.as_secs_f64(), "{scrape}");
    }
}

#[test]
fn a_page_that_is_read_is_no_stream_that_ended() {
    let house = House::over(State::of_messages(3));
    for limit in 1..4 {
        assert_eq!(house.history(&format!("?limit={limit}")).status, 200);
    }
    let scrape = house.scrape();
    assert_eq!(value(&scrape, "gateway_page_duration_seconds_count", "result=\"read\""), 3.0, "{scrape}");
    assert!(!scrape.contains("tower_reauth_streams"), "{scrape}");
}

#[test]
fn every_query_of_the_dashboard_is_for_metrics_of_the_table() {
    let text = include_str!("../../examples/gateway/dashboard.json");
    let dashboard: Value = serde_json::from_str(text).expect("JSON");
    let names = written();
    let name = Regex::new(r"\b(?:http_server|gateway|tower_reauth|process)_[a-z_]+").expect("a pattern");
    let mut seen = std::collections::BTreeSet::new();
    let panels = dashboard["panels"].as_array().expect("panels");
    for panel in panels {
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty() && panel["title"].is_string(), "{panel}");
        for target in targets {
            let query = target["expr"].as_str().expect("a query");
            let mut count = 0;
            for found in name.find_iter(query).map(|found| found.as_str()) {
                let of = |suffix: &str| found.strip_suffix(suffix).filter(|name| is_histogram(&names, name));
                let metric = of("_bucket").or(of("_count")).or(of("_sum")).unwrap_or(found);
                assert!(names.contains_key(metric), "{found}: {query}");
                assert!(metric != found || !is_histogram(&names, metric), "a histogram has no value: {query}");
                seen.insert(metric.to_owned());
                count += 1;
            }
            assert!(count > 0 && query.matches('(').count() == query.matches(')').count(), "{query}");
        }
    }
    let unseen: Vec<_> = names.keys().filter(|name| !seen.contains(*name)).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}

fn is_histogram(names: &Table, name: &str) -> bool {
    names.get(name).is_some_and(|(kind, _)| kind == "histogram")
}

#[test]
fn a_word_that_the_flag_does_not_know_is_an_error_that_names_those_that_it_does() {
    let output = Start::new().args(["--metrics", "everybody"]).output();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && error.contains("local, admin"), "{error}");
}
