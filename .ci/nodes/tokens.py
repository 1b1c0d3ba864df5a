#!/usr/bin/env python3
"""A token that one gateway's file drops is gone on all that share a Redis, and a file that differs is noticed: two
gateways and a redis-server as processes of their own, on loopback. With `--long` also that a difference is said after
a minute."""

import hashlib
import http.client
import os
import subprocess
import sys
import threading
import time

from processes import KEYS, PATIENCE, ROOM, STARTED, end_all, free_port, until

GATEWAY, LONG = sys.argv[1], "--long" in sys.argv


def sha256(secret):
    return hashlib.sha256(secret.encode()).hexdigest()


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
        port = ["redis-cli", "-p", str(self.port)]
        return subprocess.run([*port, *command], capture_output=True, text=True, check=False).stdout

    def kill(self):
        self.process.kill()
        self.process.wait()


class Gateway:
    def __init__(self, name, redis, tokens):
        self.folder = os.path.join(ROOM, name)
        sessions = os.path.join(self.folder, "state", "agents", "main", "sessions")
        os.makedirs(sessions)
        with open(os.path.join(sessions, "sessions.json"), "w") as rows:
            rows.write('{"agent:main:one": {"sessionId": "one", "updatedAt": 1}}')
        with open(os.path.join(sessions, "one.jsonl"), "w") as lines:
            lines.write('{"message": {"role": "user", "content": "hello"}}\n')
        self.tokens = os.path.join(self.folder, "tokens.toml")
        self.command = [GATEWAY, "--state-dir", os.path.join(self.folder, "state"), "--tokens", self.tokens, "--port",
                        "0", "--heartbeat", "1s"]
        self.env = {**os.environ, "OPENCLAW_GATEWAY_REDIS": f"redis://127.0.0.1:{redis.port}"}
        self.has(tokens)
        self.start()

    def has(self, tokens):
        """Its file from now on, by id."""
        text = "".join(
            f'[[token]]\nid = "{id}"\nsha256 = "{sha256(secret)}"\nscopes = ["operator.read"]\n'
            for id, secret in tokens.items()) or "token = []\n"
        with open(self.tokens + ".new", "w") as file:
            file.write(text)
        os.chmod(self.tokens + ".new", 0o600)
        os.rename(self.tokens + ".new", self.tokens)

    def start(self):
        with open(os.path.join(self.folder, "log"), "a") as log:
            self.process = subprocess.Popen(self.command, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True)
        STARTED.append(self.process)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def ask(self, path, token):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
        connection.close()
        return status

    def status(self, token):
        return self.ask("/sessions/agent:main:one/history", token)

    def is_ready(self):
        return self.ask("/ready", "") == 200

    def log(self):
        with open(os.path.join(self.folder, "log")) as log:
            return log.read()


class Stream:
    """Follows a session until that ends."""

    def __init__(self, gateway, token):
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        self.connection.request("GET", "/sessions/agent:main:one/history?reasons", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.status
        self.ended, self.text = False, b""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while part := self.response.read1():
                self.text += part
        except (OSError, http.client.HTTPException):
            pass
        self.ended = True


def main():
    redis = Redis()
    old, new, both = {"ci": "old", "me": "mine"}, {"ci": "new", "me": "mine"}, {"me": "mine"}
    a, b = Gateway("a", redis, old), Gateway("b", redis, old)
    for gateway in (a, b):
        until("ready", gateway.is_ready)

    print("-- rotated on one, gone on all")
    ends, stays = Stream(b, "old"), Stream(b, "mine")
    assert b.status("old") == 200
    a.has(new)
    until("the old one is refused by whom nobody told", lambda: b.status("old") == 401)
    until("its stream has ended", lambda: ends.ended)
    assert b'"revoked"' in ends.text, ends.text[-200:]
    assert not stays.ended and b.status("mine") == 200
    assert (a.status("old"), a.status("new"), b.status("new")) == (401, 200, 401)
    entry = redis.says("HGET", f"{KEYS}:state", f"token {sha256('old')}").strip()
    assert entry == f"1 token {sha256('old')} 9007199254740991", entry

    print("-- a gateway that starts with an old file gives nothing back, and says so")
    b.restart()
    statuses = []
    until("ready", lambda: statuses.append(b.status("old")) or b.is_ready())
    assert 200 not in statuses, statuses
    until("it says so", lambda: '"ci" was taken away' in b.log().replace("\\", ""))

    print("-- both files are there to be seen, and nothing of them that is secret")
    until("two fingerprints", lambda: redis.says("HLEN", f"{KEYS}:tokens").strip() == "2")
    assert 0 < int(redis.says("PTTL", f"{KEYS}:tokens")) <= 60_000
    held = redis.says("HGETALL", f"{KEYS}:tokens")
    assert "ci" in held and not any(sha256(secret) in held for secret in ("old", "new", "mine")), held

    print("-- its turn: what is new is let in there too, and the files are one")
    b.has(new)
    until("the new one is let in", lambda: b.status("new") == 200)
    assert b.status("old") == 401
    until("one fingerprint", lambda: redis.says("HLEN", f"{KEYS}:tokens").strip() == "1")

    print("-- dropped while Redis is away: gone here at once, and everywhere when it is back")
    redis.kill()
    a.has(both)
    until("it is refused here", lambda: a.status("new") in (401, 503))
    redis.start()
    for gateway in (a, b):
        until("ready again", gateway.is_ready)
    until("it is refused there", lambda: b.status("new") == 401)
    assert b.status("mine") == 200

    print("-- added again: good again on all whose files have it")
    a.has(new)
    until("it is let in here", lambda: a.status("new") == 200)
    until("and there", lambda: b.status("new") == 200)
    assert (a.status("old"), b.status("old")) == (401, 401)

    if LONG:
        print("-- files that differ for longer than a minute: both say so, once, and when it is over")
        a.has({**new, "late": "late"})
        until("both say so", lambda: all("only" in gateway.log() for gateway in (a, b)), 120)
        assert 'only here: "late"' in a.log().replace("\\", "") and 'only there: "late"' in b.log().replace("\\", "")
        time.sleep(25)
        assert all(gateway.log().count("for a minute now") == 1 for gateway in (a, b))
        b.has({**new, "late": "late"})
        until("that is over", lambda: all("the same tokens again" in gateway.log() for gateway in (a, b)), 120)

    for gateway in (a, b):
        assert not any(sha256(secret) in gateway.log() for secret in ("old", "new", "mine"))
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE) == 0
    print("passed")


try:
    main()
except BaseException:
    for name in sorted(os.listdir(ROOM)):
        if os.path.exists(log := os.path.join(ROOM, name, "log")):
            with open(log) as lines:
                print(f"== {name}\n{lines.read()[-3000:]}", file=sys.stderr)
    raise
finally:
    end_all()
