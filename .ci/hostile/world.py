"""A gateway over a state folder of both kinds, whom it lets in, and those who follow its sessions while things go wrong."""

import collections
import datetime
import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time

from gateway import TOKEN, Gateway, until
from recorder import Streams
from states import State

# In a namespace of its own the gateway has a small disk, for all that it writes but its log, and its own limit of watches.
APART = 'mount -t tmpfs -o size=$0 small "$1" && echo there && exec cat'
DISK = 2 * 1024 * 1024
# It reads what its user may read, and nothing else, though that is root there.
PLAIN = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]
# Tokens that nobody uses yet.
SPARE = 150
# So long after a token that is in the file no more is refused its streams have heard of it, too.
HEARD = 0.5
# Within what the streams of whoever lost access have ended, on a machine that has other things to do.
ENDED = 5.0


class Served(Gateway):
    """The process."""

    def __init__(self, program, folder, disk, *options, env=()):
        self.folder, self.state = folder, os.path.join(folder, "state")
        self.disk = os.path.join(folder, "disk")
        os.mkdir(self.disk)
        self.tokens, self.log = os.path.join(folder, "tokens.toml"), os.path.join(folder, "log")
        # It ends when nobody can write to it any more.
        self.apart = subprocess.Popen(["unshare", "-Urm", "sh", "-c", APART, str(disk), self.disk], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE)
        assert self.apart.stdout.readline() == b"there\n", "no namespace can be had"
        self.command = [*self.inside("-m"), *PLAIN, os.path.abspath(program), "--state-dir", self.state, "--tokens", self.tokens,
                        "--data-dir", os.path.join(self.disk, "data"), "--audit-log", os.path.join(self.disk, "audit"),
                        "--port", "0", *options]
        self.env = {name: value for name, value in os.environ.items() if not name.startswith("OPENCLAW_")} | dict(env)
        self.descriptors_allowed, self.port = None, 0
        self.start()

    def inside(self, *namespaces):
        return ["nsenter", "-t", str(self.apart.pid), "-U", "--preserve-credentials", *namespaces]

    def path(self, name):
        """A file of its disk."""
        return f"/proc/{self.apart.pid}/root{self.disk}/{name}"

    def limit_watches(self, most):
        """Of files that can be watched: those that are watched still are."""
        subprocess.run([*self.inside(), "sh", "-c", f"echo {most} > /proc/sys/user/max_inotify_watches"], check=True)

    def limit_descriptors(self, most):
        resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (most, resource.prlimit(self.pid, resource.RLIMIT_NOFILE)[1]))

    def end(self):
        super().end()
        self.apart.communicate()


# Who is told to end ends what was started.
signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))


class World:
    """So many streams, of as many sessions of each kind, by tokens with each of which `each` streams are open."""

    def __init__(self, program, streams, each, sessions=50, options=(), env=(), disk=DISK):
        self.folder = tempfile.mkdtemp(prefix="hostile-")
        self.state = State(os.path.join(self.folder, "state"), sessions)
        self.each, self.number = each, 0
        # What the file has: the subject of each token, and when it expires. Those in use, and others that will be.
        self.listed, self.used, self.spare = {}, [], []
        # What streams with access were answered that is no stream.
        self.answers = collections.Counter()
        self.add_tokens(streams // each + SPARE)
        self.gateway = Served(program, self.folder, disk, *options, env=env)
        # The port is known from now on, and the same after a restart.
        self.streams = Streams(self.gateway.port)
        while len(self.used) < streams // each:
            self.follow()

    def add_tokens(self, count):
        """Writes a file with so many more of them, and without those that are gone."""
        for _ in range(count):
            self.spare.append(self.new_token())
        self.write_tokens()

    def new_token(self, subject=None, expires=None):
        self.number += 1
        token = f"t{self.number}"
        self.listed[token] = subject or f"of-{token}", expires
        return token

    def write_tokens(self):
        """A new file in place of the old one."""
        lines = [TOKEN % ("admin", "secret-admin", "admin", "operator.admin")]
        for token, (subject, expires) in self.listed.items():
            lines.append(TOKEN % (token, f"secret-{token}", subject, "operator.read")
                         + (f'expires_at = "{rfc3339(expires)}"\n' if expires else ""))
        path = os.path.join(self.folder, "tokens.toml")
        Gateway.write(path + ".new", "".join(lines))
        os.rename(path + ".new", path)

    def is_good(self, token):
        return self.gateway.answer("GET", "/sessions", f"secret-{token}")[0] == 200

    def is_refused(self, token):
        return self.gateway.answer("GET", "/sessions", f"secret-{token}")[0] == 401

    def follow(self, token=None, until=None):
        """Opens the streams of another token, of one session after the other, with access until then."""
        token, sessions = token or self.spare.pop(0), self.state.sessions
        self.used.append(token)
        first = self.number * 7 + len(self.used)
        self.streams.open([(token, sessions[(first + n * (len(sessions) // 2 + 1)) % len(sessions)])
                           for n in range(self.each)], until)
        return token

    def follow_for(self, seconds):
        """Opens the streams of a token that expires so soon."""
        token = self.new_token(expires=int(time.time()) + seconds)
        self.write_tokens()
        expires = self.listed[token][1]
        # On a busy machine it may have expired before it was read.
        until(f"{token} is good or has been", lambda: self.is_good(token) or time.time() > expires)
        self.follow(token, expires)
        self.used.remove(token)
        return token, expires

    def revoke(self, *but, what="credential", statuses=(200,), until=None, connection=None):
        """Revokes a token by hand, over a connection that is open or another one, writes to its sessions, but to some, and opens
        the streams of another token in its place."""
        token = self.used.pop(0)
        name = {"credential": token, "subject": self.listed[token][0],
                "sha256": hashlib.sha256(f"secret-{token}".encode()).hexdigest()}[what]
        self.streams.denied(token, None)
        how = {what: name} | ({"until": rfc3339(until)} if until else {})
        if connection:
            connection.request("POST", "/revocations", json.dumps(how), {"Authorization": "Bearer secret-admin"})
            response = connection.getresponse()
            status, body = response.status, response.read()
        else:
            status, body = self.gateway.answer("POST", "/revocations", "secret-admin", how)
        assert status in statuses, (status, body)
        self.is_over(token, but)
        return token

    def drop(self, *but):
        """Takes a token out of the file, and does the same."""
        token = self.used.pop(0)
        del self.listed[token]
        self.streams.denied(token, None)
        self.write_tokens()
        # Nobody says when it was read.
        until(f"{token} is refused", lambda: self.is_refused(token))
        time.sleep(HEARD)
        self.is_over(token, but)
        return token

    def is_over(self, token, but):
        self.streams.denied(token, time.time())
        # What its streams shall not be sent.
        for session in self.streams.sessions(token):
            if session not in but:
                self.state.append(session)
        self.follow()

    def ended(self, token, within=ENDED):
        """How long after the end of its access the last stream of a token ended."""
        def are_ended():
            count, ended, _ = self.streams.of(token)
            return ended == count
        until(f"the streams of {token} end", are_ended)
        took = self.streams.of(token)[2]
        assert took < within, f"the last stream of {token} ended after {took:.2f} s"
        return took

    def is_steady(self, *but, within=120):
        """Waits until all who have access are in and are shown another message of their session, and says how long it took.
        With `but`, of those of other sessions."""
        for session in self.state.sessions:
            if session not in but:
                self.state.append(session)
        return self.all_show(*but, within=within)

    def all_show(self, *but, within=120):
        try:
            return until("all streams show all messages",
                         lambda: len(set(self.streams.count(self.state.shown, but))) == 1, within)
        except AssertionError as error:
            opened, good, shown = self.streams.count(self.state.shown, but)
            raise AssertionError(f"after {within} s {opened} of {good} streams are open, {shown} show all messages") from error

    def told(self, *allowed):
        """Whatever was wrong is a failure; so is a stream that ended in any other way than these. How many ended in these."""
        wrong, ends, answers = self.streams.is_told()
        self.answers.update(answers)
        assert not wrong, "\n".join(wrong)
        others = {how: count for how, count in ends.items() if how not in allowed}
        assert not others, f"streams of good credentials ended: {others}"
        return sum(ends.values())

    def end(self):
        self.streams.stop()
        self.gateway.end()


def rfc3339(seconds):
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat()
