//! Connections to the Redis that takes what is written, whichever that is at present.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, Pipeline, RedisFuture, RedisResult, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::{ClusterClient, ClusterClientBuilder},
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use rustls::crypto::ring;
use tokio::sync::Mutex;
use tower_reauth::revoke::shared::Connect;

use crate::config::{RedisUrl, Scheme};

/// Longer than what is read waits for an entry.
const ANSWERED_WITHIN: Duration = Duration::from_secs(10);

/// Where the server is asked for.
pub enum Reach {
    Server(Client),
    Sentinels(Mutex<SentinelClient>),
    Cluster(ClusterClient),
}

/// A connection to a server, or to those of a cluster.
#[derive(Clone)]
pub enum Link {
    Server(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Reach {
    /// Connects to nothing yet. The error may quote the URL, and in it a password.
    pub fn new(url: &RedisUrl) -> RedisResult<Self> {
        if url.is_secured {
            // Another one that was chosen before will do as well.
            let _ = ring::default_provider().install_default();
        }
        match &url.scheme {
            Scheme::Server => Client::open(&*url.text).map(Self::Server),
            Scheme::Sentinels { service, user, password } => {
                let sentinels = url.hosts.iter().map(|host| address(host, url.is_secured));
                let mut builder = SentinelClientBuilder::new(sentinels, service, SentinelServerType::Master)?
                    .set_client_to_redis_db(url.database);
                if url.is_secured {
                    builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
                }
                if let Some(user) = &url.user {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = &url.password {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some(user) = user {
                    builder = builder.set_client_to_sentinel_username(user);
                }
                if let Some(password) = password {
                    builder = builder.set_client_to_sentinel_password(password);
                }
                builder.build().map(Mutex::new).map(Self::Sentinels)
            }
            Scheme::Cluster => {
                let servers = url.hosts.iter().map(|host| address(host, url.is_secured));
                let mut builder = ClusterClientBuilder::new(servers).retries(2).response_timeout(ANSWERED_WITHIN);
                if let Some(user) = &url.user {
                    builder = builder.username(user);
                }
                if let Some(password) = &url.password {
                    builder = builder.password(password);
                }
                builder.build().map(Self::Cluster)
            }
        }
    }
}

fn address((host, port): &(String, u16), is_secured: bool) -> ConnectionAddr {
    let (host, port) = (host.clone(), *port);
    match is_secured {
        true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        false => ConnectionAddr::Tcp(host, port),
    }
}

impl Connect for Reach {
    type Connection = Link;

    async fn connect(&self) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        match self {
            Self::Server(client) => {
                client.get_multiplexed_async_connection_with_config(&config).await.map(Link::Server)
            }
            Self::Sentinels(client) => {
                let mut client = client.lock().await;
                client.get_async_connection_with_config(&config).await.map(Link::Server)
            }
            Self::Cluster(client) => client.get_async_connection().await.map(Link::Cluster),
        }
    }
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Self::Server(connection) => connection.req_packed_command(command),
            Self::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Self::Server(connection) => connection.req_packed_commands(pipeline, offset, count),
            Self::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Self::Server(connection) => connection.get_db(),
            Self::Cluster(connection) => connection.get_db(),
        }
    }
}
