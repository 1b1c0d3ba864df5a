//! [`Following`]: a session that is followed by one who has no use for the whole history.

use std::{io, sync::Arc};

use bytes::Bytes;
use tokio::{
    sync::broadcast::{self, error::RecvError},
    time::sleep,
};

use super::{
    Feed, FeedKey,
    event::Event,
    feed::Sent,
    held::Held,
    resume::Start,
    streams::{OpenSession, WAIT},
};

/// Follows a session until it is dropped.
pub struct Following {
    feed: Arc<Held<FeedKey, Feed>>,
    /// Open for as long as it is followed.
    session: Arc<Held<String, OpenSession>>,
    sent: broadcast::Receiver<Sent>,
}

/// What has happened to a session.
pub enum News {
    /// Messages were appended: the JSON of each, as the `message` event of a stream has it.
    Messages(Vec<Bytes>),
    /// More than messages can say, or than could be kept for who is slow. What comes after follows on the history as
    /// it is now.
    Changed,
    /// The key that was asked for means another session now, or none. Nothing comes after.
    Over,
    /// The streams of the session are ended. Nothing comes after.
    Killed,
}

impl Following {
    pub(super) async fn begin(
        feed: Arc<Held<FeedKey, Feed>>,
        session: Arc<Held<String, OpenSession>>,
    ) -> io::Result<Self> {
        let sent = feed.join(Start::Now).await?.sent;
        Ok(Self { feed, session, sent })
    }

    /// Waits for news.
    pub async fn next(&mut self) -> News {
        let sent = tokio::select! {
            () = self.session.killed.cancelled() => return News::Killed,
            sent = self.sent.recv() => sent,
        };
        match sent {
            Ok(Sent::Events(events)) => News::Messages(events.iter().map(Event::data).collect()),
            Ok(Sent::Over) | Err(RecvError::Closed) => News::Over,
            Ok(Sent::Anew) | Err(RecvError::Lagged(_)) => {
                self.begin_anew().await;
                News::Changed
            }
        }
    }

    async fn begin_anew(&mut self) {
        loop {
            match self.feed.join(Start::Now).await {
                Ok(joined) => return self.sent = joined.sent,
                // The feed says so when it finds it out.
                Err(error) => tracing::debug!(%error, "a session that changed is waited for"),
            }
            sleep(WAIT).await;
        }
    }
}
