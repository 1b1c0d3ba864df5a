//! Files that others write: noticing that one has changed, and proving that none has. And those that we write.
//!
//! - [`watch`]: a [`Watcher`] gives a [`Watched`] handle, which wakes within milliseconds of a write. Settings
//!   and live streams follow their files by it.
//! - [`disk`]: opening and reading, with every error told from nothing being there.
//! - [`replace`]: writing a file of our own, whole or not at all.
//! - [`stamp`]: a [`Stamp`] is what `stat` says of a path. Cached pages and stores compare stamps to see
//!   whether they are still right.

pub mod disk;
pub mod replace;
mod stamp;
mod watch;

pub use self::{
    stamp::{Stamp, Stamps},
    watch::{Watched, Watcher},
};
