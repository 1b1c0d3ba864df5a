//! What threads share is made of these: std's locks and counters and tokio's bell, under one name.
//!
//! In `tests/loom` the same name stands for loom's, which tries every order in which threads can use
//! them. So the files that are tried there take them from here; others have no need to.

pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

pub(crate) use tokio::sync::{Notify, futures::OwnedNotified};
