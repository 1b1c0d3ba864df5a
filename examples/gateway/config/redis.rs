//! The address of the Redis that gateways share.

use std::fmt;

use url::Url;

/// A URL of Redis, which may hold a password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    /// How it has to be: the end of a sentence.
    pub const IS: &str = "must be a URL such as redis://127.0.0.1:6379/0 or rediss://user:password@redis.example.org";

    /// The error does not quote the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let is_one =
            |url: &Url| matches!(url.scheme(), "redis" | "rediss") && url.has_host() || url.scheme() == "redis+unix";
        Url::parse(text).ok().filter(is_one).map(|_| Self(text.to_owned())).ok_or(Self::IS)
    }

    #[cfg(feature = "redis")]
    pub fn text(&self) -> &str {
        &self.0
    }
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
        for text in ["", "127.0.0.1:6379", "http://127.0.0.1", "redis:", "redis://"] {
            assert_eq!(RedisUrl::parse(text), Err(RedisUrl::IS), "{text}");
        }
        for text in ["redis://127.0.0.1", "rediss://u:hunter2@host:6380/1", "redis+unix:///run/redis.sock"] {
            let url = RedisUrl::parse(text).unwrap();
            assert_eq!(format!("{url:?}"), "RedisUrl");
        }
    }
}
