//! Where clients come in.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, task::Poll};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};

use crate::{config::Settings, tls::Tls};

/// Sockets that listen, and what the connections are secured by, if they are.
pub struct Doors {
    listeners: Vec<TcpListener>,
    /// Which of them is asked first.
    turn: usize,
    settings: Option<watch::Receiver<Arc<Settings>>>,
}

impl Doors {
    pub fn new(listeners: Vec<TcpListener>, settings: watch::Receiver<Arc<Settings>>) -> Self {
        Self { listeners, turn: 0, settings: Some(settings) }
    }

    /// What the next connection is secured by.
    pub fn tls(&self) -> Option<Tls> {
        self.settings.as_ref()?.borrow().tls.clone()
    }

    /// The next client. Each of the sockets has its turn.
    pub async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let count = self.listeners.len();
        poll_fn(|cx| {
            for n in (0..count).map(|n| (self.turn + n) % count) {
                if let Poll::Ready(accepted) = self.listeners[n].poll_accept(cx) {
                    self.turn = n + 1;
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// One socket whose connections are not secured.
impl From<TcpListener> for Doors {
    fn from(listener: TcpListener) -> Self {
        Self { listeners: vec![listener], turn: 0, settings: None }
    }
}
