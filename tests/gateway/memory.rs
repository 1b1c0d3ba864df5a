//! What many streams took is given back when they are gone.

use std::{
    fs,
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::{
    client::Response,
    house::{House, TOKEN, history},
    process::Gateway,
    state::State,
};

const STREAMS: usize = 1000;

/// How long idle threads and memory are kept, and how long it may take until all are gone.
const KEPT: Duration = Duration::from_secs(12);
const SETTLED: Duration = Duration::from_secs(40);

/// What the process holds of memory, in KiB.
fn memory(gateway: &Gateway) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|number| number.parse().ok()).expect("a number")
}

fn threads(gateway: &Gateway) -> usize {
    fs::read_dir(format!("/proc/{}/task", gateway.process())).expect("a process").count()
}

fn open(house: &House) -> Vec<Response> {
    let request = history("").header("Accept", "text/event-stream").header("Authorization", &format!("Bearer {TOKEN}"));
    let streams = (0..STREAMS).map(|_| house.send(request.clone()));
    streams.inspect(|stream| assert_eq!(stream.status, 200)).collect()
}

/// Waits until so much is left at most.
fn settles(house: &House, most_memory: u64, most_threads: usize) {
    let start = Instant::now();
    loop {
        let (memory, threads) = (memory(&house.gateway), threads(&house.gateway));
        if memory <= most_memory && threads <= most_threads {
            return;
        }
        assert!(start.elapsed() < SETTLED, "{memory} KiB of {most_memory}, {threads} threads of {most_threads}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn streams_that_were_aborted_leave_no_memory_and_no_thread() {
    let house = House::over(State::of_messages(1));
    // Once, for what is made at the first use.
    drop(open(&house));
    thread::sleep(KEPT);
    let (memory_before, threads_before) = (memory(&house.gateway), threads(&house.gateway));
    for round in 0..5 {
        let streams = open(&house);
        let taken = memory(&house.gateway) - memory_before.min(memory(&house.gateway));
        assert!(round == 0 || taken > 1000, "{taken} KiB for {STREAMS} streams");
        drop(streams);
    }
    settles(&house, memory_before * 6 / 5, threads_before + 2);
    drop(TcpStream::connect(house.gateway.address).expect("it serves"));
}
