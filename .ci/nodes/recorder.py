"""Clients that follow a session for as long as they are let in, and a record of when each of their frames came, by the
kernel's stamp: however busy this program is, none is taken to be later than it was."""

import selectors
import socket
import struct
import threading
import time

from processes import SESSION

# SO_TIMESTAMPNS of Linux.
STAMPED = 35
# How soon a client comes back.
RETRY = 0.3
# A silence that is noted. A message comes ten times a second.
NOTED = 0.3


class Client:
    """One that comes back whenever its stream has ended or it was refused."""

    def __init__(self, gateway, n):
        self.gateway, self.n = gateway, n
        # Times are seconds since 1970.
        self.last_frame, self.gaps = None, []
        # When each of its streams ended, and how; what it was answered in place of one.
        self.ends, self.refusals = [], set()
        self.is_gone, self.socket, self.buffer = False, None, b""

    def is_in(self):
        return self.last_frame is not None and self.socket is not None and time.time() - self.last_frame < 2

    def longest_gap(self, since):
        return max((gap for at, gap in self.gaps if at >= since), default=0.0)

    def told(self):
        last = self.last_frame and f"{time.time() - self.last_frame:.1f} s ago"
        way = "is connected" if self.socket else "is not connected"
        return f"{way}, a frame {last}, ended by {[how for _, how in self.ends[-3:]]}, refused by {self.refusals}"

    def __repr__(self):
        return f"t{self.n} on {self.gateway.name}"


class Recorder:
    def __init__(self, comes_back=True):
        self._comes_back = comes_back
        self._selector, self._lock, self._due, self._new = selectors.DefaultSelector(), threading.Lock(), [], []
        self.clients, self.frames = [], 0
        threading.Thread(target=self._run, daemon=True).start()

    def follow(self, gateway, n):
        client = Client(gateway, n)
        with self._lock:
            self.clients.append(client)
            self._new.append(client)
        return client

    def leave(self, client):
        client.is_gone = True
        with self._lock:
            self.clients.remove(client)

    def _run(self):
        while True:
            with self._lock:
                self._due += [(0.0, client) for client in self._new]
                self._new = []
            now = time.time()
            due = [client for at, client in self._due if at <= now]
            self._due = [(at, client) for at, client in self._due if at > now]
            for client in due:
                self._connect(client)
            for key, _ in self._selector.select(0.02):
                self._read(key.data)

    def _connect(self, client):
        if client.is_gone:
            return
        client.buffer, client.head = b"", None
        try:
            connection = socket.create_connection(("127.0.0.1", client.gateway.port), 1)
        except OSError:
            self._due.append((time.time() + RETRY, client))
            return
        connection.setsockopt(socket.SOL_SOCKET, STAMPED, 1)
        # An answer of HTTP/1.0 is its frames and nothing else.
        request = (f"GET /sessions/{SESSION}/history?reasons&limit=1 HTTP/1.0\r\nHost: localhost\r\n"
                   f"Authorization: Bearer secret-{client.n}\r\nAccept: text/event-stream\r\n\r\n")
        client.socket = connection
        try:
            connection.sendall(request.encode())
        except OSError:
            self._end(client, "cut", time.time())
            return
        connection.setblocking(False)
        self._selector.register(connection, selectors.EVENT_READ, client)

    def _read(self, client):
        try:
            part, ancillary, _, _ = client.socket.recvmsg(65536, 64)
        except BlockingIOError:
            return
        except OSError:
            part, ancillary = b"", []
        at = time.time()
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == STAMPED:
                seconds, nanoseconds = struct.unpack("qq", data[:16])
                at = seconds + nanoseconds / 1e9
        if not part or client.is_gone:
            self._end(client, "refused" if client.head and client.head != 200 else "cut", at)
            return
        client.buffer += part
        if client.head is None:
            if b"\r\n\r\n" not in client.buffer:
                return
            head, client.buffer = client.buffer.split(b"\r\n\r\n", 1)
            client.head = int(head.split()[1])
            if client.head != 200:
                client.refusals.add(client.head)
        if client.head != 200:
            return
        *frames, client.buffer = client.buffer.split(b"\n\n")
        for frame in frames:
            if frame.startswith(b"event: reauth"):
                self._end(client, frame.split(b'"reason":"')[1].split(b'"')[0].decode(), at)
                return
            self.frames += 1
            if client.last_frame is not None and at - client.last_frame > NOTED:
                client.gaps.append((at, at - client.last_frame))
            client.last_frame = at

    def _end(self, client, how, at):
        try:
            self._selector.unregister(client.socket)
        except (KeyError, ValueError):
            pass
        client.socket.close()
        client.socket = None
        if how != "refused":
            client.ends.append((at, how))
        if self._comes_back and not client.is_gone:
            self._due.append((time.time() + RETRY, client))
