"""Floods of WebSockets (RFC 6455) and of TLS."""

import asyncio
import json
import os
import subprocess
import tempfile

from attack import Flood
from http_1 import asks_and_never_reads, many, slow

SHAKE = (b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
         b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
CONTINUATION, TEXT, PING, FIN = 0, 1, 9, 0x80


def frame(kind, payload=b"", flags=FIN):
    """Masked with zeroes, as a client has to mask somehow."""
    size = len(payload)
    length = bytes((0x80 | size,)) if size < 126 else bytes((0xFE,)) + size.to_bytes(2, "big") if size < 2**16 else \
        bytes((0xFF,)) + size.to_bytes(8, "big")
    return bytes((flags | kind,)) + length + b"\0\0\0\0" + payload


def request(method, **params):
    return frame(TEXT, json.dumps({"type": "req", "id": "1", "method": method, "params": params}).encode())


CONNECT = request("connect", minProtocol=4, maxProtocol=4, scopes=["operator.read"], auth={"token": "secret-0"},
                  client={"id": "gateway-client", "version": "1", "platform": "linux", "mode": "backend"})
HISTORY = request("chat.history", sessionKey="agent:main:one", limit=50)
LARGE_HISTORY = request("chat.history", sessionKey="agent:main:large", limit=1000, maxChars=100000)


def says(first, again, reads=True):
    """Shakes hands, says `first`, and then `again` as fast as it is taken."""

    async def each(reader, writer):
        async def read():
            while await reader.read(2**16):
                pass

        reading = asyncio.ensure_future(read() if reads else asyncio.sleep(3600))
        writer.write(SHAKE + first)
        try:
            while again and not reading.done():
                writer.write(again)
                await writer.drain()
                await asyncio.sleep(0)
            await reading
        finally:
            reading.cancel()

    return lambda target: many(target, each)


def certificate():
    """Options of a gateway that speaks TLS, with a pair made for it."""
    folder = tempfile.mkdtemp(prefix="hostile-tls-")
    chain, key = os.path.join(folder, "chain.pem"), os.path.join(folder, "key.pem")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", chain],
                   check=True, capture_output=True)
    os.chmod(key, 0o600)
    return "--tls-cert", chain, "--tls-key", key


# A record of the handshake that promises 512 bytes of a ClientHello.
HALF_HELLO = bytes.fromhex("1603010200010001fc0303") + bytes(40)

FLOODS = [
    Flood("sockets that do not say who they are", "15 s", says(b"", b""), 300, 4_000, processes=2),
    Flood("more sockets that do not say who they are than may be", "one that says nothing for a second gives its place to the next",
          says(b"", b""), 600, 600, options=("--max-connections", "400"), may_wait=4_000),
    Flood("sockets with messages of more than 64 KiB", "closed with 1009", says(CONNECT, frame(TEXT, b"a" * 70_000)), 20, 100),
    Flood("empty fragments of a message without end", "none of its own", says(CONNECT + frame(TEXT, b"", 0), frame(CONTINUATION, b"", 0) * 1_000), 0, 50),
    Flood("pings of sockets", "one is answered before the next is read", says(CONNECT, frame(PING, b"12345678") * 500), 0, 50),
    Flood("pings of sockets, of which no answer is read", "`--write-timeout`", says(CONNECT, frame(PING, b"12345678") * 500, reads=False), 8, 50),
    Flood("requests of sockets", "16 wait, the rest is UNAVAILABLE", says(CONNECT, HISTORY * 20), 0, 50),
    Flood("requests of sockets that nobody reads", "`--write-timeout`", asks_and_never_reads(lambda _: SHAKE + CONNECT + LARGE_HISTORY * 16), 0, 500),
    Flood("TLS that does not begin", "10 s", slow(b"", b""), 500, 8_000, processes=2, secured=True),
    Flood("half of a ClientHello, a byte a second", "10 s", slow(HALF_HELLO, b"\0"), 500, 8_000, processes=2, secured=True),
    Flood("records of TLS that are none", "closed", says(b"\x16\x03\x01\xff\xff" + b"a" * 70_000, b""), 0, 100, secured=True),
]
