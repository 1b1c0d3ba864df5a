#!/usr/bin/env python3
"""How soon a revocation is heard, and what it costs to share them: `figures.py GATEWAY [ROUNDS]`, a release build."""

import sys
import threading
import time
from statistics import median

from processes import Gateway, Redis, all_ready, end_all, until
from recorder import Recorder

STREAMS = 1_000
# A credential has so many streams on each gateway.
EACH = 10
WATCHED = 10.0


def told(what, late):
    late = sorted(late)
    at = [late[min(len(late) - 1, int(len(late) * part))] * 1000 for part in (0.5, 0.99, 1)]
    times = f"median {at[0]:.1f} ms, p99 {at[1]:.1f} ms, the last {at[2]:.1f} ms"
    print(f"   {what}: {len(late):,} streams, {times}", flush=True)


def ended(program):
    """From the order's first byte to a stream's last frame, by the kernel's stamp."""
    print(f"-- revoked on one, ended on all: 3 gateways with {STREAMS:,} streams each", flush=True)
    redis = Redis("redis", "--appendonly", "yes", "--appendfsync", "always")
    gateways = [Gateway(name, redis.port, STREAMS // EACH + 1, "15s").start(program) for name in "abc"]
    all_ready(gateways)
    recorder = Recorder(comes_back=False)

    def ended_by(gateway, n, clients):
        asked = time.time()
        assert gateway.revoke(credential=f"t{n}") == "all"
        until("all have ended", lambda: all(client.ends for client in clients))
        return [client.ends[0][0] - asked for client in clients]

    credentials = range(STREAMS // EACH)
    by = {n: [recorder.follow(gateway, n) for gateway in gateways for _ in range(EACH)] for n in credentials}
    until("they are in", lambda: all(client.last_frame for clients in by.values() for client in clients))
    late = []
    for n, clients in by.items():
        time.sleep(0.1)
        late += ended_by(gateways[n % 3], n, clients)
    told("one credential after the other", late)
    crowd = [recorder.follow(gateway, len(credentials)) for gateway in gateways for _ in range(STREAMS)]
    until("they are in", lambda: all(client.last_frame for client in crowd))
    time.sleep(2)
    told("all of one credential", ended_by(gateways[0], len(credentials), crowd))
    for gateway in gateways:
        gateway.kill()


def processor_time(gateway):
    """By the kernel's clock of that process (`clock_getcpuclockid`), in seconds."""
    return time.clock_gettime_ns((~gateway.process.pid << 3) | 2) / 1e9


def idle(program, rounds):
    """Processor time of a gateway that shares and of one that does not, the two under the same load in turn."""
    print("-- nothing is revoked: with Redis, and without", flush=True)
    redis = Redis("quiet", "--appendonly", "yes", "--appendfsync", "always")
    pair = [Gateway("with", redis.port, 1, "1s").start(program), Gateway("without", None, 1, "1s").start(program)]
    all_ready(pair)
    recorder = Recorder(comes_back=False)
    clients = [recorder.follow(gateway, 0) for gateway in pair for _ in range(STREAMS)]
    until("they are in", lambda: all(client.last_frame for client in clients))

    def measured(what, load):
        spent = [[], []]
        for turn in range(rounds):
            for which in ((0, 1), (1, 0))[turn % 2]:
                before = processor_time(pair[which])
                load(pair[which])
                spent[which].append(processor_time(pair[which]) - before)
        ratios = sorted(ours / theirs for ours, theirs in zip(*spent))
        ours, theirs = (median(times) * 1000 for times in spent)
        print(f"   {what}: {ours:.1f} ms with, {theirs:.1f} without, ratio {median(ratios):.3f} "
              f"({ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f})", flush=True)

    def pages(gateway):
        def some():
            for _ in range(500):
                gateway.page(0)
        threads = [threading.Thread(target=some) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    measured(f"{STREAMS:,} streams that are checked once a second, {WATCHED:.0f} s", lambda _: time.sleep(WATCHED))
    measured("2,000 pages, each over a connection of its own", pages)


if __name__ == "__main__":
    try:
        ended(sys.argv[1])
        idle(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 12)
    finally:
        end_all()
