#!/usr/bin/env python3
"""How much room a million revocations a day take in a real Redis, for three days: `python3 -B .ci/nodes/room.py`. By hand.

Each is of a token that expires by itself within the hour, and is written by the library's own script, 256 at a time, as a node
writes them when they come in a burst. The script reads the time from a key in place of the server's clock."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time

A_DAY = 1_000_000
HOUR, DAY = 3_600, 86_400
BATCH = 256
LENGTH = 100_000
SOURCE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "src", "revoke", "shared", "redis.rs")


def script(which):
    with open(SOURCE, encoding="utf-8") as file:
        text = file.read()
    text = "".join(re.search(rf'const {name}: &str = r"(.*?)";', text, re.S)[1] for name in ("MARK", which))
    clock = "redis.call('TIME')"
    assert text.count(clock) == 1
    return text.replace(clock, "{redis.call('GET', 'clock'), 0}")


class Redis:
    def __init__(self, folder):
        with socket.socket() as chosen:
            chosen.bind(("127.0.0.1", 0))
            self.port = chosen.getsockname()[1]
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", folder, "--save", ""]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(200):
            try:
                self.connection = socket.create_connection(("127.0.0.1", self.port))
                break
            except OSError:
                time.sleep(0.05)
        self.answers = self.connection.makefile("rb")

    def says(self, *command):
        parts = [str(part).encode() for part in command]
        self.connection.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts))
        return self.answer()

    def answer(self):
        line = self.answers.readline()[:-2]
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise RuntimeError(rest.decode())
        if kind == b"$":
            return self.answers.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return [self.answer() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    def asked(self, section, name):
        return re.search(rf"{name}:(\S+)", self.says("INFO", section).decode())[1]

    def memory(self):
        return int(self.asked("memory", "used_memory"))

    def busy(self, command):
        """Its own time, in microseconds, for each call of a command."""
        return float(re.search(r"usec_per_call=([\d.]+)", self.asked("commandstats", f"cmdstat_{command}"))[1])


def main():
    folder = tempfile.mkdtemp(prefix="room-")
    redis = Redis(folder)
    try:
        keys = ["{room}:" + name for name in ("log", "state", "ends", "life")]
        append = redis.says("SCRIPT", "LOAD", script("APPEND")).decode()
        standing = redis.says("SCRIPT", "LOAD", script("STANDING")).decode()
        now, written = 2_000_000_000, 0
        redis.says("SET", "clock", now)
        empty = redis.memory()
        print("| after | revoked | topics | entries of the stream | MB |\n| --- | --- | --- | --- | --- |")
        for hours in range(1, 73):
            now += HOUR
            redis.says("SET", "clock", now)
            while written < A_DAY * hours // 24:
                arguments = []
                for _ in range(BATCH):
                    # It expires within the hour, and is kept for a day after that.
                    until = (now + HOUR * (written % 60) // 60) * 1_000
                    topic = f"credential {written:036}"
                    arguments += [topic, until, until + DAY * 1_000, f"1 {topic} {until}"]
                    written += 1
                assert redis.says("EVALSHA", append, 4, *keys, "0" * 32, "new", LENGTH, "", *arguments) == 1
            topics, stream = redis.says("HLEN", keys[1]), redis.says("XLEN", keys[0])
            assert redis.says("ZCARD", keys[2]) == topics - 1, "each topic has an end"
            assert min(written, A_DAY) <= topics < A_DAY * 26 / 24 + BATCH and stream < LENGTH * 1.1, (topics, stream)
            if hours % 6 == 0:
                megabytes = (redis.memory() - empty) / 1e6
                print(f"| {hours} h | {written:,} | {topics:,} | {stream:,} | {megabytes:.0f} |", flush=True)
        print(f"\na batch of {BATCH}: {redis.busy('evalsha'):.0f} microseconds of Redis")
        redis.says("CONFIG", "RESETSTAT")
        for _ in range(10_000):
            redis.says("EVALSHA", standing, 4, *keys, "0" * 32)
        print(f"where the log stands: {redis.busy('evalsha'):.1f}")
        for _ in range(10_000):
            redis.says("XREAD", "COUNT", 1_000, "BLOCK", 1, "STREAMS", keys[0], f"{written - 1}-0")
        print(f"an entry: {redis.busy('xread'):.1f}")
        cursor, pages, size = b"0", 0, 0
        while pages == 0 or cursor != b"0":
            cursor, page = redis.says("HSCAN", keys[1], cursor.decode(), "COUNT", 1_000)
            pages, size = pages + 1, size + sum(map(len, page))
        print(f"the state, {size / 1e6:.0f} MB: {pages} pages of {redis.busy('hscan'):.0f}")
    finally:
        redis.process.kill()
        redis.process.wait()
        shutil.rmtree(folder)


main()
