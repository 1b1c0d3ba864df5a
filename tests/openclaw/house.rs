//! A gateway in this process: it serves a state folder on a port of its own.

use std::{net::SocketAddr, time::Duration};

use clap::Parser;
use hyper::body::Incoming;
use tokio::{net::TcpListener, runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{disk::Disk, pack::Profile};
use crate::{
    gateway::{
        config::{Config, Environment, Flags},
        serve::serve,
    },
    server,
};

/// A gateway, and the folder that it serves.
pub struct House {
    pub disk: Disk,
    pub address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
    runtime: Runtime,
}

impl House {
    /// Opens a gateway on an empty folder, as the profile says.
    pub fn open(profile: &Profile) -> Self {
        let disk = Disk::new();
        let openclaw_json = disk.state().join("openclaw.json");
        std::fs::write(&openclaw_json, disk.substituted(&profile.config)).expect("openclaw.json");
        let folders = [
            ("OPENCLAW_STATE_DIR", disk.state().into_os_string()),
            ("OPENCLAW_CONFIG_PATH", openclaw_json.into_os_string()),
            ("HOME", disk.home().into_os_string()),
        ];
        let folders = folders.into_iter().map(|(name, value)| (name.to_owned(), value));
        let variables = profile.variables.iter().map(|(name, value)| (name.clone(), value.into()));
        let environment: Environment = folders.chain(variables).collect();
        let config = Config::new(Flags::parse_from(["gateway", "--port=0"]), environment).expect("a configuration");

        let runtime = Runtime::new().expect("a runtime");
        let stop = CancellationToken::new();
        let (address, serving) = runtime.block_on(async {
            let service = server::open::<Incoming>(&config, stop.clone()).expect("a gateway");
            let listener = TcpListener::bind(config.listen).await.expect("a port");
            let address = listener.local_addr().expect("an address");
            (address, tokio::spawn(serve(listener, service, config.write_timeout, stop.clone())))
        });
        Self { disk, address, stop, serving, runtime }
    }

    /// Ends the gateway as its own `main` does: it must not take long, and must not panic.
    pub fn close(self) {
        self.stop.cancel();
        let served = self.runtime.block_on(async { tokio::time::timeout(Duration::from_secs(10), self.serving).await });
        served.expect("the gateway ends soon").expect("the gateway ends well");
    }
}
