#!/usr/bin/env python3
"""Whoever is locked out of one gateway is locked out of all that share a Redis, and each counts for itself without it:
three gateways and a redis-server as processes of their own, on loopback."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time

from processes import KEYS, PATIENCE, ROOM, STARTED, end_all, free_port, until

GATEWAY = sys.argv[1]
LIMITER = KEYS + ":limiter:"
ATTEMPTS, WINDOW, LOCKOUT = 10, 600, 15


class Redis:
    def __init__(self):
        self.port = free_port()
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", ROOM, "--save", "",
                   "--appendonly", "yes", "--appendfsync", "always"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        STARTED.append(self.process)
        until("redis answers", lambda: "PONG" in self.says("PING"))

    def says(self, *command):
        ask = ["redis-cli", "-p", str(self.port), *command]
        return subprocess.run(ask, capture_output=True, text=True, check=False, timeout=PATIENCE).stdout.strip()

    def keys(self):
        return sorted(self.says("--scan", "--pattern", f"{LIMITER}*").split())


class Gateway:
    def __init__(self, name, redis):
        folder = os.path.join(ROOM, name)
        state = os.path.join(folder, "state")
        os.makedirs(state)
        self.log_file = os.path.join(folder, "log")
        limits = {"maxAttempts": ATTEMPTS, "windowMs": WINDOW * 1000, "lockoutMs": LOCKOUT * 1000}
        settings = {"gateway": {"auth": {"mode": "token", "token": "right", "rateLimit": limits},
                                "trustedProxies": ["127.0.0.1"]}}
        with open(os.path.join(state, "openclaw.json"), "w") as file:
            json.dump(settings, file)
        self.command = [GATEWAY, "--state-dir", state, "--port", "0", "--data-dir", os.path.join(folder, "data")]
        self.env = {**os.environ, "OPENCLAW_GATEWAY_REDIS": f"redis://127.0.0.1:{redis.port}"}
        self.start()

    def start(self):
        with open(self.log_file, "a") as log:
            self.process = subprocess.Popen(self.command, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True)
        STARTED.append(self.process)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])
        until("ready", lambda: self.ask("/ready") == 200)

    def ask(self, path, client=None, token=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if client:
            headers["X-Forwarded-For"] = client
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        response.read()
        connection.close()
        return response.status

    def tries(self, client, token):
        return self.ask("/sessions", client, token)

    def fails(self, client, times):
        for _ in range(times):
            status = self.tries(client, "wrong")
            assert status == 401, status

    def is_shut(self, client):
        return self.tries(client, "") == 429

    def locks_in_log(self, client):
        with open(self.log_file) as log:
            return sum("locked out" in line and client in line for line in log)


def all_shut(gateways, client):
    return max(until(f"{client} is locked out", lambda: gateway.is_shut(client)) for gateway in gateways)


def main():
    redis = Redis()
    gateways = [Gateway(name, redis) for name in "abc"]
    a, b, c = gateways

    print("-- ten failures, spread over three gateways")
    for gateway, times in (a, 4), (b, 3), (c, 3):
        gateway.fails("203.0.113.1", times)
    begun = time.monotonic()
    took = all_shut(gateways, "203.0.113.1")
    print(f"   locked out of all within {took * 1000:.0f} ms")
    assert all(gateway.tries("203.0.113.1", "right") == 429 for gateway in gateways)
    assert all(gateway.tries("203.0.113.2", "right") == 200 for gateway in gateways)

    print("-- a gateway that starts meanwhile knows of it")
    c.process.terminate()
    c.process.wait(PATIENCE)
    c.start()
    # Unless starting took so long that the lock may be over.
    if time.monotonic() - begun < LOCKOUT - 10:
        until("it knows", lambda: c.is_shut("203.0.113.1"), 8)

    print("-- it ends by itself, on all at about the same time, and each has said it once")
    for gateway in gateways:
        until("it is over", lambda: gateway.tries("203.0.113.1", "right") == 200)
    assert time.monotonic() - begun > LOCKOUT - 2
    assert [gateway.locks_in_log("203.0.113.1") for gateway in (a, b)] == [1, 1]

    print("-- a success on one clears what others have counted")
    a.fails("203.0.113.3", 9)
    until("all is told", lambda: redis.says("ZCARD", f"{LIMITER}failed:203.0.113.3") == "9")

    def is_cleared():
        assert b.tries("203.0.113.3", "right") == 200
        return redis.says("EXISTS", f"{LIMITER}failed:203.0.113.3") == "0"
    until("it is cleared", is_cleared)
    # Until the others have heard of it.
    time.sleep(3)
    a.fails("203.0.113.3", 9)
    assert c.tries("203.0.113.3", "right") == 200

    print("-- without Redis each counts for itself, and tells when it is there again")
    redis.process.send_signal(signal.SIGSTOP)
    a.fails("203.0.113.4", 10)
    b.fails("203.0.113.4", 9)
    assert a.is_shut("203.0.113.4") and not b.is_shut("203.0.113.4") and not c.is_shut("203.0.113.4")
    assert not a.is_shut("203.0.113.5")
    redis.process.send_signal(signal.SIGCONT)
    all_shut(gateways, "203.0.113.4")

    print("-- killed, flushed, of another type: failures are counted, and again together")
    redis.process.kill()
    redis.process.wait()
    a.tries("203.0.113.6", "wrong")
    redis.start()
    for n, what in enumerate(["killed", "flushed", "foreign"]):
        if what == "flushed":
            assert redis.says("FLUSHALL") == "OK"
        if what == "foreign":
            redis.says("DEL", f"{LIMITER}news")
            assert redis.says("SET", f"{LIMITER}news", "x") == "OK"
            a.tries("203.0.113.7", "wrong")
            time.sleep(1)
            assert redis.says("DEL", f"{LIMITER}news") == "1"
        for gateway in gateways:
            until("ready", lambda: gateway.ask("/ready") == 200)
        client = f"203.0.113.{100 + n}"
        for gateway, times in (a, 3), (b, 3), (c, 4):
            gateway.fails(client, times)
        all_shut(gateways, client)

    print("-- a lock without end, written by somebody else, ends after the lockout at the latest")
    assert redis.says("ZADD", f"{LIMITER}locked", "1e18", "203.0.113.8").isdigit()
    a.tries("203.0.113.8", "wrong")
    all_shut([a], "203.0.113.8")
    took = until("it is over", lambda: a.tries("203.0.113.8", "right") == 200)
    assert took < LOCKOUT + 5, took

    print("-- nothing of it is in Redis for ever")
    until("no key without an end", lambda: all(redis.says("PTTL", key) != "-1" for key in redis.keys()))
    assert redis.keys(), "there are some"
    print(f"   {len(redis.keys())} keys, all of which expire")

    for gateway in gateways:
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE) == 0
    print("passed")


try:
    main()
finally:
    end_all()
