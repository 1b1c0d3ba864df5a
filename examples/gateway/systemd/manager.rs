//! What the service manager is told (`sd_notify(3)`).

use std::{
    env, io,
    sync::mpsc::{Sender, SyncSender, channel, sync_channel},
    thread,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::{task::yield_now, time::sleep};

/// How much may wait to be told.
const MOST: usize = 64;

/// Tells the service manager, if there is one, from a thread of its own: it may be slow to listen. Clones tell the
/// same.
#[derive(Clone)]
pub struct Manager(Option<SyncSender<Entry>>);

enum Entry {
    States(String),
    /// Answered when all before it is told.
    Flush(Sender<()>),
}

impl Manager {
    /// The one that started this process.
    pub fn of_this_process() -> io::Result<Self> {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self(None));
        }
        let (queue, said) = sync_channel(MOST);
        thread::Builder::new().name("manager".to_owned()).spawn(move || {
            let mut is_heard = true;
            for entry in said {
                let told = match entry {
                    Entry::States(states) => sd_notify::notify(&[NotifyState::Custom(&states)]),
                    Entry::Flush(done) => {
                        // Nobody may wait for it any more.
                        let _ = done.send(());
                        continue;
                    }
                };
                if let Err(error) = &told
                    && is_heard
                {
                    tracing::warn!(%error, "the service manager cannot be told how the gateway is");
                }
                is_heard = told.is_ok();
            }
        })?;
        Ok(Self(Some(queue)))
    }

    /// The gateway serves, or serves again.
    pub fn is_ready(&self, status: &str) {
        self.say(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// Settings are read again; what comes next is [`is_ready`](Self::is_ready). Without the time of it the manager
    /// waits for ever.
    pub fn reloads(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.say(&[NotifyState::Reloading, now, NotifyState::Status("reading its settings again")]),
            Err(error) => tracing::warn!(%error, "there is no monotonic time"),
        }
    }

    /// The gateway stops.
    pub fn stops(&self) {
        self.say(&[NotifyState::Stopping, NotifyState::Status("its streams are told, and what is sent is finished")]);
    }

    /// Says, twice in the time that the manager waits for it, that the runtime still runs tasks.
    pub async fn watchdog(self) {
        let Some(patience) = sd_notify::watchdog_enabled().filter(|_| self.0.is_some()) else {
            return std::future::pending().await;
        };
        let pause = (patience / 2).max(Duration::from_millis(1));
        loop {
            // Through the queue of all tasks and back, and by the timer.
            let has_run = tokio::spawn(yield_now()).await;
            if has_run.is_ok() {
                self.say(&[NotifyState::Watchdog]);
            }
            sleep(pause).await;
        }
    }

    fn say(&self, states: &[NotifyState<'_>]) {
        if let Some(queue) = &self.0 {
            let states: Vec<_> = states.iter().map(ToString::to_string).collect();
            // One that has not listened for so long does not hear this either.
            let _ = queue.try_send(Entry::States(states.join("\n")));
        }
    }

    /// Waits until all is told, or for this long.
    pub fn flush(&self, at_most: Duration) {
        let (done, told) = channel();
        if self.0.as_ref().is_some_and(|queue| queue.try_send(Entry::Flush(done)).is_ok()) {
            // Else it does not listen.
            let _ = told.recv_timeout(at_most);
        }
    }
}
