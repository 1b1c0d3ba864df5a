//! [`Share`]: how many bytes of transcripts may be in memory at once, for all pages and streams together.
//!
//! A page takes as many as its lines have and gives them back when it is made of them. Who wants more than are
//! free waits, one after the other, so that a large page is not put off for ever by small ones; a page that is
//! larger than all there are waits for all of them.

use std::{
    collections::HashMap,
    sync::{Condvar, LazyLock, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const ALL: u64 = 64 * 1024 * 1024;

/// How long a share may be in use until it counts no more: its file system hangs, and others must go on.
const HUNG: Duration = Duration::from_secs(5);

static BUDGET: LazyLock<Budget> = LazyLock::new(|| Budget {
    shares: Mutex::new(Shares { free: ALL, taken: HashMap::new(), number: 0 }),
    freed: Condvar::new(),
    turn: Mutex::new(()),
});

struct Budget {
    shares: Mutex<Shares>,
    freed: Condvar,
    /// Held by the one who waits.
    turn: Mutex<()>,
}

struct Shares {
    free: u64,
    /// By number: how many bytes, and since when.
    taken: HashMap<u64, (u64, Instant)>,
    number: u64,
}

impl Shares {
    fn give_back(&mut self, number: u64) {
        self.free += self.taken.remove(&number).map_or(0, |(bytes, _)| bytes);
    }

    fn forget_hung(&mut self) {
        let hung = self.taken.iter().filter(|(_, (_, since))| since.elapsed() >= HUNG);
        let hung: Vec<_> = hung.map(|(number, _)| *number).collect();
        hung.into_iter().for_each(|number| self.give_back(number));
    }
}

/// Bytes that are in use until this is dropped. Nobody takes a second one while holding one.
#[derive(Debug)]
pub(crate) struct Share(u64);

impl Share {
    /// Waits until so many bytes are free. Blocks.
    pub(crate) fn take(bytes: u64) -> Self {
        let bytes = bytes.min(ALL);
        let _turn = BUDGET.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let mut shares = Self::all();
        while shares.free < bytes {
            shares = BUDGET.freed.wait_timeout(shares, HUNG).unwrap_or_else(PoisonError::into_inner).0;
            shares.forget_hung();
        }
        shares.free -= bytes;
        shares.number += 1;
        let number = shares.number;
        shares.taken.insert(number, (bytes, Instant::now()));
        Self(number)
    }

    fn all() -> MutexGuard<'static, Shares> {
        BUDGET.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        Self::all().give_back(self.0);
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
                        let bytes = bytes.min(ALL);
                        let before = in_use.fetch_add(bytes, Ordering::SeqCst);
                        assert!(before + bytes <= ALL);
                        thread::yield_now();
                        in_use.fetch_sub(bytes, Ordering::SeqCst);
                        drop(share);
                    }
                });
            }
        });
        assert_eq!(in_use.into_inner(), 0);
    }
}
