"""Floods over HTTP/1.1 and on bare sockets."""

import asyncio
import itertools
import socket

from attack import Flood
from gateway import LARGE, SESSION

GET = "GET {} HTTP/1.1\r\nHost: localhost\r\n{}\r\n"
GOOD = "Authorization: Bearer secret-0\r\n"
STREAM = GET.format(f"/sessions/{SESSION}/history", GOOD + "Accept: text/event-stream\r\n").encode()
HEALTH = GET.format("/healthz", "").encode()


async def many(target, each, at_a_time=100):
    """So many connections, each of which `each(reader, writer)` has, made anew once it is closed."""
    turns = asyncio.Semaphore(at_a_time)
    made = set()

    async def one(n):
        while not target.is_over():
            writer = None
            try:
                async with turns:
                    opening = asyncio.open_connection("127.0.0.1", target.port, local_addr=(target.address(n), 0), limit=2**12)
                    reader, writer = await asyncio.wait_for(opening, 10)
                    target.seen["connections"] += 1
                    made.add(n)
                await each(reader, writer)
                target.seen["closed by the gateway"] += not target.is_over()
            except (OSError, asyncio.TimeoutError):
                target.seen["cut off"] += not target.is_over()
                await asyncio.sleep(0.1)
            finally:
                if writer:
                    writer.transport.abort()

    tasks = [asyncio.ensure_future(one(n)) for n in range(target.count)]
    # All of them, or as many as there is room for.
    for _ in range(600):
        before = len(made)
        await asyncio.sleep(0.1)
        if len(made) in (target.count, before) and made:
            break
    target.is_in_place()
    await target.until_over()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def slow(said, then, pause=1.0):
    """Says so much, and then a byte of `then` each second, for as long as it may."""

    async def each(reader, writer):
        writer.write(said)
        answer = asyncio.ensure_future(reader.read(2**12))
        try:
            for n in itertools.count():
                done, _ = await asyncio.wait([answer], timeout=pause)
                if done:
                    piece = answer.result()
                    if not piece:
                        return
                    answer = asyncio.ensure_future(reader.read(2**12))
                else:
                    writer.write(then[n % len(then):][:1])
        finally:
            answer.cancel()

    return lambda target: many(target, each)


def large_page(n):
    """A page of 3 or 4 MB, and as one of 200 it is made for nobody else."""
    return GET.format(f"/sessions/{LARGE}/history?limit={1_000 - n % 200}", GOOD).encode()


def asks_and_never_reads(request):
    """Asks for `request(n)` and reads nothing, with as little room for it as a socket can have."""

    async def begin(target):
        sockets = []
        loop = asyncio.get_running_loop()
        for n in range(target.count):
            one = socket.socket()
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            one.bind((target.address(n), 0))
            one.setblocking(False)
            await loop.sock_connect(one, ("127.0.0.1", target.port))
            await loop.sock_sendall(one, request(n))
            target.seen["connections"] += 1
            sockets.append(one)
        target.is_in_place()
        await target.until_over()
        for one in sockets:
            one.close()

    return begin


def sends_on(said):
    """Sends it again and again as fast as it is taken, and reads nothing of what comes; on a new connection once it is cut off."""

    def begin(target):
        async def each(reader, writer):
            while True:
                writer.write(said)
                target.seen["sent"] += 1
                await writer.drain()

        return many(target, each)

    return begin


def asks_and_reads(said, answers=1):
    """Sends it again and again, and reads what comes."""

    def begin(target):
        async def each(reader, writer):
            async def reads():
                while piece := await reader.read(2**16):
                    target.seen["answers"] += piece.count(b"HTTP/1.1 ")

            reading = asyncio.ensure_future(reads())
            try:
                while not reading.done():
                    writer.write(said)
                    target.seen["sent"] += answers
                    await writer.drain()
                    await asyncio.sleep(0)
            finally:
                reading.cancel()

        return many(target, each)

    return begin


def comes_and_goes(said):
    """A new connection for each, which is reset as soon as it is made."""

    async def each(reader, writer):
        writer.write(said)
        await asyncio.sleep(0)

    return lambda target: many(target, each)


BODY = (f"POST /sessions/{SESSION}/kill HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n").encode()
REVOCATION = BODY.replace(f"/sessions/{SESSION}/kill".encode(), b"/revocations").replace(
    b"\r\nContent", b"\r\nAuthorization: Bearer secret-admin\r\nContent").replace(b"1000000", b"60000")

FLOODS = [
    Flood("connections that say nothing", "30 s until the protocol is known; `--max-connections`", slow(b"", b""), 1_500, 19_000, processes=2),
    Flood("more connections than may be", "one that asks nothing for a second gives its place to the next", slow(b"", b""), 600, 600,
          options=("--max-connections", "400"), may_wait=4_000),
    Flood("heads, a byte a second", "30 s until the head is there", slow(b"GET /healthz HTTP/1.1\r\nHost: ", b"a"), 500, 8_000, processes=2),
    Flood("bodies that nobody asked for, a byte a second", "30 s, then closed", slow(BODY, b"a"), 500, 8_000, processes=2),
    Flood("bodies of an admin, a byte a second", "10 s, then 408", slow(REVOCATION, b" "), 0, 2_000),
    Flood("connections that are kept and ask nothing more", "30 s until the next head", slow(HEALTH, b""), 500, 8_000, processes=2),
    Flood("pages of 4 MB that nobody reads", "`--write-timeout`; 256 MiB in all", asks_and_never_reads(large_page), 200, 2_000),
    Flood("streams that nobody reads", "`--write-timeout`", asks_and_never_reads(lambda _: STREAM), 0, 2_000),
    Flood("requests behind an open stream", "read when that has ended", sends_on(STREAM + HEALTH * 1_000), 50, 500),
    Flood("requests in a row, of which no answer is read", "`--write-timeout`", sends_on(HEALTH * 1_000), 20, 100),
    Flood("requests in a row", "one at a time", asks_and_reads(HEALTH * 20, 20), 0, 16),
    Flood("heads of 1 MB", "64 KiB, then 431", sends_on(b"GET /" + b"a" * 2**20), 20, 100),
    Flood("heads of 10,000 lines", "100 lines, then 431", sends_on(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 10_000), 0, 100),
    Flood("connections that come and go", "what they said is not read on", comes_and_goes(HEALTH), 0, 200),
]
