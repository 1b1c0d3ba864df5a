//! What a log must be able to do: the seam between this library and a store that several machines share.

use std::{
    error::Error,
    fmt,
    time::{Duration, SystemTime},
};

use super::Entry;

/// A log of revocations that several nodes share, in one order for all of them.
///
/// It numbers its entries from 1 on without a gap, and keeps of each topic the entry of the highest rank (its *state*);
/// the entries themselves it need not keep for long: a node that finds those gone that it has not read goes by the state.
/// An entry that has no higher rank than the state of its topic may be passed over. One that forgets must be, where the same
/// entry came in the last day: it comes again when its writer does not know that it is there, and others may have revoked
/// that topic since.
///
/// A call may be given up at any time, and nothing is made of how long it takes: whoever calls has a limit.
pub trait RevocationLog: Send + Sync + 'static {
    /// Where the log stands now. It must have been asked after this was called.
    ///
    /// # Errors
    ///
    /// If it cannot be told, or the log takes no entry at present: who reads from it could not know that others write
    /// elsewhere.
    fn standing(&self) -> impl Future<Output = Result<Standing, LogError>> + Send;

    /// Hands over the state: each topic that had one before this was called, as of then or later.
    ///
    /// # Errors
    ///
    /// If it cannot be read whole.
    fn state(&self, take: &mut (dyn FnMut(Entry) + Send)) -> impl Future<Output = Result<(), LogError>> + Send;

    /// The entries after the one with the number `after`, the first of them and as many more as are at hand. Without any
    /// it waits for one, for `at_most` so long, and then has none.
    ///
    /// # Errors
    ///
    /// If they cannot be read.
    fn read(&self, after: u64, at_most: Duration) -> impl Future<Output = Result<Vec<(u64, Entry)>, LogError>> + Send;

    /// Appends `entries`, in this order. With those that it has [lost](Origin::Lost) its life is not the same any more
    /// [since](Standing::since) then.
    ///
    /// # Errors
    ///
    /// If they are not known to be as safe as the log promises. Some or all of them may be there all the same.
    fn append(&self, entries: &[Entry], origin: Origin) -> impl Future<Output = Result<(), LogError>> + Send;
}

/// Where a log stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which log it is, and which life of it: another text wherever something that it has acknowledged may be lost. A
    /// server that was started anew, say, or another one that took its place.
    pub life: String,
    /// Since when it is in this life, or since what it has lost was written again, whichever is later. For a while after
    /// that nobody goes by it: others may know what it does not.
    pub since: SystemTime,
    /// The number of the first entry that can still be read; one more than `last` if none can.
    pub first: u64,
    /// The number of the last entry, 0 for none.
    pub last: u64,
    /// The time by the log's own clock, which is the clock of all its nodes.
    pub now: SystemTime,
}

/// Where an entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Something was revoked.
    New,
    /// It was in the log, and is not any more.
    Lost,
}

/// Why a log could not do what it was asked to.
#[derive(Debug)]
#[non_exhaustive]
pub enum LogError {
    /// It cannot be reached, or says that it cannot.
    Unavailable(Box<dyn Error + Send + Sync>),
    /// There is something in it that this release cannot read.
    Unreadable {
        /// What it says.
        entry: String,
        /// What is wrong with it.
        error: super::InvalidEntry,
    },
    /// It did not answer in time.
    TimedOut,
    /// It panicked.
    Panicked,
}

impl LogError {
    /// It cannot be reached, for this reason.
    pub fn unavailable(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Unavailable(error.into())
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unavailable(error) => write!(f, "it cannot be asked: {error}"),
            Self::Unreadable { entry, error } => {
                // Its version and what it is about: there may be a digest after that.
                let start: Vec<_> = entry.splitn(3, ' ').take(2).collect();
                let start: String = start.join(" ").chars().take(32).collect();
                write!(f, "its entry {start:?} cannot be read: {error}")
            }
            Self::TimedOut => f.write_str("it did not answer in time"),
            Self::Panicked => f.write_str("it panicked"),
        }
    }
}

impl Error for LogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(error) => Some(&**error),
            Self::Unreadable { error, .. } => Some(error),
            Self::TimedOut | Self::Panicked => None,
        }
    }
}
