//! [`Shown`]: a session as its streams show it, for one who sends that on to where they are.

use std::{io, sync::Arc};

use super::{Feed, FeedKey, feed::Subscription, held::Held, resume::Start, streams::OpenSession};

/// A session that is followed until this is dropped.
pub struct Shown {
    pub(super) feed: Arc<Held<FeedKey, Feed>>,
    pub(super) session: Arc<Held<String, OpenSession>>,
}

impl Shown {
    /// What a stream that begins so is sent.
    pub async fn join(&self, start: Start) -> io::Result<Subscription> {
        self.feed.join(start).await
    }

    /// Completes when the streams of the session are ended by hand.
    pub async fn killed(&self) {
        self.session.killed.cancelled().await;
    }
}
