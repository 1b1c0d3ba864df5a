//! Sockets that the service manager listens on for the gateway (`sd_listen_fds(3)`).

use std::{
    env, io,
    net::{SocketAddr, TcpListener},
    process,
};

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;
use tokio::net;

/// The first of them, as descriptors are counted.
const FIRST: usize = 3;
/// More than anybody has the gateway listen on.
const MOST: usize = 64;

/// The sockets, with the names that their units give them.
#[derive(Debug, Default)]
pub struct Sockets(Vec<(TcpListener, SocketAddr, String)>);

impl Sockets {
    /// Takes what was handed to this process: once, and before there is a second thread, as the variables that say so
    /// are taken away. The error is a sentence.
    pub fn of_this_process() -> Result<Self, String> {
        let variable = |name| env::var(name).ok();
        // Another process's may have been passed on with the variables.
        if variable("LISTEN_PID").and_then(|id| id.parse().ok()) != Some(process::id()) {
            return Ok(Self::default());
        }
        if variable("LISTEN_FDS").and_then(|count| count.parse().ok()).is_none_or(|count: usize| count > MOST) {
            return Err(format!("LISTEN_FDS must be a number up to {MOST}"));
        }
        let names = variable("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<_> = names.split(':').collect();
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).map(|n| {
            let name = names.get(n).filter(|name| !name.is_empty()).copied().unwrap_or("unknown").to_owned();
            let no_listener = |why: &dyn std::fmt::Display| {
                let n = n + FIRST;
                format!(
                    "socket {n} of the service manager ({name}) is none that listens for TCP, with Accept=no: {why}"
                )
            };
            let socket = passed.take_tcp_listener(n).map_err(|error| no_listener(&error))?;
            let socket = socket.ok_or_else(|| no_listener(&"it is taken"))?;
            match (socket_acceptconn(&socket), socket.local_addr()) {
                (Ok(true), Ok(address)) => Ok((socket, address, name)),
                (Ok(false), _) => Err(no_listener(&"it does not listen")),
                (Err(error), _) => Err(no_listener(&error)),
                (_, Err(error)) => Err(no_listener(&error)),
            }
        });
        Ok(Self(sockets.collect::<Result<_, _>>()?))
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(_, address, _)| *address).collect()
    }

    /// As the runtime has them: they were made to be waited for.
    pub fn listen(self) -> io::Result<Vec<net::TcpListener>> {
        let listening = self.0.into_iter().map(|(socket, address, name)| {
            tracing::info!(%address, name, "a socket of the service manager");
            socket.set_nonblocking(true)?;
            net::TcpListener::from_std(socket)
        });
        listening.collect()
    }
}
