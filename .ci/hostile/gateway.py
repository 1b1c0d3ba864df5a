"""A gateway as a process of its own on loopback, and what the system and its metrics say of it."""

import contextlib
import http.client
import json
import os
import re
import resource
import shutil
import socket
import ssl
import subprocess
import tempfile
import time

SESSION, LARGE = "agent:main:one", "agent:main:large"
TOKEN = '[[token]]\nid = "%s"\nsecret = "%s"\nsubject = "%s"\nscopes = ["%s"]\n'
# Whom it trusts to say for whom a request is.
PROXY = "127.0.2.1"
# How long a slow machine may take to do what nobody waits for.
PATIENCE = 60


def until(what, holds, within=PATIENCE):
    """How long it took."""
    begun = time.monotonic()
    while not holds():
        if time.monotonic() - begun > within:
            raise AssertionError(f"not within {within} s: {what}")
        time.sleep(0.02)
    return time.monotonic() - begun


def message(text):
    return json.dumps({"message": {"role": "user", "content": text}}) + "\n"


class Gateway:
    """With a session of 200 messages, one of 4 MB, `tokens` readers (`t0`, with the secret `secret-0`, ...) and `admin`."""

    def __init__(self, program, *options, tokens=40, descriptors=None, rate_limit=None, env=()):
        self.folder = tempfile.mkdtemp(prefix="hostile-")
        self.state = os.path.join(self.folder, "state")
        self.sessions = os.path.join(self.state, "agents", "main", "sessions")
        os.makedirs(self.sessions)
        rows = {SESSION: {"sessionId": "one", "updatedAt": 2}, LARGE: {"sessionId": "large", "updatedAt": 1}}
        self.write(os.path.join(self.sessions, "sessions.json"), json.dumps(rows))
        self.write(os.path.join(self.sessions, "one.jsonl"), "".join(message(f"number {n}") for n in range(200)))
        self.write(os.path.join(self.sessions, "large.jsonl"), "".join(message("large " * 700) for n in range(1_000)))
        settings = {"gateway": {"trustedProxies": [PROXY]}}
        if rate_limit:
            settings["gateway"]["auth"] = {"rateLimit": rate_limit}
        self.write(os.path.join(self.state, "openclaw.json"), json.dumps(settings))
        self.tokens = os.path.join(self.folder, "tokens.toml")
        readers = "".join(TOKEN % (f"t{n}", f"secret-{n}", f"s{n}", "operator.read") for n in range(tokens))
        self.write(self.tokens, readers + TOKEN % ("admin", "secret-admin", "admin", "operator.admin"))
        self.log = os.path.join(self.folder, "log")
        self.command = [program, "--state-dir", self.state, "--data-dir", os.path.join(self.folder, "data"),
                        "--tokens", self.tokens, "--port", "0", *options]
        self.env = dict(os.environ) | dict(env)
        self.descriptors_allowed = descriptors
        self.port = 0
        self.start()

    @staticmethod
    def write(path, text):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o600)

    def start(self):
        """Again after it was ended, at the same port."""
        command = list(self.command)
        command[command.index("--port") + 1] = str(self.port)
        allowed = self.descriptors_allowed

        def limited():
            if allowed:
                resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, allowed))

        with open(self.log, "a", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=log, text=True,
                                            preexec_fn=limited)
        line = self.process.stdout.readline()
        found = re.search(r":(\d+)", line)
        assert found, f"the gateway does not start: {self.said()[-2000:]}"
        self.port = int(found[1])
        self.pid = self.process.pid

    def end(self):
        """Ends it, and leaves nothing of it."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def is_alive(self):
        return self.process.poll() is None

    def answer(self, method, path, token=None, body=None, timeout=PATIENCE, source="127.0.0.1", headers=()):
        """The status and the body; no status from one that does not answer."""
        here = {"timeout": timeout, "source_address": (source, 0)}
        if "--tls-cert" in self.command:
            # Its certificate is its own.
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, **here)
        else:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, **here)
        headers = dict(headers) | ({"Authorization": f"Bearer {token}"} if token else {})
        with contextlib.closing(connection):
            try:
                connection.request(method, path, body and json.dumps(body), headers)
                response = connection.getresponse()
                return response.status, response.read()
            except (OSError, http.client.HTTPException):
                return None, b""

    def append(self, text, name="one"):
        """A message for all who follow the session."""
        with open(os.path.join(self.sessions, f"{name}.jsonl"), "a", encoding="utf-8") as transcript:
            transcript.write(message(text))

    def metrics(self):
        """By the whole name with its labels, as they are written."""
        status, text = self.answer("GET", "/metrics")
        assert status == 200, status
        lines = [line.rsplit(" ", 1) for line in text.decode().splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, value in lines}

    def connections(self):
        """But for the one that asks."""
        return int(self.metrics()["gateway_connections_open"]) - 1

    def streams(self):
        return int(self.metrics().get("tower_reauth_streams_open", 0))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def threads(self):
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def memory(self):
        """Resident, in bytes."""
        with open(f"/proc/{self.pid}/statm", encoding="ascii") as statm:
            return int(statm.read().split()[1]) * resource.getpagesize()

    def busy(self):
        """Seconds of a processor that it took so far."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def has_room(self):
        """Waits until sockets that were left open are gone."""
        return until("nobody is connected", lambda: self.connections() <= 0)


def connect(port, source="127.0.0.1", timeout=PATIENCE):
    connection = socket.create_connection(("127.0.0.1", port), timeout, source_address=(source, 0))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection
