#!/usr/bin/env python3
"""What goes wrong with an issuer, while hundreds of streams of its tokens are open: `verifiers.py JWT [short|long]`, the program of
examples/jwt.rs.

A stream whose key was read once goes on, whatever becomes of the issuer; nobody is let in by a key that cannot be looked up,
and nobody waits for that for ever; and when a key is withdrawn the streams of its tokens end, and no others."""

import base64
import http.client
import http.server
import json
import os
import selectors
import socket
import subprocess
import sys
import tempfile
import threading
import time

from gateway import until

AUDIENCE = "https://api.example"
# Within what a request is answered, one way or the other: the library's limit for keys is ten seconds.
ANSWERED = 20


def encoded(octets):
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


class Key:
    def __init__(self, folder, name):
        self.name, self.path = name, os.path.join(folder, name)
        subprocess.run(["openssl", "genrsa", "-out", self.path, "2048"], check=True, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", self.path, "-noout", "-modulus"], check=True, capture_output=True)
        octets = bytes.fromhex(modulus.stdout.decode().strip().split("=")[1])
        self.public = {"kty": "RSA", "kid": name, "alg": "RS256", "use": "sig", "n": encoded(octets), "e": "AQAB"}

    def token(self, issuer, subject):
        now = int(time.time())
        claims = {"iss": issuer, "aud": AUDIENCE, "sub": subject, "client_id": subject, "jti": subject, "iat": now,
                  "exp": now + 3600, "scope": "read"}
        parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "RS256", "kid": self.name, "typ": "at+jwt"}, claims)]
        signed = ".".join(parts)
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.path], input=signed.encode(), check=True,
                                   capture_output=True)
        return f"{signed}.{encoded(signature.stdout)}"


class Issuer(http.server.ThreadingHTTPServer):
    """Publishes `keys`, as well as its `way` lets it."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.keys, self.way, self.asked = [], "well", 0
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """Whoever asks gives up where it hangs."""


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        issuer = self.server
        issuer.asked += 1
        if self.path.startswith("/.well-known/"):
            body = {"issuer": issuer.url, "jwks_uri": f"{issuer.url}/keys"}
        else:
            body = {"keys": [key.public for key in issuer.keys]}
        body, way = json.dumps(body).encode(), issuer.way
        if way == "slow":
            time.sleep(1)
        elif way == "hanging":
            until("it is well again", lambda: issuer.way != "hanging", 600)
        elif way == "nonsense":
            body = b"<html>" + body[:50]
        elif way == "endless":
            self.send_response(200)
            self.end_headers()
            while issuer.way == "endless":
                self.wfile.write(b" " * 65536)
            return
        self.send_response(500 if way == "failing" else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) + 100 * (way == "cut")))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Says nothing."""


class Streams:
    """Those of one key, held open."""

    def __init__(self, port, token, count):
        self.selector, self.ended = selectors.DefaultSelector(), {}
        self.open = 0
        for n in range(count):
            stream = socket.create_connection(("127.0.0.1", port), 60, source_address=(f"127.0.0.{1 + n % 50}", 0))
            request = f"GET /clock HTTP/1.0\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
            stream.sendall(request.encode())
            read = b""
            while b"data: robot" not in read:
                part = stream.recv(4096)
                assert part, read
                read += part
            stream.setblocking(False)
            self.selector.register(stream, selectors.EVENT_READ)
            self.open += 1

    def are_open(self):
        """How many are, after what came was read."""
        for key, _ in self.selector.select(0):
            while True:
                try:
                    part = key.fileobj.recv(4096)
                except BlockingIOError:
                    break
                if not part:
                    self.selector.unregister(key.fileobj)
                    key.fileobj.close()
                    self.open -= 1
                    break
        return self.open


def status(port, token):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    begun = time.monotonic()
    connection.request("GET", "/clock", headers={"Authorization": f"Bearer {token}"})
    found = connection.getresponse().status
    connection.close()
    took = time.monotonic() - begun
    assert took < ANSWERED, f"{found} after {took:.1f} s"
    return found


def run(program, is_long):
    count, holds = (2_000, 15) if is_long else (100, 0.5)
    issuer = Issuer()
    with tempfile.TemporaryDirectory() as folder, open(os.path.join(folder, "log"), "w") as log:
        old, new, unknown = (Key(folder, name) for name in ("old", "new", "unknown"))
        service = subprocess.Popen([program, issuer.url, AUDIENCE], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            port = int(service.stdout.readline().rsplit(":", 1)[1])
            of_old, of_new, of_unknown = (key.token(issuer.url, "robot") for key in (old, new, unknown))
            issuer.keys = [old, new]
            until("keys are read", lambda: status(port, of_old) == 200)
            streams = [Streams(port, of_old, count), Streams(port, of_new, count)]
            for way in ("slow", "failing", "hanging", "nonsense", "cut", "endless"):
                issuer.way, asked = way, issuer.asked
                until(f"it is asked while {way}", lambda: issuer.asked > asked)
                begun = time.monotonic()
                known, none = set(), set()
                while not known or time.monotonic() - begun < holds:
                    known.add(status(port, of_old))
                    none.add(status(port, of_unknown))
                    time.sleep(0.1)
                assert known == {200}, f"a known key while {way}: {known}"
                assert none <= {401, 503}, f"an unknown key while {way}: {none}"
                found = [stream.are_open() for stream in streams]
                assert found == [count, count], f"{way}: {found} streams are open"
                issuer.way = "well"
                issuer.keys.append(unknown)
                took = until("a key that is new is known", lambda: status(port, of_unknown) == 200)
                issuer.keys.remove(unknown)
                until("it is withdrawn", lambda: status(port, of_unknown) != 200)
                print(f"   an issuer that is {way}: {sum(found)} streams are open, an unknown key gets {sorted(none)}, and is "
                      f"known {took:.1f} s after it is published", flush=True)
            issuer.way, issuer.keys = "well", [new]
            took = until("the streams of a withdrawn key end", lambda: streams[0].are_open() == 0)
            assert streams[1].are_open() == count and status(port, of_old) == 401 and status(port, of_new) == 200
            print(f"   a key is withdrawn: its {count} streams end within {took:.2f} s, the {count} others go on")
        except BaseException:
            log.flush()
            print(open(log.name).read()[-3000:], file=sys.stderr)
            raise
        finally:
            service.kill()
            service.wait()


if __name__ == "__main__":
    run(sys.argv[1], "long" in sys.argv[2:3])
