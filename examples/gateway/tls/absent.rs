//! A gateway that is built without TLS: there is no certificate, so that no connection is secured.

use std::{io, path::Path};

use super::Timed;
use crate::config::{ConfigError, needs_feature};

/// There is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {}

pub type Secured = Timed;

impl Tls {
    pub fn new(_: (&Path, &str), _: (&Path, &str)) -> Result<Self, ConfigError> {
        Err(needs_feature("--tls-cert", "tls"))
    }

    pub fn advice(&self) -> Option<String> {
        match *self {}
    }

    pub async fn accept(&self, _: Timed) -> io::Result<Secured> {
        match *self {}
    }
}
