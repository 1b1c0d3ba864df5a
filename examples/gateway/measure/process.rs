//! What the operating system says of this process, by the names that Prometheus' own clients give it.
//!
//! It is written as text and not counted by the recorder, whose counters are whole numbers: seconds of a processor
//! are not. Nothing is read but what `/proc` has of this process: a unit may hide the rest (`ProcSubset=pid`).

use std::{
    fmt::{Display, Write},
    fs, io,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use rustix::process::{Resource, getrlimit};

/// The metrics of a process that began then, as text. Where there is no `/proc` there are none. Asks the file system,
/// so it blocks.
pub fn text(began: SystemTime) -> String {
    read(Path::new("/proc"), began).unwrap_or_default()
}

fn read(proc: &Path, began: SystemTime) -> io::Result<String> {
    let stat = Stat::parse(&fs::read_to_string(proc.join("self/stat"))?)?;
    let (tick, page) = (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as u64);
    // One is the folder that is being read.
    let descriptors = fs::read_dir(proc.join("self/fd"))?.count().saturating_sub(1);
    let limit = getrlimit(Resource::Nofile).current;
    let mut text = String::new();
    let mut say = |name: &str, kind: &str, help: &str, value: &dyn Display| {
        // A text takes whatever is written to it.
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
    };
    let seconds = (stat.user + stat.system) as f64 / tick;
    say("process_cpu_seconds_total", "counter", "Seconds of user and system time.", &seconds);
    say("process_resident_memory_bytes", "gauge", "Resident memory.", &(stat.resident_pages * page));
    say("process_virtual_memory_bytes", "gauge", "Virtual memory.", &stat.virtual_bytes);
    say("process_open_fds", "gauge", "File descriptors that are open.", &descriptors);
    if let Some(limit) = limit {
        say("process_max_fds", "gauge", "File descriptors that may be open.", &limit);
    }
    say("process_threads", "gauge", "Threads.", &stat.threads);
    let start = began.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    say("process_start_time_seconds", "gauge", "When the process began, since the Unix epoch.", &start);
    Ok(text)
}

/// What is read of `/proc/self/stat` (proc_pid_stat(5)). Times are in ticks.
#[derive(Debug, PartialEq)]
struct Stat {
    user: u64,
    system: u64,
    threads: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> io::Result<Self> {
        // The name, in parentheses, may hold anything.
        let rest = text.rsplit_once(") ").map(|(_, rest)| rest).unwrap_or_default();
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // The first of them is the third field.
        let field = |number: usize| {
            let field = fields.get(number - 3).and_then(|field| field.parse().ok());
            field.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/self/stat"))
        };
        Ok(Self {
            user: field(14)?,
            system: field(15)?,
            threads: field(20)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// As the unit in `systemd` has it (`ProcSubset=pid`).
    #[test]
    fn where_only_processes_are_shown_all_is_said() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("self/fd")).unwrap();
        fs::write(folder.path().join("self/fd/0"), "").unwrap();
        fs::copy("/proc/self/stat", folder.path().join("self/stat")).unwrap();
        let text = read(folder.path(), SystemTime::UNIX_EPOCH + Duration::from_millis(1500)).unwrap();
        for expected in ["\nprocess_open_fds 0\n", "\nprocess_threads ", "\nprocess_start_time_seconds 1.5\n"] {
            assert!(text.contains(expected), "{expected}: {text}");
        }
    }

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 9 0 700 8000 90 184 1 1";
        let stat = Stat { user: 50, system: 60, threads: 9, virtual_bytes: 8000, resident_pages: 90 };
        assert_eq!(Stat::parse(text).unwrap(), stat);
        for broken in ["", "7 (a", "7 (a) S 1 7", &text.replace("50 60", "x 60")] {
            assert!(Stat::parse(broken).is_err(), "{broken}");
        }
    }
}
