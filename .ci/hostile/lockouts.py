#!/usr/bin/env python3
"""Failing attempts from a million addresses behind a trusted proxy, in the short form from 20,000:
`python3 -B .ci/hostile/lockouts.py PROGRAM short`.

Once each address fails once, and once each is locked out by that. Who was locked out before is so afterwards while others were
not, as many as are remembered (65,536) come and go, memory stays, and who behaves is let in as fast as before."""

import contextlib
import itertools
import statistics
import sys

from attack import Attack, Flood, Most
from floods import RATIO, NOISE, TRIES
from gateway import PROXY, SESSION, Gateway, connect, until
from neighbour import asks

# How many clients that fail a gateway remembers.
REMEMBERED = 65_536
ADDRESSES = {"short": 20_000, "long": 1_000_000}
PATH = f"/sessions/{SESSION}/history?limit=1"
REFUSED = b"HTTP/1.1 401"
ROOM = 96 * 2**20


def storm(target):
    """As many as there are to be, 200 in a row without waiting for the answers."""
    with contextlib.closing(connect(target.port, PROXY)) as connection:
        numbers = iter(range(target.count))
        while said := [attempt(target.number * target.count + n) for n in itertools.islice(numbers, 200)]:
            connection.sendall("".join(said).encode())
            answered, rest = 0, b""
            while answered < len(said):
                piece = connection.recv(2**16)
                assert piece, "the connection of the proxy was closed"
                rest += piece
                answered += rest.count(REFUSED)
                rest = rest[1 - len(REFUSED):]
            target.seen["attempts"] += answered
            if target.seen["attempts"] == answered:
                target.is_in_place()
            if target.is_over():
                return


def attempt(n):
    address = f"{20 + (n >> 24)}.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}"
    return (f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {address}\r\n"
            "Authorization: Bearer wrong\r\n\r\n")


def asked(gateway, address, secret="secret-0"):
    return gateway.answer("GET", PATH, secret, source=PROXY, headers={"X-Forwarded-For": address})[0]


def tried(gateway, form, attempts):
    """What went wrong."""
    locked, good = "203.0.113.1", "203.0.113.2"
    for _ in range(attempts):
        assert asked(gateway, locked, "wrong") == 401
    assert asked(gateway, locked) == 429, "it is locked out"
    asks(gateway.port, 0.5)
    quiet, memory, most = asks(gateway.port, 1.5), gateway.memory(), Most(gateway)
    attack = Attack(Flood("attempts", "", storm, processes=2), gateway.port, ADDRESSES[form])
    beside = [asks(gateway.port, 1.5)]
    while attack.goes_on():
        beside.append(asks(gateway.port, 1.5))
    made = attack.end()["attempts"]
    most.end()
    assert made == ADDRESSES[form], made
    # Each lock of the storm is younger than its own, which gives way when as many are locked out as are remembered.
    is_locked = asked(gateway, locked) == 429
    if attempts > 1 or made < REMEMBERED:
        assert is_locked, "the storm has unlocked it"
    assert asked(gateway, good) == 200, "who has not failed is let in"
    assert sum(times.failed for times in beside) == 0, "each request of who behaves is answered"
    assert most.memory - memory < ROOM, f"it took {most.memory - memory >> 20} MB"
    until("connections are back", lambda: gateway.connections() <= 0)
    p99 = statistics.median(times.p99() for times in beside)
    print(f"| {attempts} | {made:,} | {quiet.p99():.1f} | {p99:.1f} | {memory >> 20} / {most.memory >> 20} / {gateway.memory() >> 20} | "
          f"{'yes' if is_locked else 'no'} |", flush=True)
    return p99 <= RATIO * max(quiet.p99(), NOISE[form])


def main():
    program, form = sys.argv[1:3]
    print("| attempts to a lockout | addresses | quiet p99, ms | p99 beside it, ms | MB before / most / after | first one still locked |\n"
          "|" + " --- |" * 6, flush=True)
    for attempts in (10, 1):
        is_fast = False
        for _ in range(TRIES):
            gateway = Gateway(program, rate_limit={"maxAttempts": attempts})
            try:
                is_fast = tried(gateway, form, attempts)
            finally:
                gateway.end()
            if is_fast:
                break
        assert is_fast, "who behaves waits"


main()
