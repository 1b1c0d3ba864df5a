//! The gateway's process: started, asked for its address, and ended.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio},
    sync::{
        LazyLock,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::client::PATIENCE;

/// A gateway that is not running yet. It inherits no variables that mean something to it, and takes a
/// free port.
pub struct Start {
    command: Command,
    log: TempDir,
}

/// A gateway that runs. It is killed when this is dropped.
pub struct Gateway {
    pub address: SocketAddr,
    child: Child,
    /// What it prints, a line at a time.
    printed: Receiver<String>,
    log: TempDir,
}

impl Start {
    pub fn new() -> Self {
        Self::of(binary())
    }

    /// A gateway out of another file than the one that cargo built.
    pub fn of(binary: &Path) -> Self {
        let mut command = Command::new(binary);
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with("OPENCLAW_") || ["RUST_LOG", "NO_COLOR"].contains(&name))
            {
                command.env_remove(name);
            }
        }
        command.env("OPENCLAW_GATEWAY_PORT", "0").stdin(Stdio::null());
        Self { command, log: tempfile::tempdir().expect("a folder") }
    }

    /// A gateway that a line of shell starts; it knows the binary as `$0`, and the flags as `$@`.
    pub fn under(script: &str) -> Self {
        let mut start = Self::new();
        let mut shell = Command::new("sh");
        shell.args(["-c".as_ref(), script.as_ref(), start.command.get_program()]);
        for (name, value) in start.command.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.stdin(Stdio::null());
        start.command = shell;
        start
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// What else can be said of the process.
    pub fn with(mut self, say: impl FnOnce(&mut Command)) -> Self {
        say(&mut self.command);
        self
    }

    /// Starts it, and waits until it listens.
    pub fn run(self) -> Gateway {
        let log = File::create(self.log.path().join("log")).expect("a log");
        self.run_with_log(log)
    }

    /// The same with a log that is not read.
    pub fn run_with_log(mut self, log: impl Into<Stdio>) -> Gateway {
        let mut child = self.command.stdout(Stdio::piped()).stderr(log).spawn().expect("a process");
        let printed = lines(child.stdout.take().expect("a pipe"));
        let mut gateway = Gateway { address: ([0; 4], 0).into(), child, printed, log: self.log };
        let listening = gateway.line();
        let address = listening.strip_prefix("listening on ").and_then(|url| url.split_once("://")?.1.parse().ok());
        gateway.address = address.unwrap_or_else(|| panic!("no address: {listening:?}, {}", gateway.log()));
        gateway
    }

    /// Starts it with an output that is not read, and waits until its log says where it listens.
    pub fn run_with_output(mut self, output: impl Into<Stdio>) -> Gateway {
        let log = File::create(self.log.path().join("log")).expect("a log");
        let child = self.command.stdout(output).stderr(log).spawn().expect("a process");
        let mut gateway = Gateway { address: ([0; 4], 0).into(), child, printed: channel().1, log: self.log };
        gateway.has_logged("listening address=");
        let log = gateway.log();
        let address = log.split_once("listening address=").and_then(|(_, rest)| rest.lines().next()?.parse().ok());
        gateway.address = address.unwrap_or_else(|| panic!("no address: {log}"));
        gateway
    }

    /// Starts it, and waits until it ends by itself, with a log of its own.
    pub fn status(mut self) -> ExitStatus {
        self.command.stdout(Stdio::null()).status().expect("a process")
    }

    /// Starts it, and waits until it ends by itself.
    pub fn output(mut self) -> Output {
        self.command.output().expect("a process")
    }
}

impl Gateway {
    /// The next line that it prints.
    pub fn line(&self) -> String {
        self.printed.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("it printed nothing more: {}", self.log()))
    }

    /// The next line that it has printed. `None` once there is none, and it has ended.
    pub fn printed(&self) -> Option<String> {
        self.printed.recv_timeout(PATIENCE).ok()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log.path().join("log")).unwrap_or_default()
    }

    /// Waits until the log says this.
    pub fn has_logged(&self, text: &str) {
        let start = Instant::now();
        while !self.log().contains(text) {
            assert!(start.elapsed() < PATIENCE, "no {text:?} in the log: {}", self.log());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its number.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal: `INT`, `TERM`.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("sh").args(["-c", "kill -s \"$0\" \"$1\"", name, &self.child.id().to_string()]).status();
        assert!(sent.expect("a shell").success());
    }

    /// How the process ended, if it does in this time.
    pub fn ended_within(&mut self, time: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        loop {
            let ended = self.child.try_wait().expect("a process");
            if ended.is_some() || start.elapsed() > time {
                return ended;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The gateway's binary, of the profile that the tests have. Cargo says where it is, and builds it
/// where nobody has.
pub fn binary() -> &'static Path {
    static BINARY: LazyLock<PathBuf> = LazyLock::new(|| {
        let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
        let build = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--example", "gateway", "--message-format", "json", "--profile", profile])
            // With all that an operator builds, where the tests are built so.
            .args(cfg!(feature = "jemalloc").then_some("--all-features"))
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .stderr(Stdio::inherit())
            .output()
            .expect("cargo");
        assert!(build.status.success(), "the gateway does not build");
        let messages = build.stdout.split(|byte| *byte == b'\n');
        let messages = messages.filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok());
        let built = messages.filter(|message| message["target"]["name"] == "gateway");
        let executable = built.filter_map(|message| message["executable"].as_str().map(PathBuf::from)).next();
        executable.expect("cargo names the binary")
    });
    &BINARY
}

/// Reads on whether anybody listens or not, so that the writer is never held up.
fn lines(pipe: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}
