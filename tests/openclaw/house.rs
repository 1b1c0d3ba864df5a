//! A gateway in this process: it serves a state folder on a port of its own.

use std::net::SocketAddr;

use clap::Parser;

use super::{disk::Disk, pack::Profile};
use crate::{
    config::{Config, Environment, Flags},
    served::Served,
};

/// A gateway, and the folder that it serves.
pub struct House {
    pub disk: Disk,
    pub address: SocketAddr,
    served: Served,
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
        let served = Served::open(&config);
        Self { disk, address: served.address, served }
    }

    pub fn close(self) {
        self.served.close();
    }
}
