//! What the operating system says of this process, by the names that Prometheus' own clients give it.
//!
//! It is written as text and not counted by the recorder, whose counters are whole numbers: seconds of a processor
//! are not.

use std::{
    fmt::{Display, Write},
    fs, io,
};

use rustix::process::{Resource, getrlimit};

/// The metrics, as text. Where there is no `/proc` there are none. Asks the file system, so it blocks.
pub fn text() -> String {
    read().unwrap_or_default()
}

fn read() -> io::Result<String> {
    let stat = Stat::parse(&fs::read_to_string("/proc/self/stat")?)?;
    let (tick, page) = (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as u64);
    // One is the folder that is being read.
    let descriptors = fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
    let limit = getrlimit(Resource::Nofile).current;
    let boot = boot_time(&fs::read_to_string("/proc/stat")?)?;
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
    let start = boot as f64 + stat.start as f64 / tick;
    say("process_start_time_seconds", "gauge", "When the process began, since the Unix epoch.", &start);
    Ok(text)
}

/// What is read of `/proc/self/stat` (proc_pid_stat(5)). Times are in ticks, the start since the machine was booted.
#[derive(Debug, PartialEq)]
struct Stat {
    user: u64,
    system: u64,
    threads: u64,
    start: u64,
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
            start: field(22)?,
            virtual_bytes: field(23)?,
            resident_pages: field(24)?,
        })
    }
}

/// In seconds since the Unix epoch.
fn boot_time(text: &str) -> io::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|time| time.parse().ok()).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc/stat"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) b (c) S 1 7 7 0 -1 4194304 1 2 3 4 50 60 0 0 20 0 9 0 700 8000 90 184 1 1";
        let stat = Stat { user: 50, system: 60, threads: 9, start: 700, virtual_bytes: 8000, resident_pages: 90 };
        assert_eq!(Stat::parse(text).unwrap(), stat);
        for broken in ["", "7 (a", "7 (a) S 1 7", &text.replace("50 60", "x 60")] {
            assert!(Stat::parse(broken).is_err(), "{broken}");
        }
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\nprocesses 1\n").unwrap(), 1_700_000_000);
        assert!(boot_time("cpu 1 2\n").is_err());
    }
}
