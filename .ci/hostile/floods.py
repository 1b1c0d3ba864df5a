#!/usr/bin/env python3
"""Floods, each against a gateway of its own with a client beside it that behaves: `python3 -B .ci/hostile/floods.py PROGRAM short`,
or `long`, with the names of some floods (or a part of them) if not all are wanted.

What must hold for each:

1. No request of the client that behaves comes to nothing, and its p99 is at most three times what it was just before. On a
   machine that others use, too, one time in three has to do. Where as many are connected as may be it waits for a place.
2. Memory stays within a bound while the flood goes on.
3. When whoever flooded has gone, connections, streams, descriptors, threads and memory are back where they were."""

import statistics
import sys
import time

import http_1
import http_2
import sockets
from attack import Attack, Most
from gateway import Gateway, until
from neighbour import asks

FORMS = {
    # Seconds of asking before and beside a flood, times, and how long it may take until all is back.
    "short": (0.4, 1, 60),
    "long": (4.0, 3, 60),
}
RATIO = 3.0
# What a clock, a scheduler and other programs of the machine are worth, in milliseconds. The short form has a few requests of a
# program that is not optimised, and notices who waits for tenths of a second.
NOISE = {"short": 40.0, "long": 2.0}
# How much a flood may take while it goes on, and how much of it may stay, in bytes.
ROOM, REST = 600 * 2**20, 48 * 2**20
TRIES = 3


class Wrong(Exception):
    pass


def tried(flood, gateway, form):
    """One row of the table."""
    seconds, times, patience = FORMS[form]
    count = flood.long if form == "long" else flood.count or flood.long // 10
    asks(gateway.port, 0.3, flood.secured)
    ratios, quiet, beside, failed = [], [], [], 0
    memory, descriptors, threads = gateway.memory(), gateway.descriptors(), gateway.threads()
    most = Most(gateway)
    seen = {}
    for _ in range(times):
        before = asks(gateway.port, seconds, flood.secured)
        busy, begun = gateway.busy(), time.monotonic()
        attack = Attack(flood, gateway.port, count)
        try:
            during = asks(gateway.port, seconds, flood.secured)
        finally:
            seen = attack.end()
        busy = (gateway.busy() - busy) / (time.monotonic() - begun)
        failed += during.failed
        quiet.append(before.p99())
        beside.append(during.p99())
        ratios.append(during.p99() / max(before.p99(), NOISE[form]))
    most.end()
    if not gateway.is_alive():
        raise Wrong(f"the gateway has ended: {gateway.said()[-2000:]}")
    try:
        back = until("connections are back", lambda: gateway.connections() <= 0, patience)
        back += until("streams are back", lambda: gateway.streams() == 0, patience)
        back += until("descriptors are back", lambda: gateway.descriptors() <= descriptors + 8, patience)
        back += until("threads are back", lambda: gateway.threads() <= threads + 8, patience)
        back += until("memory is back", lambda: gateway.memory() <= memory + REST, patience)
    except AssertionError as error:
        left = f"{gateway.connections()} connections, {gateway.streams()} streams, {gateway.descriptors()} descriptors, " \
               f"{gateway.threads()} threads, {gateway.memory() >> 20} MB"
        raise Wrong(f"{error}; there are {left}; before: {descriptors}, {threads}, {memory >> 20}") from error
    row = (flood.name, flood.bound, f"{count:,}", f"{statistics.median(quiet):.1f}", f"{statistics.median(beside):.1f}",
           f"{statistics.median(ratios):.1f}", f"{memory >> 20} / {most.memory >> 20} / {gateway.memory() >> 20}",
           f"{descriptors} / {most.descriptors} / {gateway.descriptors()}", f"{threads} / {most.threads}", f"{back:.0f}", f"{busy:.1f}",
           ", ".join(f"{n:,} {what}" for what, n in sorted(seen.items()) if n))
    why = []
    if not any(seen.values()):
        why.append("nobody was there to flood it")
    if failed:
        why.append(f"{failed} requests of the client beside it came to nothing")
    if statistics.median(ratios) > RATIO and statistics.median(beside) > flood.may_wait:
        why.append(f"its p99 is {statistics.median(ratios):.1f} times the quiet one")
    if most.memory - memory > ROOM:
        why.append(f"it took {most.memory - memory >> 20} MB")
    return row, why


HEAD = ("flood", "what it meets", "connections", "quiet p99, ms", "p99 beside it, ms", "ratio", "MB before / most / after",
        "descriptors", "threads", "back after, s", "processors", "seen")


def main():
    program, form, *wanted = sys.argv[1:]
    pair = sockets.certificate()
    failures, rows = 0, 0
    print("| " + " | ".join(HEAD) + " |\n|" + " --- |" * len(HEAD), flush=True)
    for group in (http_1, http_2, sockets):
        gateway, options = None, None
        for flood in group.FLOODS:
            is_wanted = any(part in flood.name for part in wanted) if wanted else form == "long" or flood.count
            if not is_wanted:
                continue
            wanted_options = flood.options + (pair if flood.secured else ())
            if gateway is None or wanted_options != options:
                if gateway:
                    gateway.end()
                options = wanted_options
                patience = () if "--write-timeout" in options else ("--write-timeout", "2s")
                gateway = Gateway(program, "--heartbeat", "2s", *patience, *options)
            for n in range(TRIES):
                try:
                    row, why = tried(flood, gateway, form)
                except Wrong as wrong:
                    row, why = (flood.name,), [str(wrong)]
                if not why:
                    break
            rows += 1
            print("| " + " | ".join(row) + " |", flush=True)
            if why:
                failures += 1
                print(f"WRONG {flood.name}: " + "; ".join(why), flush=True)
        if gateway:
            gateway.end()
    if not rows:
        sys.exit(f"no flood has {' or '.join(wanted)} in its name")
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
