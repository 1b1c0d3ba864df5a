#!/usr/bin/env python3
"""Edges: what a client gets of one is what it would get of its origin, whichever of them it asks, and whatever becomes
of the origin: an origin, two edges and a redis-server as processes of their own, on loopback.

`edges.py GATEWAY [STREAMS [SECONDS]]`: for so long everything that can break does, at random.
"""

import collections
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from processes import PATIENCE, ROOM, SESSION, STARTED, end_all, free_port, until

GATEWAY = sys.argv[1]
STREAMS = int(sys.argv[2]) if len(sys.argv) > 2 else 200
SECONDS = float(sys.argv[3]) if len(sys.argv) > 3 else 0


class Redis:
    def __init__(self):
        self.port = free_port()
        self.folder = os.path.join(ROOM, "redis")
        os.mkdir(self.folder)
        self.start()

    def start(self):
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "",
                   "--appendonly", "yes"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        STARTED.append(self.process)
        until("redis answers", lambda: self.says("PING") == "PONG")

    def says(self, *command):
        answer = subprocess.run(["redis-cli", "-p", str(self.port), *command], capture_output=True, text=True)
        return answer.stdout.strip()

    def feeds(self):
        return self.says("KEYS", "{tower-reauth-gateway}:feed:*").split()

    def added(self):
        """How many XADD there were."""
        found = re.search(r"cmdstat_xadd:calls=(\d+)", self.says("INFO", "commandstats"))
        return int(found[1]) if found else 0


class Gateway:
    def __init__(self, name, redis, origin=None, token="edge"):
        self.folder = os.path.join(ROOM, name)
        os.makedirs(self.folder)
        tokens = self.write("tokens.toml", "".join(
            f'[[token]]\nid = "{name}"\nsecret = "secret-{name}"\nsubject = "{name}"\nscopes = ["operator.{scope}"]\n'
            for name, scope in [("reader", "read"), ("other", "read"), ("admin", "admin"), ("edge", "admin")]))
        self.command = [GATEWAY, "--tokens", tokens, "--port", str(free_port()), "--heartbeat", "1s", "--data-dir",
                        os.path.join(self.folder, "data")]
        self.env = {**os.environ, "OPENCLAW_GATEWAY_REDIS": f"redis://127.0.0.1:{redis.port}", "RUST_LOG": "info",
                    "HOME": self.folder}
        # Who is refused here is refused often.
        self.env["OPENCLAW_CONFIG_PATH"] = self.write(
            "openclaw.json", json.dumps({"gateway": {"auth": {"rateLimit": {"maxAttempts": 100000}}}}))
        if origin:
            token = self.write("edge-token", f"secret-{token}\n")
            self.command += ["--edge", f"http://127.0.0.1:{origin.port}", "--edge-token-file", token]
        else:
            self.sessions = os.path.join(self.folder, "state", "agents", "main", "sessions")
            os.makedirs(self.sessions)
            self.command += ["--state-dir", os.path.join(self.folder, "state")]
        self.port = int(self.command[self.command.index("--port") + 1])
        self.start() if origin else None

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o600)
        return path

    def start(self):
        log = open(os.path.join(self.folder, "log"), "a")
        self.process = subprocess.Popen(self.command, env=self.env, stdout=subprocess.DEVNULL, stderr=log, text=True)
        STARTED.append(self.process)
        until(f"{self.folder} is ready", self.is_ready)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def says(self):
        with open(os.path.join(self.folder, "log")) as log:
            return log.read()

    def ask(self, method, path, token="reader", body=None, headers=()):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        connection.request(method, path, body and json.dumps(body), {"Authorization": f"Bearer secret-{token}", **dict(headers)})
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        self.headers = {name.lower(): value for name, value in response.getheaders()}
        return answer

    def is_ready(self):
        try:
            return self.ask("GET", "/ready")[0] == 200
        except OSError:
            return False


class Transcript:
    """A session of the origin's, and how many messages it has."""

    def __init__(self, origin, name):
        self.path, self.count = os.path.join(origin.sessions, f"{name}.jsonl"), 0
        rows = os.path.join(origin.sessions, "sessions.json")
        known = json.load(open(rows)) if os.path.exists(rows) else {}
        known[f"agent:main:{name}"] = {"sessionId": name, "updatedAt": len(known) + 1}
        with open(rows + ".new", "w") as file:
            json.dump(known, file)
        os.replace(rows + ".new", rows)
        self.append(1)

    def append(self, count, sizes=(0, 10, 1000)):
        lines = ""
        for _ in range(count):
            self.count += 1
            role = "user" if self.count % 2 else "assistant"
            content = f"message {self.count} " + "x" * random.choice(sizes)
            lines += json.dumps({"type": "message", "id": f"m{self.count}", "message": {"role": role, "content": content}}) + "\n"
        with open(self.path, "a") as file:
            file.write(lines)


    def rewrite(self):
        """Half of it is gone."""
        with open(self.path) as file:
            lines = file.readlines()
        self.count = max(1, len(lines) // 2)
        with open(self.path + ".new", "w") as file:
            file.writelines(lines[:self.count])
        os.replace(self.path + ".new", self.path)


class Client:
    """Follows a session as an EventSource does, at one gateway and then at another, and goes by what it is sent."""

    def __init__(self, gateways, session=SESSION, query="resume", token="reader"):
        self.gateways, self.path, self.token = gateways, f"/sessions/{session}/history?{query}", token
        self.seqs, self.faults, self.id, self.name = [], [], None, None
        self.histories, self.statuses, self.bytes, self.is_over = 0, collections.Counter(), b"", False
        self.connection, self.is_open = None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.is_over:
            gateway = random.choice(self.gateways)
            try:
                self.follow(gateway)
            except (OSError, http.client.HTTPException, AttributeError, ValueError):
                pass
            self.is_open = False
            time.sleep(0.05)

    def follow(self, gateway):
        self.gateway = gateway
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=PATIENCE)
        headers = {"Authorization": f"Bearer secret-{self.token}", "Accept": "text/event-stream"}
        if self.id:
            headers["Last-Event-ID"] = self.id
        self.connection.request("GET", self.path, headers=headers)
        self.socket = self.connection.sock
        if self.is_over:
            # Ended while it connected.
            return
        response = self.connection.getresponse()
        self.statuses[response.status] += 1
        if response.status != 200:
            response.read()
            return
        self.is_open = True
        rest = b""
        while part := response.read1():
            rest += part
            *events, rest = rest.split(b"\n\n")
            for event in events:
                self.take(event)

    def take(self, event):
        if event.startswith(b":"):
            return
        self.bytes += event + b"\n\n"
        lines = dict(line.split(": ", 1) for line in event.decode().split("\n"))
        if "event" not in lines:
            return
        data = json.loads(lines["data"])
        if lines["event"] == "history":
            self.seqs = [message["__openclaw"]["seq"] for message in data["messages"]]
            self.histories += 1
        elif lines["event"] == "message":
            if self.seqs and data["messageSeq"] != self.seqs[-1] + 1:
                self.faults.append(f"{data['messageSeq']} after {self.seqs[-1]}")
            self.seqs.append(data["messageSeq"])
        self.id = lines.get("id") or self.id

    def cut(self):
        """The connection breaks."""
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass

    def end(self):
        self.is_over = True
        self.cut()

    def has_all(self, transcript):
        return self.seqs == list(range(max(1, transcript.count - 999), transcript.count + 1)) or (
            bool(self.seqs) and self.seqs[-1] == transcript.count and self.seqs[0] <= max(1, transcript.count - 999))


def all_have_all(clients, transcript):
    try:
        until(f"all have {transcript.count}", lambda: all(client.has_all(transcript) for client in clients))
    except AssertionError:
        late = [client for client in clients if not client.has_all(transcript)]
        for client in late[:5]:
            print("   late:", client.gateway.folder, client.is_open, client.seqs[:1], client.seqs[-3:], client.id, client.statuses)
        raise AssertionError(f"{len(late)} of {len(clients)} do not have {transcript.count}") from None
    faults = [fault for client in clients for fault in client.faults]
    assert not faults, faults[:5]


def at_random(redis, origin, edges, clients, one):
    print(f"-- whatever, for {SECONDS:.0f} s")

    def stands_still(gateway):
        gateway.process.send_signal(signal.SIGSTOP)
        time.sleep(random.random() * 2)
        gateway.process.send_signal(signal.SIGCONT)

    def starts_again(gateway):
        gateway.kill()
        time.sleep(random.random() * 2)
        gateway.start()

    whatever = {
        "append": lambda: one.append(random.choice([1, 2, 5, 70])),
        "append a long one": lambda: one.append(1, [70_000]),
        "cut": lambda: [client.cut() for client in random.sample(clients, len(clients) // 5)],
        "rewrite": one.rewrite,
        "the origin stands still": lambda: stands_still(origin),
        "an edge stands still": lambda: stands_still(random.choice(edges)),
        "redis stands still": lambda: stands_still(redis),
        "the origin starts again": lambda: starts_again(origin),
        "an edge starts again": lambda: starts_again(random.choice(edges)),
        "a stream is gone": lambda: [redis.says("DEL", feed) for feed in redis.feeds()],
        "a stream is short": lambda: [redis.says("XTRIM", feed, "MAXLEN", "1") for feed in redis.feeds()],
    }
    done, end = collections.Counter(), time.monotonic() + SECONDS
    while time.monotonic() < end:
        for _ in range(10):
            what = random.choices(list(whatever), [20, 1, 10, 1, 2, 2, 2, 1, 1, 2, 2])[0]
            done[what] += 1
            whatever[what]()
            time.sleep(random.random() * 0.2)
        all_have_all(clients, one)
    print("   " + ", ".join(f"{count} {what}" for what, count in done.most_common()))


def main():
    redis = Redis()
    origin = Gateway("origin", redis)
    one, two = Transcript(origin, "one"), Transcript(origin, "two")
    one.append(9)
    origin.start()
    edges = [Gateway(name, redis, origin) for name in ("east", "west")]
    east, west = edges

    print("-- a page of an edge is the origin's, and so is what it is refused")
    time.sleep(0.2)
    for query in ["", "?limit=3", "?limit=3&cursor=5", "?cursor=2", "?limit=x", "?cursor=x", "?limit=1000", "?resume&limit=2"]:
        for path in [f"/sessions/{SESSION}/history", "/sessions/one/history", "/sessions/none/history", "/sessions/a%20b%2e/history"]:
            for accept in [{}, {"Accept": "text/event-stream"}]:
                if accept and query not in ("?limit=x", "?cursor=x") and "none" not in path and "%" not in path:
                    continue
                expected = origin.ask("GET", path + query, headers=accept), origin.headers
                for edge in edges:
                    answered = edge.ask("GET", path + query, headers=accept), edge.headers
                    for headers in (expected[1], answered[1]):
                        headers.pop("date", None)
                    assert answered == expected, (path + query, answered, expected)
    for query in ["", "?limit=1", "?limit=0", "?cursor=x"]:
        assert east.ask("GET", "/sessions" + query) == origin.ask("GET", "/sessions" + query), query
    assert east.ask("GET", f"/sessions/{SESSION}/history", "nobody")[0] == 401
    assert origin.ask("GET", f"/sessions/{SESSION}/follow")[0] == 403
    assert origin.ask("GET", f"/sessions/{SESSION}/join")[0] == 403

    print("-- a client of an edge gets the bytes that one of the origin gets")
    for query in ["", "resume", "limit=3", "resume&limit=3&cursor=4", "scopes"]:
        alike = [Client([gateway], "two", query) for gateway in (origin, east, west)]
        until("all follow", lambda: all(client.histories for client in alike))
        for _ in range(5):
            two.append(1)
            time.sleep(0.1)
        if "cursor" not in query:
            until("all came", lambda: all(client.seqs[-1:] == [two.count] for client in alike))
        time.sleep(0.3)
        for client in alike:
            client.end()
        assert alike[1].bytes == alike[2].bytes, (query, alike[1].bytes, alike[2].bytes)
        # How many changes are one look is for each to see.
        if "limit" not in query:
            assert alike[0].bytes == alike[1].bytes, (query, alike[0].bytes, alike[1].bytes)

    print(f"-- {STREAMS} streams that go from one edge to the other and to the origin")
    clients = [Client(edges if n % 4 else [*edges, origin]) for n in range(STREAMS)]
    until("all follow", lambda: all(client.is_open and client.seqs for client in clients))
    begun, appended = redis.added(), one.count
    until("no other was added", lambda: len(redis.feeds()) >= 1)
    for _ in range(40):
        one.append(random.choice([1, 1, 1, 2, 5]))
        for client in random.sample(clients, STREAMS // 20):
            client.cut()
        time.sleep(0.05)
    all_have_all(clients, one)
    histories = sum(client.histories for client in clients) - STREAMS
    # What else is added is of the log of revocations, which has nothing new.
    added = redis.added() - begun
    print(f"   {one.count - appended} messages, {added} entries, {histories} streams began anew")
    assert one.count - appended <= added <= one.count - appended + 3, (added, one.count - appended)
    assert histories == 0, histories

    print("-- the origin is killed, streams stay, and goes on: nothing is lost, and nothing twice")
    edged = [client for client in clients if origin not in client.gateways]
    origin.kill()
    until("a page is refused", lambda: east.ask("GET", f"/sessions/{SESSION}/history")[0] == 503)
    assert east.headers["retry-after"] == "1"
    one.append(7)
    time.sleep(1)
    assert all(client.is_open for client in edged)
    for client in edged[:10]:
        client.cut()
    until("they are back", lambda: all(client.is_open for client in edged[:10]))
    assert not any(client.statuses[503] for client in edged), "they had an id"
    origin.start()
    one.append(5)
    all_have_all(clients, one)
    one.append(1)
    all_have_all(clients, one)
    assert east.ask("GET", f"/sessions/{SESSION}/history?limit=2") == origin.ask("GET", f"/sessions/{SESSION}/history?limit=2")

    print("-- messages that are too long to be published")
    for size in 40_000, 70_000, 10, 70_000, 10:
        one.append(1, [size])
        time.sleep(0.1)
    all_have_all(clients, one)

    print("-- Redis stands still, and what was published is gone: nothing is lost, and nothing twice")
    for seconds in 1, 3:
        redis.process.send_signal(signal.SIGSTOP)
        one.append(3)
        time.sleep(seconds)
        redis.process.send_signal(signal.SIGCONT)
        all_have_all(clients, one)
        one.append(1)
        all_have_all(clients, one)
    for feed in redis.feeds():
        redis.says("DEL", feed)
    one.append(3)
    all_have_all(clients, one)
    assert all(0 < int(redis.says("TTL", feed)) <= 600 for feed in redis.feeds())

    print("-- somebody else writes what no origin does")
    for fields in [("event", "hello"), ("p", "0-0", "event", "id: 1.1-a\nevent: message\ndata: {}\n\n"), ("p", "", "over", ""),
                   ("p", "", "killed", "")]:
        for feed in redis.feeds():
            redis.says("XADD", feed, "*", *fields)
        one.append(2)
        all_have_all(clients, one)

    print("-- Redis is empty, and gone with its file")
    redis.says("FLUSHALL")
    one.append(2)
    all_have_all(clients, one)
    redis.process.kill()
    redis.process.wait()
    shutil.rmtree(os.path.join(redis.folder, "appendonlydir"))
    one.append(2)
    redis.start()
    one.append(2)
    all_have_all(clients, one)

    print("-- an edge is killed, and its clients go on at the other one")
    west.kill()
    one.append(3)
    all_have_all(clients, one)
    west.start()
    one.append(3)
    all_have_all(clients, one)

    print("-- an edge whose token is no admin's, and an edge of an edge, serve nothing and say why")
    wrong = Gateway("wrong", redis, origin, "reader")
    assert wrong.ask("GET", f"/sessions/{SESSION}/history")[0] == 200, "a page is for readers"
    assert wrong.ask("GET", f"/sessions/{SESSION}/history", headers={"Accept": "text/event-stream"})[0] == 503
    assert "for an admin's" in wrong.says()
    further = Gateway("further", redis, east)
    for headers in {}, {"Accept": "text/event-stream"}:
        assert further.ask("GET", f"/sessions/{SESSION}/history", headers=headers)[0] == 503
    assert "no gateway that edges can ask" in further.says()
    further.kill()
    wrong.kill()

    print("-- ended by hand at one edge, and so at all")
    few = [Client([gateway], "two", "reasons") for gateway in (origin, east, west) for _ in range(3)]
    until("all follow", lambda: all(client.seqs for client in few))
    opened = sum(sum(client.statuses.values()) for client in few)
    assert west.ask("POST", "/sessions/two/kill")[0] == 403
    status, answer = west.ask("POST", "/sessions/two/kill", "admin")
    assert (status, json.loads(answer)) == (200, {"ok": True, "killed": True}), answer
    until("all were ended", lambda: all(sum(client.statuses.values()) == 2 for client in few))
    until("all are back", lambda: all(client.is_open for client in few))
    two.append(1)
    until("and go on", lambda: all(client.seqs[-1:] == [two.count] for client in few))
    for client in few:
        client.end()

    print("-- revoked at one edge, and so at all")
    others = [Client([gateway], "two", "reasons", "other") for gateway in edges for _ in range(3)]
    until("all follow", lambda: all(client.seqs for client in others))
    assert east.ask("POST", "/revocations", "admin", {"credential": "other"})[0] == 200
    until("all were ended", lambda: all(client.statuses[401] for client in others))
    assert all(b'"revoked"' in client.bytes for client in others)
    for client in others:
        client.end()
    assert all(client.is_open for client in clients)

    if SECONDS:
        at_random(redis, origin, edges, clients, one)

    for client in clients:
        client.end()
    until("nothing is followed", lambda: b"(edge)" not in origin.ask("GET", "/streams", "admin")[1].split(b'"ended"')[0])
    for gateway in [origin, *edges]:
        gateway.process.terminate()
        assert gateway.process.wait(PATIENCE) == 0
    print("passed")


try:
    main()
except BaseException:
    for name in ("origin", "east", "west"):
        log = os.path.join(ROOM, name, "log")
        if os.path.exists(log):
            print(f"== {name}\n" + "".join(open(log).readlines()[-15:]), file=sys.stderr)
    raise
finally:
    end_all()
