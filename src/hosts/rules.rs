//! Whether a request is for a host that is allowed.

use http::{
    HeaderValue, Request, Version,
    header::{HOST, ORIGIN},
};

use super::AllowedHost;
use crate::{
    Denied,
    authority::{Authority, Host},
};

#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) loopback: bool,
    pub(super) allowed: Vec<AllowedHost>,
}

impl Rules {
    pub(super) fn check<B>(&self, request: &Request<B>) -> Result<(), Denied> {
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = hosts.next();
        let target = request.uri().authority();
        let is_named = host.is_some() || (target.is_some() && request.version() >= Version::HTTP_2);
        if !is_named || hosts.next().is_some() {
            return Err(Denied::NoHost);
        }
        if let Some(host) = host {
            self.check_host(host.to_str().map_err(|_| Denied::NoHost)?)?;
        }
        if let Some(target) = target {
            self.check_host(target.as_str())?;
        }

        let mut origins = request.headers().get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => Ok(()),
            (Some(origin), None) if self.allows_origin(origin) => Ok(()),
            _ => Err(Denied::Misdirected),
        }
    }

    fn check_host(&self, text: &str) -> Result<(), Denied> {
        let Authority { host, .. } = Authority::parse(text).ok_or(Denied::NoHost)?;
        if self.allows(host) { Ok(()) } else { Err(Denied::Misdirected) }
    }

    fn allows_origin(&self, origin: &HeaderValue) -> bool {
        let authority = origin.to_str().ok().and_then(|text| text.split_once("://")).map(|(_scheme, rest)| rest);
        authority.and_then(Authority::parse).is_some_and(|authority| self.allows(authority.host))
    }

    fn allows(&self, host: Host<'_>) -> bool {
        (self.loopback && host.is_loopback()) || self.allowed.iter().any(|allowed| allowed.is(host))
    }
}
