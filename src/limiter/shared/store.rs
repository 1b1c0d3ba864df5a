//! What a store must be able to do: the seam between this library and what several machines share.

use std::{error::Error, fmt, time::Duration};

use crate::limiter::{Client, FailureLimits};

/// Counts the failures of all nodes, and knows who is locked out.
///
/// It remembers at most [`capacity`](FailureLimits::capacity) clients that fail, and as many that are locked out, and
/// each only for as long as that matters. Time is its own clock's; what crosses between it and a node is a length of time.
///
/// A call may be given up at any time, and nothing is made of how long it takes: whoever calls has a limit.
pub trait FailureStore: Send + Sync + 'static {
    /// Takes `reports`, in this order, each of them whole or not at all, and says for each how long its client is locked out
    /// then, if it is.
    ///
    /// The failure that is the last of [`max_attempts`](FailureLimits::max_attempts) within a
    /// [`window`](FailureLimits::window) locks its client out, for a [`lockout`](FailureLimits::lockout) from when it
    /// happened. While a client is locked out nothing about it changes. What was taken before, by its
    /// [`id`](Report::id), counts once.
    ///
    /// # Errors
    ///
    /// If they are not known to be taken. Some or all of them may be all the same.
    fn record(
        &self,
        reports: &[Report],
        limits: &FailureLimits,
    ) -> impl Future<Output = Result<Vec<Option<Duration>>, StoreError>> + Send;

    /// Hands over all that holds, as [`News::Failing`] and [`News::LockedOut`], and returns a place in the news: what is not
    /// handed over comes after it.
    ///
    /// # Errors
    ///
    /// If it cannot be read whole.
    fn snapshot(&self, take: &mut (dyn FnMut(News) + Send)) -> impl Future<Output = Result<String, StoreError>> + Send;

    /// The news after `place`, and the place of the last of them. Without any it waits for some, for `at_most` so long, and
    /// then has none. `None` if some that came after `place` cannot be read any more.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read(
        &self,
        place: &str,
        at_most: Duration,
    ) -> impl Future<Output = Result<Option<(String, Vec<News>)>, StoreError>> + Send;
}

/// What happened on one node.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Another text for each, on all nodes.
    pub id: String,
    /// To whom it happened.
    pub client: Client,
    /// What did.
    pub what: What,
    /// How long ago.
    pub ago: Duration,
}

/// What happens to a client on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// It failed.
    Failed,
    /// It failed, and is locked out on the node that tells it: so it is on all, whatever else was counted.
    LockedOut,
    /// It succeeded: its failures are forgotten.
    Succeeded,
}

/// What happened to a client on any node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// It has failed, and had not within a window before.
    Failing(Client),
    /// Its failures are forgotten.
    Cleared(Client),
    /// It is locked out.
    LockedOut {
        /// Who is.
        client: Client,
        /// For how long from now on.
        left: Duration,
    },
}

/// Why a store could not do what it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// It cannot be reached, or says that it cannot.
    Unavailable(Box<dyn Error + Send + Sync>),
    /// It did not answer in time.
    TimedOut,
    /// It panicked.
    Panicked,
}

impl StoreError {
    /// It cannot be reached, for this reason.
    pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => write!(f, "it cannot be asked: {error}"),
            Self::TimedOut => f.write_str("it did not answer in time"),
            Self::Panicked => f.write_str("it panicked"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(error) => Some(&**error),
            Self::TimedOut | Self::Panicked => None,
        }
    }
}
