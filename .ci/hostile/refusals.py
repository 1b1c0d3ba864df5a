#!/usr/bin/env python3
"""Requests that two servers could read in two ways, and targets that are not what they seem, each on a connection of its own:
`python3 -B .ci/hostile/refusals.py PROGRAM short`.

For each it is said which answers come and whether the connection stays open: an answer too many is a request that somebody
smuggled past whoever counted differently (RFC 9112 section 11.2)."""

import re
import socket
import sys

from gateway import Gateway, SESSION, connect

GOOD = "Authorization: Bearer secret-0\r\n"
HISTORY = f"/sessions/{SESSION}/history?limit=1"
# What follows each: answered if the connection is still good, and if nothing of it was taken for something else.
NEXT, ITS_ANSWER = b"GET /ready HTTP/1.1\r\nHost: next\r\n\r\n", b'{"ok":true,"status":"ready"}'
SMUGGLED = b"GET /health HTTP/1.1\r\nHost: smuggled\r\n\r\n"


def head(line="POST /healthz HTTP/1.1", *fields):
    return "\r\n".join((line, "Host: localhost", *fields, "", "")).encode("latin-1")


def raw(text):
    return text.encode("latin-1")


def post(*fields):
    return head("POST /healthz HTTP/1.1", *fields)


def get(target, *fields):
    return head(f"GET {target} HTTP/1.1", GOOD[:-2], *fields)


TE, CL = "Transfer-Encoding: chunked", "Content-Length: 5"
# What is sent, and the statuses that come before that of the next request; `None` at the end: the connection is closed
# before that.
SHAPES = {
    "framing": [
        ("Content-Length and Transfer-Encoding", post(CL, TE) + b"0\r\n\r\n", [405, None]),
        ("the same, the other way round", post(TE, CL) + b"0\r\n\r\n", [405, None]),
        ("two lengths that differ", post(CL, "Content-Length: 6") + b"12345", [400, None]),
        ("two equal lengths", post(CL, CL) + b"12345", [405]),
        ("a list of equal lengths", post("Content-Length: 5, 5") + b"12345", [400, None]),
        ("a length with a sign", post("Content-Length: +5") + b"12345", [400, None]),
        ("a negative length", post("Content-Length: -5") + b"12345", [400, None]),
        ("a hexadecimal length", post("Content-Length: 0x5") + b"12345", [400, None]),
        ("no length", post("Content-Length: ") + b"", [400, None]),
        ("a length of 2^64", post(f"Content-Length: {2**64}") + b"12345", [400, None]),
        ("identity", post("Transfer-Encoding: identity") + SMUGGLED, [400, None]),
        ("chunked, then identity", post("Transfer-Encoding: chunked, identity") + SMUGGLED, [400, None]),
        ("chunked twice", post(TE, TE) + b"0\r\n\r\n", [501, None]),
        ("xchunked", post("Transfer-Encoding: xchunked") + SMUGGLED, [400, None]),
        ("chunked with a vertical tab", post("Transfer-Encoding: \x0bchunked") + SMUGGLED, [400, None]),
        ("gzip, chunked", post("Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n", [501, None]),
        ("chunked over HTTP/1.0", head("POST /healthz HTTP/1.0", TE) + b"0\r\n\r\n", [400, None]),
        ("a request in the body of one without a length", post() + SMUGGLED, [405, 200]),
        ("a request in a body", post(f"Content-Length: {len(SMUGGLED)}") + SMUGGLED, [405]),
    ],
    "chunks": [
        ("an extension", post(TE) + b"5;a=b\r\n12345\r\n0\r\n\r\n", [405]),
        ("an extension that a bare LF ends", post(TE) + b"5;a\n12345\r\n0\r\n\r\n", [405, None]),
        ("20 KB of extensions", post(TE) + b"5;" + b"a" * 20_000 + b"\r\n12345\r\n0\r\n\r\n", [405, None]),
        ("a size that a bare LF ends", post(TE) + b"5\n12345\r\n0\r\n\r\n", [405, None]),
        ("a size of 2^64", post(TE) + b"10000000000000000\r\n12345\r\n0\r\n\r\n", [405, None]),
        ("a negative size", post(TE) + b"-5\r\n12345\r\n0\r\n\r\n", [405, None]),
        ("a size with 0x", post(TE) + b"0x5\r\n12345\r\n0\r\n\r\n", [405, None]),
        ("more bytes than the size", post(TE) + b"5\r\n123456\r\n0\r\n\r\n", [405, None]),
        ("a trailer that says more", post(TE) + b"0\r\nContent-Length: 40\r\n\r\n", [405]),
        ("20 KB of trailers", post(TE) + b"0\r\n" + b"a: b\r\n" * 4_000 + b"\r\n", [405, None]),
        ("a last chunk that a bare LF ends", post(TE) + b"0\n\n" + SMUGGLED, [405, None]),
    ],
    "lines": [
        ("a folded line", raw("GET /healthz HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n"), [400, None]),
        ("a folded Transfer-Encoding", post("Transfer-Encoding:\r\n chunked") + b"0\r\n\r\n", [400, None]),
        ("a space before the colon", post("Transfer-Encoding : chunked") + b"0\r\n\r\n", [400, None]),
        ("a space before the first name", raw("GET /healthz HTTP/1.1\r\n Host: a\r\n\r\n"), [400, None]),
        ("lines that bare LFs end", raw("GET /healthz HTTP/1.1\nHost: a\n\n"), [200]),
        ("a bare CR in a value", get("/healthz", "A: b\rTransfer-Encoding: chunked"), [400, None]),
        ("a NUL in a value", get("/healthz", "A: b\0c"), [400, None]),
        ("a NUL in a name", get("/healthz", "A\0: b"), [400, None]),
        ("a name that is none", get("/healthz", "A(b): c"), [400, None]),
        ("a line without a colon", get("/healthz", "no colon"), [400, None]),
        ("no name", get("/healthz", ": value"), [400, None]),
        ("two spaces", raw("GET  /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), [400, None]),
        ("a tab", raw("GET\t/healthz HTTP/1.1\r\nHost: a\r\n\r\n"), [400, None]),
        ("HTTP/1.2", head("GET /healthz HTTP/1.2"), [400, None]),
        ("HTTP/0.9", raw("GET /healthz\r\n\r\n"), [400, None]),
        ("empty lines before", b"\r\n\r\n" + head("GET /healthz HTTP/1.1"), [200]),
        ("two hosts", get("/healthz", "Host: b"), [400]),
        ("two credentials", get(HISTORY, GOOD[:-2]), [401]),
        ("100 lines", get("/healthz", *(f"a{n}: b" for n in range(98))), [200]),
        ("101 lines", get("/healthz", *(f"a{n}: b" for n in range(99))), [431, None]),
        ("10,000 lines", get("/healthz", *(f"a{n}: b" for n in range(10_000))), [431, None]),
        ("a value of 60 KB", get("/healthz", "A: " + "b" * 60_000), [200]),
        ("a value of 1 MB", get("/healthz", "A: " + "b" * 1_000_000), [431, None]),
        ("a name of 1 MB", get("/healthz", "b" * 1_000_000 + ": a"), [431, None]),
    ],
    "targets": [
        ("absolute", get(f"http://localhost{HISTORY}"), [200]),
        ("absolute, for another host", get(f"http://elsewhere{HISTORY}"), [200]),
        ("absolute, with a user", get(f"http://user@localhost{HISTORY}"), [200]),
        ("absolute, of another scheme", get(f"ftp://localhost{HISTORY}"), [200]),
        ("an authority", get("localhost:80"), [200]),
        ("an asterisk", head("OPTIONS * HTTP/1.1"), [404]),
        ("CONNECT", head("CONNECT localhost:80 HTTP/1.1"), [405]),
        ("a fragment", get("/healthz#x"), [200]),
        ("%00 in a key", get("/sessions/a%00b/history"), [404]),
        ("%0d%0a in a key", get("/sessions/a%0d%0ab/history"), [404]),
        ("half of %", get("/sessions/a%/history"), [400]),
        ("no UTF-8", get("/sessions/%ff/history"), [400]),
        ("bytes that are not ASCII", get("/sessions/\xff/history"), [400, None]),
        ("a key of dots", get("/sessions/../history"), [404]),
        ("a key of written dots", get("/sessions/%2e%2e/history"), [404]),
        ("a key that climbs", get("/sessions/..%2f..%2fopenclaw.json/history"), [404]),
        ("dots to the route", get("/a/../healthz"), [200]),
        ("written dots to the route", get("/a/%2e%2e/healthz"), [200]),
        ("dots above the root", get("/../../healthz"), [200]),
        ("a target that begins as one without a scheme", get("//healthz"), [200]),
        ("a backslash", get("/sessions\\x\\history"), [404]),
        ("a key of 60 KB", get(f"/sessions/{'k' * 60_000}/history"), [404]),
        ("a key of 1 MB", get(f"/sessions/{'k' * 1_000_000}/history"), [431, None]),
        ("a query of 60 KB", get(f"{HISTORY}&{'a=b&' * 15_000}"), [200]),
        ("60 KB of dots", get(f"/{'../' * 20_000}healthz"), [200]),
        ("60 KB of written dots", get(f"/{'%2e%2e/' * 8_000}healthz"), [200]),
    ],
}


def answers(port, sent):
    """The statuses in turn, `None` at the end if the connection is closed then."""
    connection = connect(port, timeout=10)
    received = b""
    with connection:
        try:
            connection.sendall(sent + NEXT)
        except OSError:
            # It need not read all of what it refuses.
            pass
        statuses = []
        try:
            while True:
                statuses, is_next = parse(received)
                if is_next:
                    return statuses[:-1]
                piece = connection.recv(65536)
                if not piece:
                    break
                received += piece
        except socket.timeout:
            return [*statuses, "nothing more"]
        except ConnectionResetError:
            pass
    return [*parse(received)[0], None]


def parse(received):
    """The statuses, and whether the last is the answer to `NEXT`."""
    statuses, rest, body = [], received, None
    while (end := rest.find(b"\r\n\r\n")) >= 0:
        status = re.match(rb"HTTP/1\.[01] (\d{3})", rest)
        assert status, f"no answer: {rest[:200]!r}"
        length = re.search(rb"\r\ncontent-length: (\d+)", rest[:end], re.I)
        size = end + 4 + int(length[1] if length else 0)
        if len(rest) < size:
            break
        statuses.append(int(status[1]))
        body = rest[end + 4:size]
        rest = rest[size:]
    return statuses, body == ITS_ANSWER


def main():
    program = sys.argv[1]
    gateway = Gateway(program)
    wrong = 0
    try:
        for kind, shapes in SHAPES.items():
            for name, sent, expected in shapes:
                found = answers(gateway.port, sent)
                if found != expected:
                    wrong += 1
                    print(f"WRONG {kind}: {name}: {found}, not {expected}", flush=True)
            print(f"{kind}: {len(shapes)} tried", flush=True)
    finally:
        gateway.end()
    sys.exit(bool(wrong))


main()
