//! What was logged.

use std::{cell::RefCell, io, sync::Once};

thread_local! {
    /// Empty until the thread asks for its log: tests that count what is allocated ask for none.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// What the current thread, and so the current test, logs from here on.
pub fn logging() -> Log {
    // One subscriber for all threads: tracing decides once for a process whether a call is of
    // interest, so subscribers that come and go would miss some.
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| Writer)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("nobody else installs one");
        tracing::callsite::rebuild_interest_cache();
    });
    LOG.set(Some(Vec::new()));
    Log
}

/// What was logged.
pub struct Log;

impl Log {
    pub fn text(&self) -> String {
        LOG.with_borrow(|log| String::from_utf8_lossy(log.as_deref().unwrap_or_default()).into_owned())
    }

    pub fn count(&self, part: &str) -> usize {
        self.text().matches(part).count()
    }
}

struct Writer;

impl io::Write for Writer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
