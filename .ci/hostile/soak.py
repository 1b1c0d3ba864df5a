#!/usr/bin/env python3
"""Revocations, renewals, rotations, appends and reconnects at random, and what is left of them: nothing.
`soak.py GATEWAY [short|long] [SECONDS] [SEED]`"""

import math
import random
import re
import sys
import time

from gateway import until
from world import World

# Things done in a second.
RATE = 50
# Warnings that have a reason here: each as a pattern, with the reason and how many there may be in a second.
STOPPED = "the gateway's processors were busy with other things for the two seconds that it waits"
EXPLAINED = {r"--tokens: \"t\d+\" has expired": ("tokens that expire are in the file until it is written again", math.inf),
             r"sessions cannot be listed.*timed out": (STOPPED, 0.1),
             r"a file of settings is not read to its end": (STOPPED, 0.1)}
# What is revoked by hand is remembered for a day after it is over, in so many bytes at most.
REMEMBERED = 1024
# What is let go is given back at once, so that what is left is in use.
ALLOCATOR = {"_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0"}
# So long after their end those who lost access have come back, unless the machine is busy.
BACK = 2.0
# Into so many blocks the second half is divided where memory is looked at.
BLOCKS = 10


class Soak:
    def __init__(self, program, streams, seed, growth):
        # By how much of itself memory may grow, beyond what it swings by, in the second half.
        self.growth = growth
        self.random = random.Random(seed)
        self.world = World(program, streams, each=5, sessions=20, disk=512 * 1024 * 1024, env=ALLOCATOR)
        self.gateway, self.state = self.world.gateway, self.world.state
        self.counts, self.took, self.expiring, self.samples = {}, [], [], []
        # Whose streams have ended, and when; how many an operator ended, and how many were told of it.
        self.over, self.deleted, self.closed = [], 0, 0

    def append(self):
        self.state.append(self.random.choice(self.state.sessions), "x" * self.random.choice([0, 100, 2000]))

    def compact(self):
        self.state.compact(self.random.choice(self.state.sessions))

    def burst(self):
        session = self.random.choice(self.state.sessions)
        for _ in range(self.random.randrange(2, 20)):
            self.state.append(session)

    def a_token(self):
        """Whom something happens to next."""
        used = self.world.used
        used.insert(0, used.pop(self.random.randrange(len(used))))

    def revoke(self):
        self.a_token()
        what = self.random.choice(["credential", "sha256"])
        # For as long as the file may still have it.
        token = self.world.revoke(what=what, until=time.time() + 60)
        self.ended(token)
        del self.world.listed[token]

    def drop(self):
        self.a_token()
        self.ended(self.world.drop())

    def ended(self, token):
        self.took.append(self.world.ended(token))
        self.over.append((time.time(), token))

    def refused(self):
        """Those who lost access have come back by then, and were not let in."""
        while self.over and time.time() > self.over[0][0] + BACK:
            _, token = self.over.pop(0)
            until(f"all of {token} are refused", lambda: self.world.streams.are_over(token))
            self.world.streams.leave(token)

    def rotate(self):
        """New tokens, and those gone that nobody shall use."""
        self.world.add_tokens(max(0, 40 - len(self.world.spare)))
        token = self.world.spare[-1]
        until(f"{token} is good", lambda: self.world.is_good(token))

    def renew(self):
        """The streams of one token go by another of its subject, and the old one is gone."""
        self.a_token()
        old = self.world.used.pop(0)
        new = self.world.new_token(self.world.listed[old][0])
        self.world.write_tokens()
        until(f"{new} is good", lambda: self.world.is_good(new))
        renewed = []
        for stream in self.world.streams.ids(old):
            status, body = self.gateway.answer("POST", f"/streams/{stream}/renew", f"secret-{new}")
            if status == 404:
                until(f"{stream}, which is none, has ended", lambda: stream not in self.world.streams.ids(old))
            else:
                assert status == 200, (status, body)
                renewed.append(stream)
        self.world.streams.renewed(old, new, renewed)
        del self.world.listed[old]
        self.world.used.append(new)

    def expire(self):
        """A token for a few seconds."""
        token, _ = self.world.follow_for(5)
        self.expiring.append(token)

    def expired(self):
        for token in list(self.expiring):
            if time.time() > self.world.listed[token][1] + 1:
                self.ended(token)
                self.expiring.remove(token)
                del self.world.listed[token]

    def reconnect(self):
        self.world.streams.reconnect(0.02)

    def delete(self):
        token = self.random.choice(self.world.used)
        for stream in self.world.streams.ids(token)[:1]:
            status, _ = self.gateway.answer("DELETE", f"/streams/{stream}", "secret-admin")
            assert status in (204, 404), status
            self.deleted += status == 204

    def look(self):
        session = self.random.choice(self.state.sessions)
        token = self.random.choice(self.world.used)
        for path, secret in [(f"/sessions/{session}/history?limit={self.random.randrange(1, 9)}", f"secret-{token}"),
                             ("/sessions", f"secret-{token}"), ("/streams", "secret-admin"), ("/metrics", None)]:
            status, _ = self.gateway.answer("GET", path, secret)
            if (path, status) == ("/sessions", 503):
                # There is an explanation for this in the log, or none.
                status, _ = self.gateway.answer("GET", path, secret)
            assert status == 200, (path, status)
        assert self.gateway.answer("GET", "/sessions", "wrong")[0] == 401

    def run(self, seconds):
        world = self.world
        world.is_steady()
        begun = time.monotonic()
        kinds = [self.append] * 30 + [self.burst] * 2 + [self.compact] * 5 + [self.revoke] * 4 + [self.drop] * 2 \
            + [self.rotate] * 3 + [self.renew] * 3 + [self.expire] * 2 + [self.reconnect] * 2 + [self.delete] * 2 \
            + [self.look] * 4
        done, told = 0, 0
        while (passed := time.monotonic() - begun) < seconds:
            kind = self.random.choice(kinds)
            kind()
            self.counts[kind.__name__] = self.counts.get(kind.__name__, 0) + 1
            done += 1
            self.expired()
            self.refused()
            if not self.samples or passed >= self.samples[-1][0] + 0.5:
                self.samples.append((passed, self.gateway.memory()))
            if passed >= told + 60:
                told = passed
                print(f"   after {passed:.0f} s: {done} things done, {self.samples[-1][1] / 1e6:.1f} MB", flush=True)
            self.told()
            if len(world.spare) < 10:
                self.rotate()
            time.sleep(max(0, done / RATE - passed))
        world.all_show()
        self.told()
        # Who is told 503 has a warning in the log.
        assert set(world.answers) <= {"503"}, world.answers
        print(f"   {sum(self.counts.values())} things done: {self.counts}")
        self.took.sort()
        print(f"   {len(self.took)} ends of access; the last stream of each ended within "
              f"{self.took[len(self.took) // 2] * 1000:.1f} ms (median), {self.took[-1] * 1000:.0f} ms (most)")
        self.memory_is_level()
        self.nothing_is_left()
        self.nothing_is_unexplained(seconds)

    def told(self):
        self.closed += self.world.told("closed")
        assert self.closed <= self.deleted, f"{self.closed} streams were ended by an operator who ended {self.deleted}"

    def memory_is_level(self):
        """By a line through the second half, in blocks, as memory is given back in steps; and how sure that line is."""
        half = self.samples[len(self.samples) // 2:]
        assert len(half) >= BLOCKS, "it took too short a time, or the machine has no time for it"
        size = len(half) // BLOCKS
        means = [[sum(values) / size for values in zip(*half[n * size:(n + 1) * size])] for n in range(BLOCKS)]
        mean_x, mean_y = (sum(values) / BLOCKS for values in zip(*means))
        square = sum((x - mean_x) ** 2 for x, _ in means)
        slope = sum((x - mean_x) * (y - mean_y) for x, y in means) / square
        beside = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in means)
        error = (beside / (BLOCKS - 2) / square) ** 0.5
        seconds = half[-1][0] - half[0][0]
        print(f"   memory: {mean_y / 1e6:.1f} MB, a line through the last {seconds:.0f} s goes up by "
              f"{slope * seconds / 1e6:+.2f} MB, with an error of {error * seconds / 1e6:.2f}")
        assert (slope - 3 * error) * seconds < self.growth * mean_y + self.counts.get("revoke", 0) * REMEMBERED, "memory grows"

    def nothing_is_left(self):
        for token in self.world.used + self.expiring + [token for _, token in self.over]:
            self.world.streams.leave(token)
        gateway = self.gateway

        def gauges():
            metrics = gateway.metrics()
            return {name: metrics.get(name, 0) for name in ("tower_reauth_streams_open", "gateway_transcripts_followed")} \
                | {"connections": metrics["gateway_connections_open"] - 1}

        until("gauges are zero", lambda: not any(gauges().values()))
        left = gateway.descriptors()
        # Connections to the database and files are closed when they were not used for a while.
        until(f"descriptors are let go: {left}", lambda: gateway.descriptors() < 60)

        def counted():
            with open(gateway.path("audit")) as audit:
                lines = audit.read()
            return lines.count('"event":"opened"'), lines.count('"event":"ended"')

        # Whoever writes the log does so a moment later.
        until("as many streams have ended as were opened", lambda: len(set(counted())) == 1)
        opened, _ = counted()
        assert opened
        print(f"   {opened} streams were opened and as many ended; {gateway.descriptors()} descriptors and "
              f"{gateway.threads()} threads are left, {gateway.memory() / 1e6:.1f} MB")

    def nothing_is_unexplained(self, seconds):
        lines = [line for line in self.gateway.said().splitlines() if " WARN " in line or "ERROR" in line]
        left = lines
        for pattern, (_, most) in EXPLAINED.items():
            found = [line for line in left if re.search(pattern, line)]
            if len(found) <= most * seconds:
                left = [line for line in left if line not in found]
        assert not left, "\n".join(left[:20])
        print(f"   {len(lines)} warnings, all explained")


if __name__ == "__main__":
    is_long = "long" in sys.argv[2:3]
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 600 if is_long else 30
    seed = int(sys.argv[4]) if len(sys.argv) > 4 else random.randrange(1 << 32)
    print(f"-- {seconds:.0f} s of everything at random: seed {seed}", flush=True)
    # Threads and what is remembered of pages come to be as many as are needed in some minutes: before that only what is lost
    # fast is seen.
    soak = Soak(sys.argv[1], 2_000 if is_long else 500, seed, growth=0.01 if is_long else 0.3)
    try:
        soak.run(seconds)
    except BaseException:
        print(soak.gateway.said()[-3000:], file=sys.stderr)
        raise
    finally:
        soak.world.end()
