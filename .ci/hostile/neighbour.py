"""A client that behaves: it asks for a page of a session now and then, over a connection that it keeps and over a new one in turn.

A process of its own, so that no flood that this machine makes is counted as the gateway's time."""

import contextlib
import json
import random
import re
import socket
import ssl
import statistics
import subprocess
import sys
import time

from gateway import SESSION, connect

# Between two requests, in seconds.
PAUSE = 0.002
# How long it waits for one.
PATIENCE = 10
# It is told apart from whoever floods by its address, as clients are.
ADDRESS = "127.0.3.1"
# Its pages differ, so that they are not all remembered.
REQUESTS = [(f"GET /sessions/{SESSION}/history?limit={limit} HTTP/1.1\r\nHost: localhost\r\n"
             "Authorization: Bearer secret-1\r\n\r\n").encode() for limit in range(10, 60)]


class Times:
    """How long its requests took, in milliseconds, and how many came to nothing."""

    def __init__(self, taken, failed):
        self.taken, self.failed = sorted(taken), failed

    def p99(self):
        return self.taken[int(len(self.taken) * 0.99)] if self.taken else PATIENCE * 1_000

    def median(self):
        return statistics.median(self.taken) if self.taken else PATIENCE * 1_000


def asks(port, seconds, secured=False):
    """Asks for so long, over TLS if it is `secured`."""
    command = [sys.executable, "-B", __file__, str(port), str(seconds), *(["secured"] if secured else [])]
    out = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 10 * PATIENCE).stdout
    return Times(**json.loads(out))


def ask(connection):
    connection.sendall(random.choice(REQUESTS))
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0 or len(received) < end + 4 + length(received):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionResetError
        received += piece
    return received.startswith(b"HTTP/1.1 200")


def length(received):
    return int(re.search(rb"\r\ncontent-length: (\d+)", received, re.I)[1])


def main():
    port, seconds = int(sys.argv[1]), float(sys.argv[2])
    context = ssl.create_default_context()
    # Whose certificate it is is not the question.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    wrapped = context.wrap_socket if sys.argv[3:] else lambda connection: connection
    taken, failed, kept = [], 0, None
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for is_new in (False, True):
            begun = time.monotonic()
            try:
                if is_new:
                    with contextlib.closing(wrapped(connect(port, ADDRESS, PATIENCE))) as connection:
                        is_good = ask(connection)
                else:
                    kept = kept or wrapped(connect(port, ADDRESS, PATIENCE))
                    is_good = ask(kept)
            except (OSError, socket.timeout):
                is_good, kept = False, None
            if is_good:
                taken.append((time.monotonic() - begun) * 1_000)
            else:
                failed += 1
            time.sleep(PAUSE)
    print(json.dumps({"taken": taken, "failed": failed}))


if __name__ == "__main__":
    main()
