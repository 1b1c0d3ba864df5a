#!/usr/bin/env python3
"""What is revoked on one gateway is revoked on all that share a Redis, whatever becomes of the Redis: three gateways
and a redis-server as processes of their own, on loopback."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

GATEWAY = sys.argv[1]
ROOM = tempfile.mkdtemp(prefix="nodes-")
TOKENS = 40
KEYS = "{tower-reauth-gateway}"
STARTED = []
# What a gateway vouches for without hearing from Redis, and how long after a new life of it nobody goes by it.
STALENESS, SETTLING = 5.0, 2.5


def free_port():
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return chosen.getsockname()[1]


def until(what, holds, within):
    """How long it took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > within:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - begun


class Redis:
    def __init__(self, name, *options):
        self.port, self.options = free_port(), options
        self.folder = os.path.join(ROOM, name)
        os.mkdir(self.folder)
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                   *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        STARTED.append(self.process)
        until("redis answers", lambda: self.says("PING") == "+PONG", 10)

    def says(self, *command):
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(2)
                parts = "".join(f"${len(part)}\r\n{part}\r\n" for part in command)
                connection.sendall(f"*{len(command)}\r\n{parts}".encode())
                return connection.recv(65536).decode().split("\r\n")[0]
        except OSError:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()


class Gateway:
    def __init__(self, name, redis):
        self.folder = os.path.join(ROOM, name)
        os.makedirs(os.path.join(self.folder, "state", "agents", "main", "sessions"))
        sessions = os.path.join(self.folder, "state", "agents", "main", "sessions")
        with open(os.path.join(sessions, "sessions.json"), "w") as rows:
            json.dump({"agent:main:one": {"sessionId": "one", "updatedAt": 1}}, rows)
        with open(os.path.join(sessions, "one.jsonl"), "w") as lines:
            lines.write(json.dumps({"message": {"role": "user", "content": "hello"}}) + "\n")
        with open(os.path.join(self.folder, "state", "openclaw.json"), "w") as settings:
            # Who is refused here is refused often.
            json.dump({"gateway": {"auth": {"rateLimit": {"maxAttempts": 100000}}}}, settings)
        tokens = os.path.join(self.folder, "tokens.toml")
        with open(tokens, "w") as file:
            for n in range(TOKENS):
                file.write(f'[[token]]\nid = "t{n}"\nsecret = "secret-{n}"\nsubject = "s{n}"\nscopes = ["operator.read"]\n')
            file.write('[[token]]\nid = "admin"\nsecret = "secret-admin"\nsubject = "admin"\nscopes = ["operator.admin"]\n')
        os.chmod(tokens, 0o600)
        self.command = [GATEWAY, "--state-dir", os.path.join(self.folder, "state"), "--tokens", tokens, "--port", "0",
                        "--data-dir", os.path.join(self.folder, "data"), "--heartbeat", "1s"]
        self.env = {**os.environ, "OPENCLAW_GATEWAY_REDIS": f"redis://127.0.0.1:{redis.port}"}
        self.start()

    def start(self):
        self.log = open(os.path.join(self.folder, "log"), "a")
        self.process = subprocess.Popen(self.command, env=self.env, stdout=subprocess.PIPE, stderr=self.log, text=True)
        STARTED.append(self.process)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def ask(self, method, path, token, body=None, timeout=15):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        headers = {"Authorization": f"Bearer {token}"}
        connection.request(method, path, body and json.dumps(body), headers)
        response = connection.getresponse()
        status, _ = response.status, response.read()
        connection.close()
        return status

    def page(self, n):
        return self.ask("GET", "/sessions/agent:main:one/history", f"secret-{n}")

    def revoke(self, **what):
        return self.ask("POST", "/revocations", "secret-admin", what)

    def is_ready(self):
        return self.ask("GET", "/ready", "") == 200

    def stream(self, n):
        return Stream(self, n)


class Stream:
    """Follows a session, and notes when it ended."""

    def __init__(self, gateway, n):
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=120)
        headers = {"Authorization": f"Bearer secret-{n}", "Accept": "text/event-stream"}
        self.connection.request("GET", "/sessions/agent:main:one/history?reasons", headers=headers)
        self.response = self.connection.getresponse()
        assert self.response.status == 200, self.response.status
        self.ended, self.text = None, b""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        try:
            while part := self.response.read1():
                self.text += part
        except (OSError, http.client.HTTPException):
            pass
        self.ended = time.monotonic()


def all_refuse(gateways, n, within=5):
    for gateway in gateways:
        until(f"t{n} is refused", lambda: gateway.page(n) == 401, within)


def main():
    redis = Redis("redis", "--appendonly", "yes", "--appendfsync", "always")
    gateways = [Gateway(name, redis) for name in "abc"]
    a, b, c = gateways
    for gateway in gateways:
        until("ready", gateway.is_ready, 15)

    print("-- revoked on one, ended on all")
    late = []
    for n in range(10):
        streams = [gateway.stream(n) for gateway in gateways for _ in range(5)]
        other = b.stream(39)
        time.sleep(0.1)
        begun = time.monotonic()
        assert a.revoke(credential=f"t{n}") == 200
        until("all have ended", lambda: all(stream.ended for stream in streams), 5)
        late += [stream.ended - begun for stream in streams]
        assert all(b'"revoked"' in stream.text for stream in streams)
        assert other.ended is None
        all_refuse(gateways, n)
    late.sort()
    print(f"   {len(late)} streams: median {late[len(late) // 2] * 1000:.1f} ms, the last {late[-1] * 1000:.1f} ms")

    print("-- a gateway that starts knows what was revoked before")
    assert c.page(39) == 200
    c.process.kill()
    c.process.wait()
    assert a.revoke(credential="t10") == 200
    shutil.rmtree(os.path.join(c.folder, "data"), ignore_errors=True)
    c.start()
    statuses = []
    until("ready", lambda: statuses.append(c.page(10)) or c.is_ready(), 15)
    assert 200 not in statuses, statuses
    assert c.page(10) == 401 and c.page(39) == 200

    print("-- a Redis that stands still for a second is not noticed")
    stream = b.stream(39)
    redis.process.send_signal(signal.SIGSTOP)
    time.sleep(1)
    assert b.page(39) == 200 and stream.ended is None
    redis.process.send_signal(signal.SIGCONT)
    time.sleep(1)
    assert b.page(39) == 200 and stream.ended is None

    print("-- one that stands still for longer: nobody is let in, and streams end")
    begun = time.monotonic()
    redis.process.send_signal(signal.SIGSTOP)
    # It holds here, and the answer, which waits, says that others do not know.
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(b.revoke(credential="t11")))
    waiting.start()
    until("t11 is refused here", lambda: b.page(11) == 401, 2)
    assert c.page(11) == 200 and b.page(39) == 200
    took = until("nobody is let in", lambda: b.page(39) == 503, STALENESS + 3)
    until("the stream has ended", lambda: stream.ended, 3)
    assert stream.ended - begun < STALENESS + 1, stream.ended - begun
    assert b'"unavailable"' in stream.text, stream.text[-200:]
    assert not b.is_ready() and b.page(11) == 401 and c.page(11) == 503
    waiting.join()
    assert answers == [503], answers
    redis.process.send_signal(signal.SIGCONT)
    for gateway in gateways:
        until("ready again", gateway.is_ready, 15)
    all_refuse(gateways, 11)
    assert b.page(39) == 200
    print(f"   nobody was let in after {took:.1f} s")

    print("-- killed and restarted, with what it had written")
    redis.kill()
    assert b.revoke(credential="t12") == 503
    redis.start()
    for gateway in gateways:
        until("ready again", gateway.is_ready, 20)
    all_refuse(gateways, 12)
    all_refuse(gateways, 0)

    print("-- flushed: nothing is good again, on a fresh gateway neither")
    assert redis.says("FLUSHALL") == "+OK"
    shutil.rmtree(os.path.join(c.folder, "data"), ignore_errors=True)
    c.process.kill()
    c.process.wait()
    c.start()
    statuses = []
    until("ready", lambda: statuses.append(c.page(3)) or c.is_ready(), 20)
    assert 200 not in statuses, statuses
    for n in range(13):
        assert c.page(n) == 401, n
    assert c.page(39) == 200

    print("-- its stream is emptied by hand: what is acknowledged after that is heard all the same")
    assert redis.says("XTRIM", f"{KEYS}:log", "MAXLEN", "0").startswith(":")
    assert a.revoke(credential="t14") == 200
    all_refuse(gateways, 14)

    print("-- one of its keys is gone: it is another log, and a fresh gateway does not go by what is left")
    for key in "state", "log":
        assert redis.says("DEL", f"{KEYS}:{key}") == ":1"
        shutil.rmtree(os.path.join(c.folder, "data"), ignore_errors=True)
        c.process.kill()
        c.process.wait()
        c.start()
        statuses = []
        until("ready", lambda: statuses.append(c.page(3)) or c.is_ready(), 20)
        assert 200 not in statuses, statuses
        all_refuse(gateways, 14)

    print("-- all that it had is gone, with its file")
    redis.kill()
    shutil.rmtree(os.path.join(redis.folder, "appendonlydir"), ignore_errors=True)
    redis.start()
    for gateway in gateways:
        until("ready again", gateway.is_ready, 20)
    for gateway in gateways:
        for n in range(13):
            assert gateway.page(n) == 401, n
        assert gateway.page(39) == 200

    print("-- a replica that lacks something takes the place of the primary")
    replica = Redis("replica", "--replicaof", "127.0.0.1", str(redis.port))
    until("the replica has it all", lambda: replica.says("EXISTS", f"{KEYS}:state") == ":1", 15)
    time.sleep(1)
    assert replica.says("REPLICAOF", "NO", "ONE") == "+OK"
    assert a.revoke(credential="t13") == 200, "acknowledged, and not replicated"
    # The same address leads to the replica from now on.
    redis.kill()
    replica.kill()
    replica.port = redis.port
    shutil.copytree(replica.folder, redis.folder, dirs_exist_ok=True)
    taken = Redis.__new__(Redis)
    taken.port, taken.folder, taken.options = redis.port, replica.folder, ("--appendonly", "no")
    taken.start()
    for gateway in gateways:
        until("ready again", gateway.is_ready, 20)
    all_refuse(gateways, 13)
    taken.kill()

    for gateway in gateways:
        gateway.process.terminate()
        assert gateway.process.wait(20) == 0
    print("passed")


try:
    main()
finally:
    for process in STARTED:
        if process.poll() is None:
            process.kill()
shutil.rmtree(ROOM)
