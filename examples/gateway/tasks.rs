//! The tasks that run for as long as the gateway does, and the signals that end it.
//!
//! What decides who may read hangs on tasks. One that ends unasked, by a panic or otherwise, must not go
//! unnoticed: the gateway stops then, and says so by its exit code.

use std::{collections::HashMap, io, process, thread, time::Duration};

use tokio::{
    runtime,
    signal::unix::{Signal, SignalKind, signal},
    task::{Id, JoinSet},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// How much longer than its connections may take to finish the gateway may take to end: more than all that it does
/// then takes.
const LAST_RESORT: Duration = Duration::from_secs(5);

/// How many threads run the gateway's tasks: two at least, so that one can wait for a file system.
pub fn workers() -> usize {
    thread::available_parallelism().map_or(2, |cores| cores.get().max(2))
}

/// Tasks by name. They are aborted when this is dropped.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    finally: Vec<Box<dyn FnOnce() + Send>>,
}

impl Tasks {
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.running.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Has this done when the gateway has served.
    pub fn finally(&mut self, work: impl FnOnce() + Send + 'static) {
        self.finally.push(Box::new(work));
    }

    /// Does what is to be done at the end.
    pub fn finish(&mut self) {
        self.finally.drain(..).for_each(|work| work());
    }

    /// Waits for the first task that ends, and gives its name.
    pub async fn first_to_end(&mut self) -> &'static str {
        let id = match self.running.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, ()))) => id,
            Some(Err(error)) => error.id(),
        };
        self.names.remove(&id).unwrap_or("a task")
    }
}

/// Cancels `stop` at Ctrl-C or SIGTERM, once `announce` has said so. A signal counts from the return of this on.
///
/// A second signal ends the process there and then, and so does the end of `drain` and [`LAST_RESORT`]. All of it is the work of a
/// thread of its own: a gateway that hangs still hears.
pub fn stop_at_signal(
    stop: CancellationToken,
    drain: Duration,
    announce: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals { interrupted: signal(SignalKind::interrupt())?, terminated: signal(SignalKind::terminate())? }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            signals.next().await;
            announce();
            // First the deed, then the word.
            stop.cancel();
            tracing::info!("stopping");
            let _ = timeout(drain.saturating_add(LAST_RESORT), signals.next()).await;
        });
        process::exit(1);
    })?;
    Ok(())
}

struct Signals {
    interrupted: Signal,
    terminated: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupted.recv() => {}
            _ = self.terminated.recv() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_task_that_ends_is_named_however_it_ends() {
        let mut tasks = Tasks::default();
        tasks.spawn("for ever", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.first_to_end().await, "short");
        tasks.spawn("broken", async { panic!("as it should") });
        assert_eq!(tasks.first_to_end().await, "broken");
        let waiting = timeout(Duration::from_millis(20), tasks.first_to_end()).await;
        assert!(waiting.is_err());
    }

    #[tokio::test]
    async fn without_tasks_none_ends() {
        assert!(timeout(Duration::from_millis(20), Tasks::default().first_to_end()).await.is_err());
    }
}
