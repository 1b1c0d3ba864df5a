"""Three gateways, each with a link of its own to one Redis, clients that follow, and what they must never see."""

import threading
import time

from link import Link
from processes import STALENESS, Gateway, Redis, all_ready, until
from recorder import Recorder

# How often each gateway has a message for all who follow.
TICK = 0.1
# What a busy machine may add to a time of the promise.
SLACK = 1.0


class Fleet:
    def __init__(self, program, tokens):
        # A file that is synced at each write, and a replica: what is killed and what is failed over to.
        self.options = ("--appendonly", "yes", "--appendfsync", "always", "--repl-diskless-sync-delay", "0")
        self.redis = Redis("redis", *self.options)
        self.links = [Link(self.redis.port) for _ in "abc"]
        self.gateways = [Gateway(name, link.port, tokens).start(program) for name, link in zip("abc", self.links)]
        self.recorder = Recorder()
        # By credential: by which gateway, when it was answered, and where it holds.
        self.revoked = {}
        # Of these it is not known whether they are.
        self.perhaps = set()
        self.broken = []
        # How many seconds after a revocation was answered the last frame of its credential came: by where.
        self.latest = {"here": float("-inf"), "elsewhere": float("-inf")}
        threading.excepthook = lambda failed: self._breaks(f"the test failed: {failed.exc_value!r}")
        all_ready(self.gateways)
        threading.Thread(target=self._tick, daemon=True).start()

    def _tick(self):
        while True:
            time.sleep(TICK)
            for gateway in self.gateways:
                gateway.append("tick")

    def follow(self, n):
        """A client of this credential on each gateway."""
        return [self.recorder.follow(gateway, n) for gateway in self.gateways]

    def revoke(self, gateway, n):
        self.perhaps.add(n)
        holds = gateway.revoke(credential=f"t{n}")
        if holds in ("all", "here"):
            self.revoked[n] = (gateway, time.time(), holds)
        if holds:
            self.perhaps.discard(n)
        return holds

    def clients(self, gateway=None):
        """Those whose credentials nobody revoked."""
        known = self.revoked.keys() | self.perhaps
        return [one for one in list(self.recorder.clients) if one.n not in known and gateway in (None, one.gateway)]

    def all_are_in(self, gateway=None):
        try:
            until("who was not revoked is let in", lambda: all(client.is_in() for client in self.clients(gateway)))
        except AssertionError:
            for client in self.clients(gateway):
                if not client.is_in():
                    print(f"   {client} is not in: {client.told()}")
            raise

    def replica(self):
        """One that has all of it by now, and nothing of what comes."""
        replica = Redis(f"redis-{time.time_ns()}", *self.options)
        assert replica.says("REPLICAOF", "127.0.0.1", self.redis.port) == "+OK"
        until("the replica has it all", lambda: "master_link_status:up" in replica.info("replication"))
        time.sleep(0.2)
        assert replica.says("REPLICAOF", "NO", "ONE") == "+OK"
        return replica

    def fails_over_to(self, replica):
        self.redis.kill()
        self.redis = replica
        for link in self.links:
            link.to(replica.port)

    def check(self):
        """What no client may ever see."""
        for client in list(self.recorder.clients):
            ways = {how for _, how in client.ends}
            if client.n in self.revoked:
                self._comes_in_time(client, *self.revoked[client.n])
            elif client.n not in self.perhaps and ("revoked" in ways or 401 in client.refusals):
                self._breaks(f"{client}: nobody revoked it, and it saw {ways} and {client.refusals}")
            if strange := ways - {"revoked", "unavailable", "shutting_down", "cut"}:
                self._breaks(f"{client}: a stream ended by {strange}")
        return self.broken

    def _comes_in_time(self, client, by, answered, holds):
        where, bound = ("here", 0) if client.gateway is by else ("elsewhere", STALENESS)
        if client.last_frame is None or where == "elsewhere" and holds != "all":
            return
        late = client.last_frame - answered
        self.latest[where] = max(self.latest[where], late)
        if late > bound + SLACK:
            self._breaks(f"{client}: a frame {late:.2f} s after it was revoked on {by.name}, for {holds}")

    def told_of_frames(self):
        latest = ", ".join(f"{late:.2f} s {where}" for where, late in self.latest.items())
        return f"{self.recorder.frames:,} frames; the latest after a revocation was answered: {latest}"

    def _breaks(self, what):
        if what not in self.broken:
            print(f"   BROKEN {what}", flush=True)
            self.broken.append(what)

    def what_they_saw(self, since):
        """Of those that nobody revoked: how streams ended since then, when, and for how long nothing came."""
        for gateway in self.gateways:
            ends = [(at - since, how) for client in self.clients(gateway) for at, how in client.ends if at >= since]
            ways = {how: [at for at, one in ends if one == how] for _, how in ends}
            said = [f"{len(at)} {how} after {min(at):.1f} to {max(at):.1f} s" for how, at in sorted(ways.items())]
            gap = max((client.longest_gap(since) for client in self.clients(gateway)), default=0)
            said = ", ".join(said) or "no stream ended"
            print(f"   {gateway.name}: {said}; nothing came for {gap:.1f} s at the most")
