//! Whatever a store says, it ends no lock and locks nobody out for longer than the node itself would; and a client is read
//! as what it prints.

use std::{
    future::pending,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use tokio::time::timeout;
use tower_reauth::limiter::{
    Client, FailureLimiter, FailureLimits,
    shared::{FailureStore, News, Report, StoreError},
};

use crate::support;

const LOCKED: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));
const LOCKOUT: Duration = Duration::from_secs(60);

struct Store {
    news: Vec<News>,
    in_snapshot: usize,
}

impl FailureStore for Store {
    async fn record(&self, reports: &[Report], _: &FailureLimits) -> Result<Vec<Option<Duration>>, StoreError> {
        // More, or fewer, answers than there were reports.
        let left = self.news.iter().map(|news| match news {
            News::LockedOut { left, .. } => Some(*left),
            _ => None,
        });
        Ok(left.take(reports.len() + 1).collect())
    }

    async fn snapshot(&self, take: &mut (dyn FnMut(News) + Send)) -> Result<String, StoreError> {
        self.news[..self.in_snapshot].iter().copied().for_each(take);
        Ok("0".into())
    }

    async fn read(&self, place: &str, _: Duration) -> Result<Option<(String, Vec<News>)>, StoreError> {
        if place == "0" { Ok(Some(("1".into(), self.news[self.in_snapshot..].to_vec()))) } else { pending().await }
    }
}

/// How many are in the snapshot, and behind that byte a line for each piece of news: `failing CLIENT`, `cleared CLIENT` or
/// `MILLISECONDS CLIENT`.
pub(crate) fn run(input: &[u8]) {
    let Some((in_snapshot, lines)) = input.split_first() else { return };
    let Ok(lines) = std::str::from_utf8(lines) else { return };
    let news: Vec<News> = lines.split('\n').filter_map(read).collect();
    let clients: Vec<Client> = news
        .iter()
        .filter_map(|news| match *news {
            News::Failing(client) | News::Cleared(client) | News::LockedOut { client, .. } => Some(client),
            _ => None,
        })
        .collect();
    let in_snapshot = usize::from(*in_snapshot).min(news.len());

    let limits = FailureLimits::new().with_max_attempts(2).with_window(LOCKOUT).with_lockout(LOCKOUT).with_capacity(64);
    support::ready(async {
        let node = FailureLimiter::shared(limits, Store { news, in_snapshot });
        let limiter = node.limiter();
        limiter.failed(LOCKED);
        limiter.failed(LOCKED);
        assert!(limiter.check(LOCKED).is_err());
        timeout(Duration::from_millis(100), node.run()).await.expect_err("it never ends");
        let left = limiter.check(LOCKED).expect_err("no store ends a lock");
        assert!(left <= LOCKOUT && left + Duration::from_millis(100) >= LOCKOUT);
        for client in clients {
            assert!(limiter.check(client.address()).err().is_none_or(|left| left <= LOCKOUT));
        }
    });
}

fn read(line: &str) -> Option<News> {
    let (word, client) = line.split_once(' ')?;
    let client: Client = client.parse().ok()?;
    assert_eq!(client.to_string().parse(), Ok(client));
    match word {
        "failing" => Some(News::Failing(client)),
        "cleared" => Some(News::Cleared(client)),
        left => Some(News::LockedOut { client, left: Duration::from_millis(left.parse().ok()?) }),
    }
}
