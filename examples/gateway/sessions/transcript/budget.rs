//! [`Share`]: how many bytes of transcripts may be in memory at once, for all pages and streams together.
//!
//! A page takes as many as its lines have and gives them back when it is made of them. Who wants more than are
//! free waits, one after the other, so that a large page is not put off for ever by small ones; a page that is
//! larger than all there are waits for all of them.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

const ALL: u64 = 64 * 1024 * 1024;

static BUDGET: Budget = Budget { free: Mutex::new(ALL), freed: Condvar::new(), turn: Mutex::new(()) };

struct Budget {
    free: Mutex<u64>,
    freed: Condvar,
    /// Held by the one who waits.
    turn: Mutex<()>,
}

/// Bytes that are in use until this is dropped. Nobody takes a second one while holding one.
#[derive(Debug)]
pub(crate) struct Share(u64);

impl Share {
    /// Waits until so many bytes are free. Blocks.
    pub(crate) fn take(bytes: u64) -> Self {
        let bytes = bytes.min(ALL);
        let _turn = BUDGET.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let free = BUDGET.freed.wait_while(Self::free(), |free| *free < bytes);
        *free.unwrap_or_else(PoisonError::into_inner) -= bytes;
        Self(bytes)
    }

    fn free() -> MutexGuard<'static, u64> {
        BUDGET.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        *Self::free() += self.0;
        BUDGET.freed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        thread,
    };

    use super::*;

    #[test]
    fn no_more_are_in_use_than_there_are_and_a_larger_one_waits_for_all() {
        let in_use = AtomicU64::new(0);
        thread::scope(|scope| {
            for bytes in [ALL / 2, ALL / 3, 2 * ALL, ALL, 1, ALL / 2 + 1] {
                let in_use = &in_use;
                scope.spawn(move || {
                    for _ in 0..50 {
                        let share = Share::take(bytes);
                        let before = in_use.fetch_add(share.0, Ordering::SeqCst);
                        assert!(before + share.0 <= ALL);
                        thread::yield_now();
                        in_use.fetch_sub(share.0, Ordering::SeqCst);
                    }
                });
            }
        });
        assert_eq!(in_use.into_inner(), 0);
    }
}
