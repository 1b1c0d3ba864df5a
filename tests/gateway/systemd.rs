//! A service manager: sockets that it listens on, and what it is told.

use std::{
    fs,
    net::TcpListener,
    os::{
        fd::OwnedFd,
        unix::net::{UnixDatagram, UnixListener},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    client::PATIENCE,
    house::{AT_ONCE, House, TOKEN, history},
    process::Start,
    state::State,
};

/// Starts it as a service manager does, with this socket (which the shell knows as its input) on descriptors.
fn handed(socket: impl Into<OwnedFd>, script: &str) -> Start {
    Start::under(script).with(|command| {
        command.stdin(Stdio::from(socket.into()));
    })
}

const ONE: &str = r#"exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=gateway.socket exec "$0" "$@""#;

#[test]
fn it_serves_on_the_socket_that_it_is_handed() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    let state = State::of_messages(1);
    // Its own flags do not count: that port is taken.
    let start = handed(socket.try_clone().expect("a socket"), ONE).arg_state(&state).args(["--token", TOKEN]);
    let gateway = start.args(["--port", &address.port().to_string()]).run();
    assert_eq!(gateway.address, address);
    gateway.has_logged("gateway.socket");
    let mut house = House { state, gateway };
    // It was handed a socket that blocks: it is waited for all the same, and so are others beside it.
    let (mut stream, _) = house.stream("");
    assert_eq!(house.history("").status, 200);
    house.state.append(&crate::state::message(2));
    assert_eq!(stream.event().data["messageId"], "m2");
    house.gateway.signal("TERM");
    assert_eq!(house.gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(0));
    // Clients can still connect, and wait for the next one.
    assert!(std::net::TcpStream::connect(address).is_ok());
    drop(socket);
}

#[test]
fn it_may_be_handed_more_than_one() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let script = r#"exec 3<&0 4<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=2 LISTEN_FDNAMES=one:two exec "$0" "$@""#;
    let gateway = handed(socket, script).arg_state(&State::seeded()).args(["--token", TOKEN]).run();
    assert_eq!(gateway.line(), format!("listening on http://{}", gateway.address));
    gateway.has_logged("name=\"two\"");
    for _ in 0..10 {
        assert_eq!(history("").send(gateway.address).expect("an answer").status, 401);
    }
}

#[test]
fn what_is_handed_to_another_process_is_not_taken() {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("an address");
    for pid in ["LISTEN_PID=1", "LISTEN_PID=", "LISTEN_PID=x"] {
        let script = format!(r#"exec 3<&0 </dev/null; {pid} LISTEN_FDS=1 exec "$0" "$@""#);
        let start = handed(socket.try_clone().expect("a socket"), &script);
        let gateway = start.arg_state(&State::seeded()).args(["--token", TOKEN]).run();
        assert_ne!(gateway.address, address);
    }
}

#[test]
fn who_can_connect_is_told_by_the_socket_and_not_by_the_flags() {
    let state = State::seeded();
    let everywhere = || TcpListener::bind("0.0.0.0:0").expect("a port");
    let output = handed(everywhere(), ONE).arg_state(&state).args(["--auth", "none"]).output();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("--allow-unauthenticated"), "{error}");
    // Where it is loopback in truth, the hosts are held to that.
    let loopback = TcpListener::bind("127.0.0.1:0").expect("a port");
    let start = handed(loopback, ONE).arg_state(&state).args(["--auth", "none", "--bind", "0.0.0.0"]);
    let gateway = start.run();
    let asked = |host: &str| history("").header("Host", host).send(gateway.address).expect("an answer").status;
    assert_eq!((asked("localhost"), asked("evil.example")), (200, 421));
}

#[test]
fn what_is_no_socket_that_listens_for_tcp_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let state = State::seeded();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let connected = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let file = fs::File::open(folder.path()).expect("a folder");
    let unix = UnixListener::bind(folder.path().join("socket")).expect("a socket");
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    for socket in [OwnedFd::from(connected), file.into(), unix.into(), udp.into()] {
        let output = handed(socket, ONE).arg_state(&state).args(["--token", TOKEN]).output();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("socket 3 of the service manager (gateway.socket) is none that listens"), "{error}");
    }
    for count in ["x", "-1", "1000000", ""] {
        let script = format!(r#"LISTEN_PID=$$ LISTEN_FDS={count} exec "$0" "$@""#);
        let output = Start::under(&script).arg_state(&state).args(["--token", TOKEN]).output();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && error.contains("LISTEN_FDS must be a number"), "{count}: {error}");
    }
}

/// A service manager that is told.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = UnixDatagram::bind(folder.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self { folder, socket }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// What it is told next.
    fn told(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("a message");
        String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned).collect()
    }

    /// The next that is no ping.
    fn told_of_state(&self) -> Vec<String> {
        loop {
            let told = self.told();
            if told != ["WATCHDOG=1"] {
                return told;
            }
        }
    }
}

#[test]
fn it_is_told_of_every_state() {
    let manager = Manager::new();
    let state = State::seeded();
    let file = state.file("token", TOKEN);
    let start = Start::new().arg_state(&state).args(["--token-file".as_ref(), file.as_os_str()]);
    let gateway = start.env("NOTIFY_SOCKET", manager.path()).run();
    let listening = format!("STATUS=listening on http://{}", gateway.address);
    assert_eq!(manager.told(), ["READY=1", &listening]);
    // It listens by then.
    assert_eq!(history("").send(gateway.address).expect("an answer").status, 401);

    let mut house = House { state, gateway };
    for (content, failed) in [(TOKEN, ""), ("\n", "; not reloaded: ")] {
        house.state.file("token", content);
        house.gateway.signal("HUP");
        let told = manager.told();
        assert_eq!(told[0], "RELOADING=1");
        let at: u64 = told[1].strip_prefix("MONOTONIC_USEC=").and_then(|at| at.parse().ok()).expect("a time");
        assert!(at > 0);
        let told = manager.told();
        assert!(told[0] == "READY=1" && told[1].starts_with(&format!("{listening}{failed}")), "{told:?}");
    }
    house.gateway.signal("TERM");
    assert_eq!(manager.told()[0], "STOPPING=1");
    assert_eq!(house.gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(0));
}

#[test]
fn a_watchdog_hears_twice_in_its_time_that_tasks_run() {
    let manager = Manager::new();
    let state = State::seeded();
    let start = Start::new().arg_state(&state).args(["--token", TOKEN]).env("NOTIFY_SOCKET", manager.path());
    let gateway = start.env("WATCHDOG_USEC", "400000").run();
    assert_eq!(manager.told_of_state()[0], "READY=1");
    assert_eq!(manager.told(), ["WATCHDOG=1"]);
    let start = Instant::now();
    for _ in 0..10 {
        assert_eq!(manager.told(), ["WATCHDOG=1"]);
    }
    let took = start.elapsed();
    assert!((Duration::from_millis(1500)..Duration::from_millis(4000)).contains(&took), "{took:?}");
    // One that stands still says nothing.
    gateway.signal("STOP");
    manager.socket.set_read_timeout(Some(Duration::from_millis(600))).expect("a timeout");
    let mut said = 0;
    while manager.socket.recv(&mut [0; 64]).is_ok() {
        said += 1;
        assert!(said < 5, "it goes on");
    }
    gateway.signal("CONT");
}

#[test]
fn a_manager_that_is_away_or_does_not_listen_holds_nothing_up() {
    let state = State::seeded();
    let folder = tempfile::tempdir().expect("a folder");
    let away = folder.path().join("away");
    let gateway = Start::new().arg_state(&state).args(["--token", TOKEN]).env("NOTIFY_SOCKET", &away).run();
    gateway.has_logged("the service manager cannot be told");
    drop(gateway);

    let manager = Manager::new();
    let start = Start::new().arg_state(&state).args(["--token", TOKEN]).env("NOTIFY_SOCKET", manager.path());
    // Its queue is full after a few.
    let mut gateway = start.env("WATCHDOG_USEC", "2000").run();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(history("").send(gateway.address).expect("an answer").status, 401);
    gateway.signal("TERM");
    assert_eq!(gateway.ended_within(AT_ONCE).expect("it ends").code(), Some(0));
}

fn unit(name: &str) -> (PathBuf, String) {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/gateway/systemd"));
    (folder.join(name), fs::read_to_string(folder.join(name)).expect("a unit"))
}

#[test]
fn the_units_name_flags_that_there_are() {
    let (_, service) = unit("gateway.service");
    let line =
        service.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/gateway ")).expect("a command");
    let state = State::of_messages(1);
    let config = state.file("gateway.toml", &format!("token = '{TOKEN}'\n"));
    let put = |word: &str| {
        word.replace("%d/gateway.toml", config.to_str().expect("a name"))
            .replace("/var/lib/openclaw", state.path().to_str().expect("a name"))
            .replace(['%'], state.path().join("of-the-unit-").to_str().expect("a name"))
    };
    fs::create_dir_all(format!("{}/of-the-unit-L/openclaw-gateway", state.path().display())).expect("a folder");
    let output = Start::new().args(["check"]).args(line.split_whitespace().map(put)).env("HOME", state.path()).output();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
}

#[test]
fn the_units_are_understood_by_systemd_where_it_is() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["gateway.service", "gateway.socket"] {
        let (_, unit) = unit(name);
        // What it starts must be there.
        fs::write(folder.path().join(name), unit.replace("/usr/local/bin/gateway", "/bin/true")).expect("a unit");
    }
    let units = ["gateway.service", "gateway.socket"].map(|name| folder.path().join(name));
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(units).output().expect("systemd");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<_> = said.lines().filter(|line| line.contains("gateway")).collect();
    assert!(output.status.success() && ours.is_empty(), "{said}");
}
