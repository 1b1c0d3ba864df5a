"""A real OpenID provider, and a service on it: `provider.py <the program of examples/jwt.rs> <provider.mjs>`.

The service starts before the provider does; then keys are rotated, the provider is stopped and started again, and a key is
withdrawn, which ends the stream of its token."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

PATIENCE = 20


class Provider:
    def __init__(self, script):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.script, self.process = script, None
        self.issuer = f"http://127.0.0.1:{self.port}"

    def start(self, *keys):
        self.process = subprocess.Popen(
            ["node", self.script, str(self.port), *keys], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout.readline().strip() == "listening", self.process.stderr.read()

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def token(self):
        form = {"grant_type": "client_credentials", "client_id": "robot", "client_secret": "s3cret", "scope": "read",
                "resource": "https://api.example"}
        data = urllib.parse.urlencode(form).encode()
        with urllib.request.urlopen(f"{self.issuer}/token", data=data, timeout=PATIENCE) as response:
            return json.load(response)["access_token"]


def ask(url, token):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        return urllib.request.urlopen(request, timeout=PATIENCE)
    except urllib.error.HTTPError as refused:
        return refused


def status_becomes(url, token, wanted):
    """How long it takes until the service answers so."""
    began = time.monotonic()
    while (status := ask(url, token).status) != wanted:
        assert time.monotonic() - began < PATIENCE, f"{status} and not {wanted}"
        time.sleep(0.02)
    return time.monotonic() - began


def opened(url, token):
    stream = ask(url, token)
    assert (stream.status, stream.readline()) == (200, b"data: robot\n"), stream.status
    return stream


def main(program, script):
    provider = Provider(script)
    service = subprocess.Popen(
        [program, provider.issuer, "https://api.example"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        url = service.stdout.readline().split()[-1] + "/clock"
        assert ask(url, "a.b.c").status == 401
        unsigned = "eyJhbGciOiJFZERTQSIsImtpZCI6Im9sZCJ9.e30.AA"
        assert ask(url, unsigned).status == 503, "nobody can say yet"

        provider.start("old")
        of_old = provider.token()
        print(f"  keys were there {status_becomes(url, of_old, 200):.2f} s after their provider")
        assert ask(url, unsigned).status == 401
        assert ask(url, of_old[:-8] + "AAAAAAAA").status == 401
        streams = [opened(url, of_old)]

        provider.stop()
        time.sleep(1)
        assert ask(url, of_old).status == 200, "known keys go on while the provider is away"
        assert ask(url, unsigned.replace("Im9sZCJ9", "Im5ldyJ9")).status == 503, "for all that is known it is a new key"

        provider.start("new", "old")
        of_new = provider.token()
        print(f"  a new key was known after {status_becomes(url, of_new, 200):.2f} s")
        streams.append(opened(url, of_new))
        assert ask(url, of_old).status == 200, "both are good while both are published"

        provider.stop()
        provider.start("new")
        began = time.monotonic()
        streams[0].fp.raw._sock.settimeout(PATIENCE)
        assert streams[0].read() == b"\n", "the stream of the key that was withdrawn ends"
        print(f"  a stream ended {time.monotonic() - began:.2f} s after its key was withdrawn")
        assert ask(url, of_old).status == 401
        streams[1].fp.raw._sock.settimeout(1)
        try:
            assert not streams[1].read(2), "the other one goes on"
        except TimeoutError:
            pass
        assert ask(url, of_new).status == 200
    finally:
        provider.stop()
        service.terminate()
    log = service.stderr.read()
    assert "there are no keys" in log and "keys fetched" in log, log


main(*sys.argv[1:])
