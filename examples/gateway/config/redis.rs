//! The address of the Redis that gateways share.

use std::fmt;

use percent_encoding::percent_decode_str;
use url::{Host, Url};

/// A URL of Redis, which may hold passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl {
    pub scheme: Scheme,
    /// Over TLS, to sentinels too.
    pub is_secured: bool,
    /// As the crate `redis` takes it: where it has several hosts, with the first one.
    pub text: String,
    /// Where to begin to ask.
    pub hosts: Vec<(String, u16)>,
    pub user: Option<String>,
    pub password: Option<String>,
    pub database: i64,
}

/// How the server is found that takes what is written.
#[derive(Clone, PartialEq, Eq)]
pub enum Scheme {
    /// It is the one that is named.
    Server,
    /// Sentinels say which one it is of those that they know by this name.
    Sentinels { service: String, user: Option<String>, password: Option<String> },
    /// By the slots of a cluster.
    Cluster,
}

impl RedisUrl {
    /// How it has to be: the end of a sentence.
    pub const IS: &str = "must be a URL such as redis://127.0.0.1:6379/0, rediss://user:password@redis.example.org, \
                          redis+sentinel://one:26379,two:26379/name/0 or redis+cluster://one:6379,two:6379";

    /// The error does not quote the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        Self::parsed(text).ok_or(Self::IS)
    }

    fn parsed(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        let (is_secured, kind) = match scheme.split_once('+') {
            None => (scheme == "rediss", ""),
            Some((name, kind)) => (name == "rediss", kind),
        };
        if !["redis", "rediss"].contains(&scheme.split('+').next()?) {
            return None;
        }
        if kind == "unix" && !is_secured {
            let path = Url::parse(text).ok()?;
            return (path.path().len() > 1).then(|| Self::server(text, false, Vec::new()));
        }
        if kind.is_empty() {
            let url = Url::parse(text).ok().filter(Url::has_host)?;
            return Some(Self::server(text, is_secured, vec![host(&url, 6379)?]));
        }

        let rest = rest.strip_prefix("//")?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (user_info, names) = authority.rsplit_once('@').map_or(("", authority), |(info, names)| (info, names));
        let port = if kind == "sentinel" { 26379 } else { 6379 };
        let parsed = |name: &str| host(&Url::parse(&format!("redis://{name}")).ok()?, port);
        let hosts: Vec<_> = names.split(',').map(parsed).collect::<Option<_>>()?;
        let url = Url::parse(&format!("redis://{user_info}@localhost{tail}")).ok()?;
        let decoded = |text: &str| percent_decode_str(text).decode_utf8().ok().map(|text| text.into_owned());
        let some = |text: &str| if text.is_empty() { Some(None) } else { decoded(text).map(Some) };
        let (user, password) = (some(url.username())?, some(url.password().unwrap_or_default())?);
        let mut parts = url.path().split('/').filter(|part| !part.is_empty());
        let mut query = (None, None);
        for (name, value) in url.query_pairs() {
            match &*name {
                "sentinel_username" if kind == "sentinel" => query.0 = Some(value.into_owned()),
                "sentinel_password" if kind == "sentinel" => query.1 = Some(value.into_owned()),
                _ => return None,
            }
        }
        let scheme = match kind {
            "sentinel" => Scheme::Sentinels { service: decoded(parts.next()?)?, user: query.0, password: query.1 },
            "cluster" => Scheme::Cluster,
            _ => return None,
        };
        let database = parts.next().map_or(Some(0), |database| database.parse().ok())?;
        // A cluster has one database.
        let is_odd = parts.next().is_some() || scheme == Scheme::Cluster && database != 0;
        let text = String::new();
        (!is_odd).then_some(Self { scheme, is_secured, text, hosts, user, password, database })
    }

    fn server(text: &str, is_secured: bool, hosts: Vec<(String, u16)>) -> Self {
        let (user, password) = (None, None);
        Self { scheme: Scheme::Server, is_secured, text: text.to_owned(), hosts, user, password, database: 0 }
    }
}

fn host(url: &Url, port: u16) -> Option<(String, u16)> {
    if !url.username().is_empty() && url.scheme() != "redis" && url.scheme() != "rediss" {
        return None;
    }
    let host = match url.host()? {
        Host::Domain(name) if !name.is_empty() => name.to_owned(),
        Host::Domain(_) => return None,
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some((host, url.port().unwrap_or(port)))
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedisUrl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_url_of_redis_is_not_taken_and_a_password_not_shown() {
        for text in [
            "",
            "127.0.0.1:6379",
            "http://127.0.0.1",
            "redis:",
            "redis://",
            "redis+unix:",
            "rediss+unix:///run/redis.sock",
            "redis+planet://a",
            "redis+sentinel://a",
            "redis+sentinel://a,/name",
            "redis+sentinel://a:x/name",
            "redis+sentinel://a/name/x",
            "redis+sentinel://a/name/0/1",
            "redis+sentinel://a/name?sentinel_user=b",
            "redis+cluster://a/1/2",
            "redis+cluster://",
            "http+cluster://a",
        ] {
            assert_eq!(RedisUrl::parse(text), Err(RedisUrl::IS), "{text}");
        }
        for text in ["redis://127.0.0.1", "rediss://u:hunter2@host:6380/1", "redis+unix:///run/redis.sock"] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(format!("{url:?}"), "RedisUrl");
        }
    }

    #[test]
    fn sentinels_and_a_cluster_are_named_by_their_hosts() {
        let text = "rediss+sentinel://u:p%40ss@one,two:1,[::1]:2/the%20name/3?sentinel_username=s&sentinel_password=t";
        let url = RedisUrl::parse(text).unwrap();
        let hosts = [("one", 26379), ("two", 1), ("::1", 2)];
        assert_eq!(url.hosts, hosts.map(|(host, port)| (host.to_owned(), port)));
        assert!(url.is_secured && url.database == 3);
        assert_eq!((url.user.as_deref(), url.password.as_deref()), (Some("u"), Some("p@ss")));
        let (service, user, password) = ("the name".into(), Some("s".into()), Some("t".into()));
        assert!(url.scheme == Scheme::Sentinels { service, user, password });

        let url = RedisUrl::parse("redis+cluster://:p@one:7000,two").unwrap();
        assert!(url.scheme == Scheme::Cluster && !url.is_secured);
        assert_eq!(url.hosts, [("one".to_owned(), 7000), ("two".to_owned(), 6379)]);
        assert_eq!((url.user, url.password.as_deref()), (None, Some("p")));
    }
}
