"""Streams that are followed from outside, by a process of its own, and what is wrong with what they are sent.

The texts of a session are numbers, each one more than that before, and the time at which it was written: each client knows by
itself what it was not sent, and what it should not have been, however busy this program is. Of what else arrives the time is
the kernel's stamp, which is that of the last of all that lay there unread."""

import collections
import heapq
import json
import math
import multiprocessing
import random
import re
import selectors
import socket
import struct
import time

# SO_TIMESTAMPNS of Linux.
STAMPED = 35
# A stream that was ended, or was never let in, is tried again after so long, and half as long again at most.
RETRY = 1.0
# Connections that are made at a time.
AT_A_TIME = 200
# Addresses that they come from: each has ports for itself.
ADDRESSES = 50
# Between a frame that is let through and its bytes in the socket others may have the processor.
ON_ITS_WAY = 3.0


class Client:
    """One that comes back, after the last event that it saw, whenever its stream has ended."""

    __slots__ = ("number", "token", "session", "socket", "buffer", "asked", "status", "stream", "seen", "written",
                 "last_id", "last_frame", "denied", "ended", "is_over")

    def __init__(self, number, token, session):
        self.number, self.token, self.session = number, token, session
        self.socket, self.buffer, self.status, self.stream = None, bytearray(), None, None
        # When it asked last.
        self.asked = 0.0
        # The last number that it was shown, when that was written, and the id of that event.
        self.seen, self.written, self.last_id, self.last_frame = 0, 0.0, None, 0.0
        # From when on it has no access; when its stream ended after that; whether it came back then and was refused.
        self.denied, self.ended, self.is_over = None, None, False


class Streams:
    """What is told to the process, and asked of it."""

    def __init__(self, port):
        self._ours, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=lambda: Recorder(port, theirs).run(), daemon=True)
        self._process.start()
        theirs.close()

    def _say(self, *what):
        self._ours.send(what)
        return self._ours.recv()

    def open(self, streams, until=None):
        """Follows these sessions, as (token, session), with access until then."""
        return self._say("open", streams, until)

    def leave(self, token):
        """Closes what is open with this token, and says how many were."""
        return self._say("leave", token)

    def sessions(self, token):
        """What this token's streams follow."""
        return self._say("sessions", token)

    def ids(self, token):
        """Those of the streams that are open with this token."""
        return self._say("ids", token)

    def renewed(self, token, by, streams):
        """These streams of a token go by another one from now on. Any other one that has come back with it is cut off, and
        comes back with the new one."""
        return self._say("renewed", token, by, set(streams))

    def reconnect(self, share):
        """Cuts this share of all streams off, which come back."""
        return self._say("reconnect", share)

    def denied(self, token, at):
        """From this moment on the token is no good. None: from a moment that is yet to be said."""
        return self._say("denied", token, at)

    def rewritten(self, session, is_rewritten):
        """Its messages may come to be fewer, for as long as this holds."""
        return self._say("rewritten", session, is_rewritten)

    def count(self, shown, but=()):
        """Of the streams with access, of other sessions than some: how many are open, how many there are, and how many are open
        and show these numbers of their sessions."""
        return self._say("count", shown, set(but))

    def quiet(self, seconds):
        """How many that are open were sent nothing for so long."""
        return self._say("quiet", seconds)

    def is_told(self):
        """What is wrong, and, of streams with access, how often they ended for each reason, and how often they were answered
        what else than a stream, since this was asked before."""
        return self._say("told")

    def of(self, token):
        """Of this token's: how many streams, how many have ended, and how long after it was denied the last one did."""
        return self._say("of", token)

    def are_over(self, token):
        """Whether all of this token's have come back, and were refused."""
        return self._say("are_over", token)

    def stop(self):
        self._process.kill()
        self._process.join()


class Recorder:
    def __init__(self, port, pipe):
        self._port, self._pipe = port, pipe
        self._selector = selectors.DefaultSelector()
        self._selector.register(pipe, selectors.EVENT_READ)
        self._clients, self._due, self._connecting = [], [], 0
        self._of = collections.defaultdict(list)
        self._rewritten, self._wrong = set(), []
        self._ends, self._answers = collections.Counter(), collections.Counter()
        self._random = random.Random(1)

    def run(self):
        while True:
            now = time.time()
            while self._due and self._due[0][0] <= now and self._connecting < AT_A_TIME:
                client = self._clients[heapq.heappop(self._due)[1]]
                if not client.is_over and client.socket is None:
                    self._connect(client)
            wait = self._due[0][0] - now if self._due and self._connecting < AT_A_TIME else 0.05
            for key, events in self._selector.select(min(max(wait, 0), 0.05)):
                if key.fileobj is self._pipe:
                    self._obey(*self._pipe.recv())
                elif key.data.socket is not key.fileobj:
                    # It was closed after this was noticed.
                    continue
                elif events & selectors.EVENT_WRITE:
                    self._ask(key.data)
                else:
                    self._read(key.data)

    def _obey(self, what, *values):
        self._pipe.send(getattr(self, f"_on_{what}")(*values))

    def _on_open(self, streams, until):
        for token, session in streams:
            client = Client(len(self._clients), token, session)
            client.denied = until
            self._clients.append(client)
            self._of[token].append(client)
            self._later(client, 0)

    def _on_leave(self, token):
        left = [client for client in self._of[token] if client.socket and client.status == 200]
        for client in self._of.pop(token):
            client.is_over, client.denied = True, client.denied or time.time()
            self._close(client)
        return len(left)

    def _on_sessions(self, token):
        return [client.session for client in self._of[token]]

    def _on_ids(self, token):
        return [client.stream for client in self._of[token] if client.status == 200]

    def _on_renewed(self, token, by, streams):
        for client in self._of[token]:
            client.token = by
            if client.socket and (client.status != 200 or client.stream not in streams):
                self._close(client)
                self._later(client, 0)
        self._of[by] += self._of.pop(token)

    def _on_reconnect(self, share):
        chosen = [client for client in self._clients if client.status == 200 and self._random.random() < share]
        for client in chosen:
            self._close(client)
            self._later(client, 0)
        return len(chosen)

    def _on_denied(self, token, at):
        at = at or math.inf
        for client in self._of[token]:
            client.denied = at
            self._is_not_let_in(client)
            self._is_sent_nothing(client)
            if client.socket is None and at < math.inf:
                client.ended = client.ended or at

    def _on_rewritten(self, session, is_rewritten):
        (self._rewritten.add if is_rewritten else self._rewritten.discard)(session)

    def _on_quiet(self, seconds):
        now = time.time()
        return sum(client.status == 200 and client.last_frame < now - seconds for client in self._clients)

    def _on_count(self, shown, but):
        now = time.time()
        good = [client for client in self._clients
                if (client.denied is None or now < client.denied < math.inf) and not client.is_over and client.session not in but]
        opened = [client for client in good if client.status == 200]
        return len(opened), len(good), sum(client.seen == shown.get(client.session) for client in opened)

    def _on_told(self):
        told = self._wrong, dict(self._ends), dict(self._answers)
        self._wrong, self._ends, self._answers = [], collections.Counter(), collections.Counter()
        return told

    def _on_of(self, token):
        clients = self._of[token]
        ended = [client.ended for client in clients if client.ended is not None]
        took = max((client.ended - client.denied for client in clients if client.ended), default=0.0)
        return len(clients), len(ended), max(took, 0.0)

    def _on_are_over(self, token):
        return all(client.is_over for client in self._of[token])

    def _say_wrong(self, client, what):
        if len(self._wrong) < 100:
            self._wrong.append(f"{client.token} on {client.session} (stream {client.number}): {what}")

    def _is_not_let_in(self, client):
        """Who asked after the end of access. Who asked before may be told 200 after it, and nothing else."""
        if client.status == 200 and client.denied is not None and client.asked > client.denied:
            self._say_wrong(client, f"let in, having asked {client.asked - client.denied:.3f} s after the end of access")

    def _is_sent_nothing(self, client):
        """Who has no access any more."""
        if client.denied is None:
            return
        if client.written > client.denied:
            self._say_wrong(client, f"shown what was written {client.written - client.denied:.3f} s after the end of access")
        if client.last_frame > client.denied + ON_ITS_WAY:
            self._say_wrong(client, f"a frame {client.last_frame - client.denied:.3f} s after the end of access")

    def _later(self, client, seconds):
        heapq.heappush(self._due, (time.time() + seconds * (1 + self._random.random() / 2), client.number))

    def _connect(self, client):
        client.buffer, client.status = bytearray(), None
        client.socket = socket.socket()
        client.socket.setblocking(False)
        try:
            client.socket.bind((f"127.0.0.{2 + client.number % ADDRESSES}", 0))
            client.socket.connect_ex(("127.0.0.1", self._port))
        except OSError:
            client.socket.close()
            client.socket = None
            return self._later(client, RETRY)
        self._connecting += 1
        self._selector.register(client.socket, selectors.EVENT_WRITE, client)

    def _ask(self, client):
        client.socket.setsockopt(socket.SOL_SOCKET, STAMPED, 1)
        after = f"Last-Event-ID: {client.last_id}\r\n" if client.last_id else ""
        # An answer of HTTP/1.0 is its frames and nothing else.
        request = (f"GET /sessions/{client.session}/history?reasons&resume HTTP/1.0\r\nHost: localhost\r\n{after}"
                   f"Authorization: Bearer secret-{client.token}\r\nAccept: text/event-stream\r\n\r\n")
        client.asked = time.time()
        try:
            client.socket.sendall(request.encode())
        except OSError:
            self._end(client, "not reached", time.time())
            return
        self._selector.modify(client.socket, selectors.EVENT_READ, client)

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
        if not part:
            self._end(client, "cut" if client.status else "not answered", at)
            return
        known = max(0, len(client.buffer) - 1)
        client.buffer += part
        if client.status is None:
            if b"\r\n\r\n" not in client.buffer:
                return
            head, client.buffer = client.buffer.split(b"\r\n\r\n", 1)
            known = 0
            client.status = int(head.split()[1])
            stream = re.search(rb"(?i)\r\nx-stream-id: ([^\r]+)", head)
            client.stream = stream and stream[1].decode()
            self._connecting -= 1
            if client.status != 200:
                self._end(client, str(client.status), at)
                return
            self._is_not_let_in(client)
            # Another one may have ended before it had to.
            client.ended = None
        # Looked for where it was not before: some frames come in a hundred parts.
        if client.buffer.find(b"\n\n", known) < 0:
            return
        *frames, client.buffer = client.buffer.split(b"\n\n")
        for frame in frames:
            if frame.startswith(b"event: reauth"):
                self._end(client, frame.split(b'"reason":"')[1].split(b'"')[0].decode(), at)
                return
            if frame.startswith(b"id: "):
                self._event(client, frame)
        client.last_frame = at
        self._is_sent_nothing(client)

    def _event(self, client, frame):
        lines = {bytes(name): value for name, value in (line.split(b": ", 1) for line in frame.split(b"\n"))}
        client.last_id = lines[b"id"].decode()
        data = json.loads(lines[b"data"])
        if lines[b"event"] == b"message":
            number, client.written = read(data["message"])
            if number != client.seen + 1 and client.session not in self._rewritten:
                self._say_wrong(client, f"message {number} after {client.seen}")
            client.seen = number
        elif lines[b"event"] == b"history":
            messages = [read(message) for message in data["messages"]]
            numbers = [number for number, _ in messages]
            last, client.written = messages[-1] if messages else (0, 0.0)
            if client.session not in self._rewritten:
                if numbers != list(range(last - len(numbers) + 1, last + 1)):
                    self._say_wrong(client, f"a history with gaps, of {len(numbers)} up to {last}")
                if last < client.seen:
                    self._say_wrong(client, f"a history up to {last} after {client.seen}")
            client.seen = last

    def _close(self, client):
        if client.socket is None:
            return
        if client.status is None:
            self._connecting -= 1
        self._selector.unregister(client.socket)
        client.socket.close()
        client.socket, client.status, client.buffer = None, None, bytearray()

    def _end(self, client, how, at):
        self._close(client)
        if client.denied is not None:
            client.ended = client.ended or at
            # It asks once more, and is refused.
            if how == "401":
                client.is_over = True
        elif how in ("401", "403"):
            self._say_wrong(client, f"refused with {how}")
        else:
            (self._answers if how.isdigit() or how.startswith("not ") else self._ends)[how] += 1
        if not client.is_over:
            self._later(client, RETRY)


def read(message):
    """Its number, and when it was written."""
    number, written, *_ = message["content"].split()
    return int(number), float(written)
