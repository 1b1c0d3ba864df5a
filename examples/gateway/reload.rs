//! SIGHUP: everything that can change is read again, and a log that was moved away is begun anew.
//!
//! Files are followed without it. It is for file systems that report nothing, for logrotate, and for an operator who
//! wants to be told how a change went.

use std::{io, time::Duration};

use tokio::{signal::unix::Signal, task::spawn_blocking, time::timeout};

use crate::{config::Reload, http::operate::Audit, systemd::Manager};

/// How long files may take to be read until it is said that they hang.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reloads at each signal, and says what came of it.
pub async fn at_signal(mut hangup: Signal, reload: Reload, audit: Audit, manager: Manager, status: String) {
    while hangup.recv().await.is_some() {
        manager.reloads();
        let audit_log = match begin_anew(audit.clone()).await {
            Ok(true) => "begun anew",
            Ok(false) => "none",
            Err(error) => {
                tracing::warn!(%error, "--audit-log: it cannot be opened anew, and goes on where it is");
                "as it was"
            }
        };
        let outcome = match timeout(PATIENCE, reload.all()).await {
            Ok(Some(reloaded)) if reloaded.failed.is_empty() => {
                let changed = reloaded.changed.join(", ");
                tracing::info!(changed, audit_log, "reloaded");
                status.clone()
            }
            Ok(Some(reloaded)) => {
                let (changed, failed) = (reloaded.changed.join(", "), reloaded.failed.join("; "));
                tracing::warn!(changed, failed, audit_log, "reloaded in part: the rest stays as it was");
                format!("{status}; not reloaded: {failed}")
            }
            Ok(None) | Err(_) => {
                tracing::warn!(audit_log, "some files of settings are not read to their end: what they said goes on");
                format!("{status}; not reloaded: files that cannot be read to their end")
            }
        };
        manager.is_ready(&outcome);
    }
    std::future::pending().await
}

/// On a thread that may block: the disk of the log may hang.
async fn begin_anew(audit: Audit) -> io::Result<bool> {
    timeout(PATIENCE, spawn_blocking(move || audit.reopen())).await??
}
