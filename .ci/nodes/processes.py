"""A Redis and gateways that share it, as processes of their own on loopback."""

import http.client
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time

ROOM = tempfile.mkdtemp(prefix="nodes-")
STARTED = []
# Of this program alone, and none that a client's end of a connection is given: those are from 32,768 on.
PORTS = itertools.count(16_384 + os.getpid() % 256 * 64)
KEYS = "{tower-reauth-gateway}"
TOKEN = '[[token]]\nid = "%s"\nsecret = "%s"\nsubject = "%s"\nscopes = ["%s"]\n'
SESSION = "agent:main:one"
# For how many seconds a gateway vouches for what it knows without hearing from Redis.
STALENESS = 5.0
# How long a slow machine may take to do what nobody waits for.
PATIENCE = 60


def free_port():
    """One that nobody else takes meanwhile."""
    while True:
        port = next(PORTS)
        with socket.socket() as chosen:
            try:
                chosen.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def until(what, holds, within=PATIENCE):
    """How long it took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > within:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.01)
    return time.monotonic() - begun


def end_all():
    """Ends what was started, and leaves nothing of it."""
    for process in STARTED:
        if process.poll() is None:
            process.kill()
            process.wait()
    shutil.rmtree(ROOM, ignore_errors=True)


class Redis:
    def __init__(self, name, *options, port=None):
        self.port, self.options = port or free_port(), options
        self.folder = os.path.join(ROOM, name)
        os.mkdir(self.folder)
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                   *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        STARTED.append(self.process)
        until("redis answers", lambda: self.says("PING") == "+PONG")

    def says(self, *command):
        return self.say([command])

    def info(self, section):
        return self.say([("INFO", section)], whole=True) or ""

    def say(self, commands, whole=False):
        """The first line of what it answers, or nothing."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(10)
                for parts in commands:
                    parts = [str(part).encode() for part in parts]
                    words = b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
                    connection.sendall(b"*%d\r\n%s" % (len(parts), words))
                answer = connection.recv(65536).decode()
                return answer if whole else answer.split("\r\n")[0]
        except OSError:
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()

    def forget_file(self):
        shutil.rmtree(os.path.join(self.folder, "appendonlydir"), ignore_errors=True)


class Gateway:
    """A gateway with a session of its own, `tokens` credentials (`t0`, ...) that may follow it, and `admin`."""

    def __init__(self, name, redis_port, tokens=40, heartbeat="1s", options=()):
        self.name, self.folder = name, os.path.join(ROOM, name)
        self.data = os.path.join(self.folder, "data")
        sessions = os.path.join(self.folder, "state", "agents", "main", "sessions")
        os.makedirs(sessions)
        with open(os.path.join(sessions, "sessions.json"), "w") as rows:
            json.dump({SESSION: {"sessionId": "one", "updatedAt": 1}}, rows)
        self.transcript = open(os.path.join(sessions, "one.jsonl"), "w")
        self.append("hello")
        with open(os.path.join(self.folder, "state", "openclaw.json"), "w") as settings:
            # Who is refused here is refused often.
            json.dump({"gateway": {"auth": {"rateLimit": {"maxAttempts": 100000}}}}, settings)
        file = os.path.join(self.folder, "tokens.toml")
        with open(file, "w") as lines:
            for n in range(tokens):
                lines.write(TOKEN % (f"t{n}", f"secret-{n}", f"s{n}", "operator.read"))
            lines.write(TOKEN % ("admin", "secret-admin", "admin", "operator.admin"))
        os.chmod(file, 0o600)
        self.port = free_port()
        self.command = ["--state-dir", os.path.join(self.folder, "state"), "--tokens", file, "--data-dir", self.data,
                        "--port", str(self.port), "--heartbeat", heartbeat, *options]
        self.env = dict(os.environ)
        if redis_port:
            self.env["OPENCLAW_GATEWAY_REDIS"] = f"redis://127.0.0.1:{redis_port}"

    def start(self, program):
        self.program = program
        self.log = open(os.path.join(self.folder, "log"), "a")
        self.process = subprocess.Popen([program, *self.command], env=self.env, stdout=subprocess.PIPE,
                                        stderr=self.log, text=True)
        STARTED.append(self.process)
        assert self.process.stdout.readline(), f"{self.name} does not start: {self.said()[-2000:]}"
        return self

    def kill(self):
        self.process.kill()
        self.process.wait()

    def start_anew(self, with_data):
        """After a kill."""
        if not with_data:
            shutil.rmtree(self.data, ignore_errors=True)
        self.start(self.program)

    def said(self):
        with open(os.path.join(self.folder, "log")) as log:
            return log.read()

    def append(self, text):
        """A message for all who follow the session."""
        self.transcript.write(json.dumps({"message": {"role": "user", "content": text}}) + "\n")
        self.transcript.flush()

    def ask(self, *request, **options):
        """The status, or none from one that does not answer."""
        return self.answer(*request, **options)[0]

    def answer(self, method, path, token, body=None, timeout=PATIENCE):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, body and json.dumps(body), {"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None, b""
        finally:
            connection.close()

    def page(self, n):
        return self.ask("GET", f"/sessions/{SESSION}/history?limit=1", f"secret-{n}")

    def revoke(self, **what):
        """Where it holds: on `all`, `here` alone, or, as it was refused, nowhere (`none`); `None`: no answer."""
        status, body = self.answer("POST", "/revocations", "secret-admin", what)
        if status in (None, 200):
            return status and "all"
        assert status == 503, status
        return "here" if b"It is revoked" in body else "none"

    def is_ready(self):
        return self.ask("GET", "/ready", "", timeout=5) == 200


def all_ready(gateways):
    for gateway in gateways:
        until(f"{gateway.name} is ready", gateway.is_ready)


def all_refuse(gateways, n, within=PATIENCE):
    for gateway in gateways:
        until(f"t{n} is refused by {gateway.name}", lambda: gateway.page(n) == 401, within)
