//! A gateway that is served in this process, on a port of its own.

use std::{net::SocketAddr, time::Duration};

use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{config::Config, serve::serve, server};

pub struct Served {
    pub address: SocketAddr,
    pub runtime: Runtime,
    stop: CancellationToken,
    serving: Option<JoinHandle<()>>,
    at_most: Duration,
    _tasks: server::tasks::Tasks,
}

impl Served {
    pub fn open(config: &Config) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let stop = CancellationToken::new();
        let mut tasks = server::tasks::Tasks::default();
        let (address, serving) = runtime.block_on(async {
            let service = server::open(config, &mut tasks, stop.clone()).expect("a gateway").service;
            let listener = TcpListener::bind(config.listen).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            (address, tokio::spawn(serve(listener, service, config.limits, stop.clone())))
        });
        Self {
            address,
            runtime,
            stop,
            serving: Some(serving),
            at_most: config.limits.drain + Duration::from_secs(10),
            _tasks: tasks,
        }
    }

    /// Ends the gateway as its own `main` does: it must not take much longer than `--drain` says, and must not panic.
    pub fn close(mut self) {
        self.stop();
    }

    /// The same, of one that is looked at once more.
    pub fn stop(&mut self) {
        self.stop.cancel();
        let Some(serving) = self.serving.take() else { return };
        let served = self.runtime.block_on(async { tokio::time::timeout(self.at_most, serving).await });
        served.expect("the gateway ends soon").expect("the gateway ends well");
    }
}
