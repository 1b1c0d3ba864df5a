#!/usr/bin/env python3
"""How a gateway reaches Redis, and what it says where it cannot: real servers, sentinels, a cluster and TLS, on
loopback. `ways.py GATEWAY [WAY...]`."""

import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time

from processes import KEYS, PATIENCE, ROOM, STARTED, end_all, free_port, until

GATEWAY = sys.argv[1]
# What the docs of `RedisLog` ask for.
RIGHTS = (f"~{KEYS}:* +evalsha +eval +script|load +info +time +get +set +exists +hget +hset +hexists +hdel +hscan +zadd "
          "+zrem +zrangebyscore +xadd +xread +xrange +xinfo|stream +wait").split()


class Redis:
    def __init__(self, name, *options, port=None, answers=True):
        self.port = port or free_port()
        self.folder = os.path.join(ROOM, name)
        os.makedirs(self.folder, exist_ok=True)
        command = ["redis-server", *options] if "--sentinel" in options else [
            "redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "", *options]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        STARTED.append(self.process)
        if answers:
            until("redis answers", lambda: self.says("PING").startswith(("+PONG", "-NOAUTH")))

    def says(self, *command):
        """The whole of a short answer."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as connection:
                connection.settimeout(5)
                parts = "".join(f"${len(part)}\r\n{part}\r\n" for part in map(str, command))
                connection.sendall(f"*{len(command)}\r\n{parts}".encode())
                return connection.recv(65536).decode()
        except OSError:
            return ""

    def kill(self):
        self.process.kill()
        self.process.wait()


def flags(folder):
    state = os.path.join(folder, "state")
    sessions = os.path.join(state, "agents", "main", "sessions")
    os.makedirs(sessions, exist_ok=True)
    with open(os.path.join(sessions, "sessions.json"), "w") as rows:
        json.dump({"agent:main:one": {"sessionId": "one", "updatedAt": 1}}, rows)
    with open(os.path.join(sessions, "one.jsonl"), "w") as lines:
        lines.write(json.dumps({"message": {"role": "user", "content": "hello"}}) + "\n")
    tokens = os.path.join(folder, "tokens.toml")
    with open(tokens, "w") as file:
        for n in range(4):
            file.write(f'[[token]]\nid = "t{n}"\nsecret = "secret-{n}"\nsubject = "s{n}"\nscopes = ["operator.read"]\n')
        file.write('[[token]]\nid = "admin"\nsecret = "secret-admin"\nsubject = "admin"\nscopes = ["operator.admin"]\n')
    os.chmod(tokens, 0o600)
    return ["--state-dir", state, "--tokens", tokens, "--port", "0", "--data-dir", os.path.join(folder, "data")]


def check(url, **env):
    """What is wrong, as `gateway check` has it."""
    folder = tempfile.mkdtemp(dir=ROOM)
    env = {**os.environ, "OPENCLAW_GATEWAY_REDIS": url, **env}
    done = subprocess.run([GATEWAY, "check", *flags(folder)], env=env, capture_output=True, text=True, timeout=PATIENCE)
    assert "hunter2" not in done.stdout + done.stderr, "a password is shown"
    assert (done.returncode == 0) == ("good" in done.stdout), done
    return done.stderr.strip()


class Gateway:
    def __init__(self, name, url, **env):
        self.folder = os.path.join(ROOM, name)
        os.makedirs(self.folder)
        self.log = open(os.path.join(self.folder, "log"), "w")
        env = {**os.environ, "OPENCLAW_GATEWAY_REDIS": url, **env}
        self.process = subprocess.Popen([GATEWAY, *flags(self.folder)], env=env, stdout=subprocess.PIPE, stderr=self.log,
                                        text=True)
        STARTED.append(self.process)
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1])

    def ask(self, method, path, token, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body and json.dumps(body), {"Authorization": f"Bearer {token}"})
        status = connection.getresponse().status
        connection.close()
        return status

    def page(self, n):
        return self.ask("GET", "/sessions/agent:main:one/history", f"secret-{n}")

    def revoke(self, n):
        return self.ask("POST", "/revocations", "secret-admin", {"credential": f"t{n}"})

    def is_ready(self):
        return self.ask("GET", "/ready", "") == 200

    def said(self):
        with open(os.path.join(self.folder, "log")) as log:
            return log.read()

    def stop(self):
        self.process.kill()
        self.process.wait()


def share(url, name, between=lambda: None, **env):
    """Two gateways have the same revocations, before and after."""
    pair = [Gateway(f"{name}-{n}", url, **env) for n in range(2)]
    for gateway in pair:
        until(f"{name}: ready", gateway.is_ready)
    assert pair[0].revoke(0) == 200
    until(f"{name}: t0 is refused", lambda: pair[1].page(0) == 401, 5)
    between()
    until(f"{name}: what is revoked is written", lambda: pair[1].revoke(1) == 200)
    until(f"{name}: t1 is refused", lambda: pair[0].page(1) == 401)
    for gateway in pair:
        until(f"{name}: ready again", gateway.is_ready)
        assert [gateway.page(n) for n in range(3)] == [401, 401, 200], name
        gateway.stop()


class Talker:
    """A server that says what it is told to, whatever it is asked."""

    def __init__(self, answer):
        self.answer, self.socket = answer, socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        try:
            while asked := connection.recv(65536):
                # One answer for each command of a pipeline: each begins with the number of its parts.
                for command in asked.split(b"*")[1:]:
                    connection.sendall(self.answer(command))
        except OSError:
            pass


def bad_input():
    good = Redis("good")
    at = f"redis://127.0.0.1:{good.port}"
    assert check(at) == "", check(at)
    assert "cannot be asked" in check(f"redis://127.0.0.1:{free_port()}"), "nobody is there"
    silent = socket.create_server(("127.0.0.1", 0))
    said = check(f"redis://127.0.0.1:{silent.getsockname()[1]}")
    assert "does not answer" in said or "timed out" in said, said
    web = Talker(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert "cannot be asked" in check(f"redis://127.0.0.1:{web.port}"), "it is no Redis"

    def old(command):
        if b"EVALSHA" not in command:
            return b"+OK\r\n"
        return b"*6\r\n$5\r\n6.2.1\r\n$3\r\na b\r\n:1\r\n$0\r\n\r\n$3\r\n0-0\r\n:1700000000000\r\n"
    said = check(f"redis://127.0.0.1:{Talker(old).port}")
    assert "6.2.1" in said and "7" in said, said

    good.says("ACL", "SETUSER", "node", "on", ">hunter2", *RIGHTS)
    good.says("ACL", "SETUSER", "reader", "on", ">hunter2", f"~{KEYS}:*", "+@read")
    good.says("ACL", "SETUSER", "elsewhere", "on", ">hunter2", "~other:*", "+@all")
    node = f"redis://node:hunter2@127.0.0.1:{good.port}"
    assert check(node) == "", check(node)
    assert "WRONGPASS" in check(f"redis://node:wrong-hunter2@127.0.0.1:{good.port}").upper().replace(" ", "") or \
        "cannot be asked" in check(f"redis://node:wrong@127.0.0.1:{good.port}")
    assert "cannot be asked" in check(f"redis://nobody:hunter2@127.0.0.1:{good.port}")
    for user in "reader", "elsewhere":
        said = check(f"redis://{user}:hunter2@127.0.0.1:{good.port}")
        assert "permission" in said.lower() or "NOPERM" in said.upper(), said
    good.says("CONFIG", "SET", "requirepass", "hunter2")
    assert "cannot be asked" in check(at), "it asks for a password"
    print("   rights: " + check(at))
    good.kill()

    for key, make, said in [
        ("log", ("SET", f"{KEYS}:log", "x"), "WRONGTYPE"),
        ("state", ("SET", f"{KEYS}:state", "x"), "WRONGTYPE"),
        ("ends", ("SET", f"{KEYS}:ends", "x"), "WRONGTYPE"),
        ("life", ("LPUSH", f"{KEYS}:life", "x"), "WRONGTYPE"),
        ("life", ("SET", f"{KEYS}:life", "hello there"), "something else"),
        ("log", ("XADD", f"{KEYS}:log", "1-1", "x", "y"), ""),
    ]:
        stranger = Redis("stranger")
        stranger.says(*make)
        found = check(f"redis://127.0.0.1:{stranger.port}")
        assert found and said.lower() in found.lower().replace(" ", "") or said in found, (make, found)
        stranger.kill()

    later = Redis("later")
    assert check(f"redis://127.0.0.1:{later.port}") == ""
    gateway = Gateway("later-gateway", f"redis://127.0.0.1:{later.port}")
    until("ready", gateway.is_ready)
    # Of a later release, under the number that comes next.
    number = int(later.says("XINFO", "STREAM", f"{KEYS}:log").split("last-generated-id")[1].split("\r\n")[2].split("-")[0])
    later.says("HSET", f"{KEYS}:state", "planet mars", "9 planet mars 1")
    later.says("XADD", f"{KEYS}:log", f"{number + 1}-0", "e", "9 planet mars 1")
    assert "version" in check(f"redis://127.0.0.1:{later.port}")
    until("it vouches for nothing", lambda: gateway.page(2) == 503)
    assert "version that this release does not know" in gateway.said(), gateway.said()
    later.says("HDEL", f"{KEYS}:state", "planet mars")
    later.says("XDEL", f"{KEYS}:log", f"{number + 1}-0")
    until("it vouches again", lambda: gateway.page(2) == 200)
    assert "vouches for what it knows again" in gateway.said()

    # A replica, and a full one.
    replica = Redis("replica", "--replicaof", "127.0.0.1", str(later.port))
    until("it is in step", lambda: replica.says("EXISTS", f"{KEYS}:state").startswith(":1"))
    said = check(f"redis://127.0.0.1:{replica.port}")
    assert "READONLY" in said.upper().replace(" ", ""), said
    later.says("CONFIG", "SET", "maxmemory", "1")
    assert "OOM" in check(f"redis://127.0.0.1:{later.port}") or "memory" in check(f"redis://127.0.0.1:{later.port}")
    until("a full one takes nothing, so nobody is let in", lambda: gateway.page(2) == 503)
    later.says("CONFIG", "SET", "maxmemory", "0")
    until("it is let in again", lambda: gateway.page(2) == 200)
    gateway.stop()
    later.kill()
    replica.kill()


class Proxy:
    """Leads each new connection to the server of now."""

    def __init__(self, port):
        self.to, self.socket = port, socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            client, _ = self.socket.accept()
            server = socket.create_connection(("127.0.0.1", self.to))
            for source, sink in (client, server), (server, client):
                threading.Thread(target=self.pass_on, args=(source, sink), daemon=True).start()

    @staticmethod
    def pass_on(source, sink):
        try:
            while some := source.recv(65536):
                sink.sendall(some)
        except OSError:
            pass
        for end in source, sink:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def moved():
    """The old primary lives on, and only one of a gateway's connections to it breaks."""
    old, new = Redis("old"), Redis("new")
    proxy = Proxy(old.port)
    one = Gateway("moved-one", f"redis://127.0.0.1:{proxy.port}")
    until("ready", one.is_ready)
    assert one.revoke(0) == 200
    new.says("REPLICAOF", "127.0.0.1", old.port)
    until("it is in step", lambda: new.says("EXISTS", f"{KEYS}:state").startswith(":1"))
    new.says("REPLICAOF", "NO", "ONE")
    proxy.to = new.port
    for line in old.says("CLIENT", "LIST").split("\n"):
        fields = dict(field.split("=", 1) for field in line.split() if "=" in field)
        if fields.get("cmd") == "evalsha":
            old.says("CLIENT", "KILL", "ID", fields["id"])
    two = Gateway("moved-two", f"redis://127.0.0.1:{new.port}")
    until("ready", two.is_ready)
    until("nobody reads from the old one", lambda: "cmd=xread" not in old.says("CLIENT", "LIST"))
    assert two.revoke(1) == 200
    until("t1 is refused", lambda: one.page(1) == 401, 5)
    assert one.revoke(3) == 200
    until("t3 is refused", lambda: two.page(3) == 401, 5)
    for gateway in one, two:
        assert gateway.page(0) == 401 and gateway.page(2) == 200
        gateway.stop()
    old.kill()
    new.kill()


def sentinels():
    primary = Redis("primary", "--repl-diskless-sync-delay", "0")
    replica = Redis("follower", "--replicaof", "127.0.0.1", str(primary.port))
    ports = [free_port() for _ in range(3)]
    for n, port in enumerate(ports):
        path = os.path.join(ROOM, f"sentinel-{n}.conf")
        with open(path, "w") as file:
            file.write(f"port {port}\nbind 127.0.0.1\ndir {ROOM}\nsentinel monitor main 127.0.0.1 {primary.port} 2\n"
                       "sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 10000\n")
        Redis(f"sentinel-{n}", path, "--sentinel", port=port)
    asked = Redis.__new__(Redis)
    asked.port = ports[0]
    until("the sentinels know each other and the replica", lambda: all(
        f"{what}\r\n" in asked.says("SENTINEL", "MASTER", "main") for what in ("num-slaves\r\n$1\r\n1", "num-other-sentinels\r\n$1\r\n2")))
    hosts = ",".join(f"127.0.0.1:{port}" for port in [free_port(), *ports])
    assert check(f"redis+sentinel://{hosts}/main") == "", check(f"redis+sentinel://{hosts}/main")
    assert "cannot be asked" in check(f"redis+sentinel://{hosts}/other")
    share(f"redis+sentinel://{hosts}/main", "sentinels", between=primary.kill)
    replica.kill()


def cluster():
    servers = []
    for n in range(3):
        port = free_port()
        servers.append(Redis(f"slots-{n}", "--cluster-enabled", "yes", "--cluster-port", str(free_port()),
                             "--cluster-config-file", f"nodes-{port}.conf", "--cluster-node-timeout", "2000", port=port))
    at = [f"127.0.0.1:{server.port}" for server in servers]
    subprocess.run(["redis-cli", "--cluster", "create", *at, "--cluster-yes"], check=True, stdout=subprocess.DEVNULL,
                   timeout=PATIENCE)
    for server in servers:
        until("the cluster is there", lambda: "cluster_state:ok" in server.says("CLUSTER", "INFO"))
    url = f"redis+cluster://{at[0]},{at[1]}"
    assert check(url) == "", check(url)
    slot = int(servers[0].says("CLUSTER", "KEYSLOT", f"{KEYS}:log")[1:])

    def move():
        """The slot goes to another server, and its keys with it."""
        owner = next(server for server in servers if not server.says("EXISTS", f"{KEYS}:log").startswith("-"))
        other = next(server for server in servers if server is not owner)
        ids = {server: server.says("CLUSTER", "MYID").split("\r\n")[1] for server in servers}
        other.says("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[owner])
        owner.says("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[other])
        keys = [f"{KEYS}:{name}" for name in ("log", "state", "ends", "life")]
        assert "OK" in owner.says("MIGRATE", "127.0.0.1", other.port, "", 0, 5000, "KEYS", *keys)
        for server in other, owner, *servers:
            server.says("CLUSTER", "SETSLOT", slot, "NODE", ids[other])
    share(url, "cluster", between=move)
    for server in servers:
        server.kill()


def secured():
    key, ca, cert = (os.path.join(ROOM, name) for name in ("key.pem", "ca.pem", "cert.pem"))
    ca_key, request = os.path.join(ROOM, "ca-key.pem"), os.path.join(ROOM, "request.pem")
    made = [
        ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA", "-keyout", ca_key, "-out", ca],
        ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-keyout", key, "-out", request],
    ]
    for arguments in made:
        subprocess.run(["openssl", *arguments], check=True, capture_output=True)
    extensions = os.path.join(ROOM, "extensions")
    with open(extensions, "w") as file:
        file.write("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    subprocess.run(["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", ca_key, "-days", "2", "-extfile",
                    extensions, "-out", cert], check=True, capture_output=True)
    port = free_port()
    server = Redis("tls", "--tls-port", str(port), "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file",
                   ca, "--tls-auth-clients", "no")
    server.says("ACL", "SETUSER", "node", "on", ">hunter2", *RIGHTS)
    url = f"rediss://node:hunter2@localhost:{port}"
    assert "cannot be asked" in check(url), "nobody vouches for its certificate"
    assert check(url, SSL_CERT_FILE=ca) == "", check(url, SSL_CERT_FILE=ca)
    assert "cannot be asked" in check(f"rediss://localhost:{server.port}", SSL_CERT_FILE=ca), "it speaks no TLS there"
    share(url, "secured", SSL_CERT_FILE=ca)
    server.kill()


try:
    for way in bad_input, moved, sentinels, cluster, secured:
        if sys.argv[2:] and way.__name__ not in sys.argv[2:]:
            continue
        begun = time.monotonic()
        print(f"-- {way.__name__.replace('_', ' ')}", flush=True)
        way()
        print(f"   {time.monotonic() - begun:.0f} s", flush=True)
    print("passed")
finally:
    end_all()
