#!/usr/bin/env python3
"""What happens to machines, while thousands of streams are open: `faults.py GATEWAY [short|long] [WORD]`, the latter for those
faults alone whose names have this word in them.

During each fault a credential is revoked, and one is taken out of the file of tokens: their streams end, and are sent nothing
more. No other stream ends, but where that is the fault; when it is over, all are shown whatever was written meanwhile, once."""

import contextlib
import glob
import http.client
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

from gateway import until
from states import DATABASE, FILES
from world import World

# A lock on all that SQLite locks in the index of its log, as of another process.
LOCK = ("import fcntl, sys; file = open(sys.argv[1], 'r+b'); fcntl.lockf(file, fcntl.LOCK_EX, 8, 120); print(flush=True); "
        "sys.stdin.read()")


class Faults:
    def __init__(self, program, is_long, word):
        self.is_long, self.word, self.program = is_long, word, program
        # For how long a fault holds.
        self.holds = 5 if is_long else 0.3
        self.rows, self.ways = 0, 0

    @contextlib.contextmanager
    def opened(self, streams, each, **more):
        world = self.world = World(self.program, streams, each, **more)
        self.state, self.gateway = world.state, world.gateway
        try:
            took = world.is_steady(within=600)
            world.told()
            print(f"   {streams} streams are open after {took:.1f} s: {self.gateway.memory() / 1e6:.0f} MB, "
                  f"{self.gateway.descriptors()} descriptors", flush=True)
            yield world
        except BaseException:
            print(self.gateway.said()[-4000:], file=sys.stderr)
            raise
        finally:
            world.end()

    def tried(self, name, fault, *but, drops=True, ends=(), statuses=(200,), rewritten=(), connection=None):
        """`but`: sessions of which nothing need come meanwhile. `ends`: how good streams may end. `rewritten`: sessions that may
        lose messages for that time."""
        if self.word not in name:
            return
        world = self.world
        for session in rewritten:
            world.streams.rewritten(session, True)
        with fault:
            time.sleep(self.holds)
            took = [world.ended(world.revoke(*but, statuses=statuses, connection=connection))]
            if drops:
                took.append(world.ended(world.drop(*but)))
            world.is_steady(*but)
        steady = world.is_steady()
        for session in rewritten:
            world.streams.rewritten(session, False)
        self.row(name, took, steady, world.told(*ends))

    def row(self, name, took, steady, ended=0):
        ends = f"{len(took)} ends of access within {max(took) * 1000:.0f} ms, " if took else ""
        print(f"   {name}: {ends}{ended} others ended, all right {steady:.2f} s after", flush=True)
        self.rows += 1

    # Of one file.

    @contextlib.contextmanager
    def away(self, path):
        os.rename(path, path + ".away")
        yield
        os.rename(path + ".away", path)

    @contextlib.contextmanager
    def unreadable(self, path):
        mode = os.stat(path).st_mode & 0o777
        os.chmod(path, 0)
        yield
        os.chmod(path, mode)

    @contextlib.contextmanager
    def overwritten(self, path, content):
        """In its place, and put right in its place."""
        with open(path, "r+b") as file:
            before = file.read()
            file.seek(0)
            file.write(content)
            file.truncate()
        yield
        with open(path, "r+b") as file:
            file.truncate(0)
            file.write(before)

    @contextlib.contextmanager
    def replaced(self, path, content):
        """By another file, and that by what was there."""
        with open(path, "rb") as file:
            before = file.read()
        self.put(path, content)
        yield
        self.put(path, before)

    @staticmethod
    def put(path, content):
        with open(path + ".new", "wb") as file:
            file.write(content)
        os.chmod(path + ".new", 0o600)
        os.rename(path + ".new", path)

    def each_way(self, name, path, *but, drops=True, rewritten=(), content=None):
        """All that may happen to a file."""
        whole = content or open(path, "rb").read()
        for way, fault in [("replaced by what is broken", self.replaced(path, b"{ [[ \0 broken")),
                           ("replaced by nothing", self.replaced(path, b"")),
                           # In a word, as half a file may be a whole one.
                           ("truncated", self.overwritten(path, whole[:whole.rindex(b"a", 0, len(whole) // 2)])),
                           ("emptied", self.overwritten(path, b"")),
                           ("unreadable", self.unreadable(path)),
                           ("away", self.away(path))]:
            # In short each way is gone with one file or the other.
            self.ways += 1
            if self.is_long or self.word or self.ways % 3 == self.ways // 6 % 3:
                self.tried(f"{name}: {way}", fault, *but, drops=drops, rewritten=rewritten)

    def files(self):
        session = self.state.of(FILES)[0]
        self.each_way("a transcript", self.state.transcript(session), session, rewritten=[session])
        # Who comes to a session that has no row is refused, and comes again.
        self.each_way("the store of sessions", self.state.rows, *self.state.of(FILES))
        self.each_way("settings", self.state.settings)
        self.each_way("tokens", self.gateway.tokens, drops=False)
        self.tried("transcripts: written anew", self.rewritten_transcripts())
        self.tried("transcripts: half a line", self.half_lines(), *self.state.of(FILES))

    @contextlib.contextmanager
    def rewritten_transcripts(self):
        for session in self.state.of(FILES):
            self.state.compact(session)
        yield

    @contextlib.contextmanager
    def half_lines(self):
        halves = {}
        for session in self.state.of(FILES):
            line = self.state.next_line(session)
            halves[session] = line[20:]
            with open(self.state.transcript(session), "a") as file:
                file.write(line[:20])
        yield
        for session, half in halves.items():
            with open(self.state.transcript(session), "a") as file:
                file.write(half)

    # Of the database.

    def database(self):
        sessions = self.state.of(DATABASE)
        self.tried("the database: locked", self.locked(), *sessions)
        self.tried("the database: unreadable", self.unreadable(self.state.path), *sessions)
        self.tried("the database: its folder is away", self.away(os.path.dirname(self.state.path)), *sessions)
        self.tried("the database: another in its place", self.other_database(), *sessions)
        for name, break_it in [("truncated", lambda file: file.truncate(os.path.getsize(self.state.path) // 2)),
                               ("emptied", lambda file: file.truncate(0)),
                               ("overwritten", lambda file: file.write(os.urandom(os.path.getsize(self.state.path))))]:
            if self.is_long or self.word or name == "overwritten":
                self.tried(f"the database: {name}", self.broken_database(break_it), *sessions,
                           rewritten=sessions)
        self.tried("the database: transcripts written anew", self.rewritten_rows())

    @contextlib.contextmanager
    def locked(self):
        holder = subprocess.Popen([sys.executable, "-c", LOCK, self.state.path + "-shm"], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        assert holder.stdout.readline()
        yield
        holder.communicate()

    def copy(self, suffix):
        """All of it in one file."""
        is_busy, _, _ = self.state.sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        assert not is_busy, "somebody reads the log of the database all the time"
        shutil.copy(self.state.path, self.state.path + suffix)
        self.state.sqlite.close()

    @contextlib.contextmanager
    def other_database(self):
        """A copy of it with more messages."""
        self.copy(".new")
        for beside in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.state.path + beside)
        os.rename(self.state.path + ".new", self.state.path)
        self.state.sqlite = self.state.connection()
        for session in self.state.of(DATABASE):
            self.state.append(session)
        yield

    @contextlib.contextmanager
    def broken_database(self, break_it):
        self.copy(".whole")
        with open(self.state.path, "r+b") as file:
            break_it(file)
        yield
        for beside in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(self.state.path + beside)
        os.rename(self.state.path + ".whole", self.state.path)
        self.state.sqlite = self.state.connection()

    @contextlib.contextmanager
    def rewritten_rows(self):
        for session in self.state.of(DATABASE):
            self.state.compact(session)
        yield

    # What is used up.

    def used_up(self):
        self.tried("the disk: full", self.full_disk(), statuses=(200, 503))
        # What was written in part is no hindrance.
        self.tried("the disk: has room again", contextlib.nullcontext())
        self.tried("the gateway's folder: unreadable", self.unreadable(self.gateway.path("data")), statuses=(200, 503))
        self.tried("the audit log: away", self.away(self.gateway.path("audit")))
        self.tried("watches of files: none, from the start", self.no_watches(), ends=["cut"])
        self.descriptors()

    @contextlib.contextmanager
    def full_disk(self):
        path = self.gateway.path("fill")
        with contextlib.suppress(OSError), open(path, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        yield
        os.remove(path)

    @contextlib.contextmanager
    def no_watches(self):
        self.gateway.limit_watches(0)
        self.restart()
        self.world.all_show(within=600)
        yield
        self.gateway.limit_watches(1 << 20)

    def descriptors(self):
        """None is left for who comes, nor to open a file; an operator is connected."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=60)
        connection.request("GET", "/health")
        connection.getresponse().read()

        @contextlib.contextmanager
        def fault():
            self.gateway.limit_descriptors(self.gateway.descriptors())
            yield
            self.gateway.limit_descriptors(20_000)

        self.tried("descriptors: none more", fault(), *self.state.sessions, drops=False, statuses=(200, 503),
                   connection=connection)

    def memory(self):
        """As little as makes it be ended while pages are read, or just enough not to be."""
        memory = "/sys/fs/cgroup/memory"
        if not os.access(f"{memory}/cgroup.procs", os.W_OK):
            print("   memory: not tried, for there are no groups (version 1) that may be made here")
            return
        for beyond in (400, 24) if self.is_long else (24,):
            name = f"memory: {beyond} MiB more"
            if self.word not in name:
                continue
            session = self.state.of(FILES)[1]
            self.state.append_until(session, 8 << 20)
            group = f"{memory}/hostile-{os.getpid()}"
            os.makedirs(group, exist_ok=True)
            try:
                with open(f"{group}/memory.limit_in_bytes", "w") as limit:
                    limit.write(str(beyond << 20))
                # What it has is not counted.
                with open(f"{group}/cgroup.procs", "w") as processes:
                    processes.write(str(self.gateway.pid))
                asking = [threading.Thread(target=self.ask_for_pages, args=(session,)) for _ in range(24)]
                for thread in asking:
                    thread.start()
                for thread in asking:
                    thread.join()
                time.sleep(0.5)
                was_killed = not self.gateway.is_alive()
                self.state.compact(session)
                if was_killed:
                    self.gateway.start()
                else:
                    with open(f"{memory}/cgroup.procs", "w") as processes:
                        processes.write(str(self.gateway.pid))
                took = [self.world.ended(self.world.revoke())]
                steady = self.world.is_steady(within=600)
                ended = self.world.told(*["cut"] * was_killed)
                self.row(f"{name}, {'killed and started again' if was_killed else 'not killed'}", took, steady, ended)
            finally:
                with contextlib.suppress(OSError):
                    os.rmdir(group)

    def ask_for_pages(self, session):
        for _ in range(4):
            self.gateway.answer("GET", f"/sessions/{session}/history?limit=1000", "secret-admin")

    # Of the process.

    def process(self):
        self.stopped()
        self.killed()
        self.memory()

    def stopped(self):
        name = "the process: stopped"
        if self.word not in name:
            return
        world, seconds = self.world, 120 if self.is_long else 4
        # Its access ends while the process stands still.
        token, expires = world.follow_for(6)
        time.sleep(max(0, expires - 1 - time.time()))
        os.kill(self.gateway.pid, signal.SIGSTOP)
        time.sleep(seconds)
        self.state.append_to_all()
        time.sleep(0.5)
        os.kill(self.gateway.pid, signal.SIGCONT)
        begun = time.time()
        world.ended(token, within=time.time() - expires + 5)
        took = max(0.0, time.time() - begun)
        steady = world.all_show()
        self.row(f"{name} for {seconds} s", [took, world.ended(world.revoke()), world.ended(world.drop())], steady, world.told())

    def killed(self):
        name = "the process: killed and started again"
        if self.word not in name:
            return
        world, gone = self.world, []
        for _ in range(3 if self.is_long else 1):
            gone += [world.revoke(), world.drop()]
            self.restart()
            steady = world.all_show(within=600)
            for token in gone:
                assert world.is_refused(token), f"{token} is let in after a restart"
            took = [world.ended(token) for token in gone[-2:]]
            self.row(name, took, steady, world.told("cut"))

    def restart(self):
        self.gateway.process.kill()
        self.gateway.process.wait()
        self.state.append_to_all()
        time.sleep(self.holds)
        self.gateway.start()

    # The clock on the wall.

    def clocks(self, streams, each):
        if self.word not in "the clock":
            return
        library = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
        assert library, "libfaketime is missing"
        offset = os.path.join(tempfile.mkdtemp(prefix="hostile-clock-"), "clock")

        def set_clock(seconds):
            with open(offset + ".new", "w") as file:
                file.write(f"{seconds:+d}")
            os.rename(offset + ".new", offset)
            # It is read once a second.
            time.sleep(1.5)
            return time.time()

        set_clock(0)
        env = {"LD_PRELOAD": library[0], "FAKETIME_TIMESTAMP_FILE": offset, "FAKETIME_CACHE_DURATION": "1",
               "FAKETIME_DONT_FAKE_MONOTONIC": "1", "DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}
        try:
            with self.opened(streams, each, options=["--heartbeat", "2s"], env=env) as world:
                token, _ = world.follow_for(1800)
                world.all_show()
                for name, ahead, ends in [("an hour forward", 3600, [token]), ("an hour back", -3600, []),
                                          ("right again", 0, [])]:
                    for token in ends:
                        world.streams.denied(token, None)
                    at = set_clock(ahead)
                    for token in ends:
                        world.streams.denied(token, at)
                    took = [world.ended(token) for token in ends]
                    for token in ends:
                        # They have access again when the clock is right again.
                        until(f"all of {token} are refused", lambda: world.streams.are_over(token))
                    time.sleep(4)
                    until("all streams have heartbeats", lambda: not world.streams.quiet(4), 10)
                    took += [world.ended(world.revoke()), world.ended(world.drop())]
                    self.row(f"the clock: {name}", took, world.is_steady(), world.told())
        finally:
            shutil.rmtree(os.path.dirname(offset))

    def run(self):
        streams, each = (10_000, 50) if self.is_long else (500, 5)
        # The audit log has room for some thousand streams.
        with self.opened(streams, each, disk=(64 if self.is_long else 2) * 1024 * 1024):
            self.files()
            self.database()
            self.used_up()
            self.process()
        self.clocks(*((2_000, 20) if self.is_long else (100, 5)))
        if not self.rows:
            sys.exit(f"no fault has {self.word!r} in its name")
        print(f"   passed: {self.rows} faults")


if __name__ == "__main__":
    Faults(sys.argv[1], "long" in sys.argv[2:3], sys.argv[3] if len(sys.argv) > 3 else "").run()
