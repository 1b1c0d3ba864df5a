"""What a flood is, and who makes it: processes of their own, which any other on this machine goes before, since the processor
that they take here they would bring along in the world."""

import asyncio
import collections
import multiprocessing
import os
import threading
import time

FORK = multiprocessing.get_context("fork")


class Flood:
    """`begin(target)` is called in each of the processes, and says with `target.is_in_place()` that the flood has begun."""

    def __init__(self, name, bound, begin, count=0, long=0, processes=1, options=(), secured=False, may_wait=0):
        self.name, self.bound, self.begin, self.processes = name, bound, begin, processes
        # How long the client beside it may wait, in milliseconds, where there is no room for more clients.
        self.may_wait = may_wait
        # How many connections are made of it, in the short form (none: it is a matter of the long one) and in the long one.
        self.count, self.long, self.options, self.secured = count, long or count, options, secured


class Target:
    """What a process of a flood knows."""

    def __init__(self, port, number, count, ready, stop, told):
        self.port, self.number, self.count = port, number, count
        self._ready, self._stop, self._told = ready, stop, told
        # What it did and what it saw, to be told at the end.
        self.seen = collections.Counter()

    def address(self, n=0):
        """One of many that strangers may have: two of them make no more than 20,000 connections."""
        return f"127.1.{self.number}.{1 + n % 250}"

    def is_in_place(self):
        self._ready.release()

    def is_over(self):
        return self._stop.is_set()

    async def until_over(self):
        while not self._stop.is_set():
            await asyncio.sleep(0.02)

    def run(self, begin):
        os.nice(19)
        try:
            result = begin(self)
            if asyncio.iscoroutine(result):
                asyncio.run(result)
        finally:
            self._told.put(dict(self.seen))


class Attack:
    """A flood that goes on."""

    def __init__(self, flood, port, count):
        self._stop, ready, self._told = FORK.Event(), FORK.Semaphore(0), FORK.Queue()
        share = -(-count // flood.processes)
        self._processes = [
            FORK.Process(target=Target(port, number, share, ready, self._stop, self._told).run, args=(flood.begin,))
            for number in range(flood.processes)]
        for process in self._processes:
            process.start()
        for _ in self._processes:
            if not ready.acquire(timeout=120):
                self.end()
                raise AssertionError(f"{flood.name}: the flood does not begin")

    def goes_on(self):
        return any(process.is_alive() for process in self._processes)

    def end(self):
        """Ends it, and what it tells."""
        self._stop.set()
        seen = collections.Counter()
        for _ in self._processes:
            seen.update(self._told.get(timeout=60))
        for process in self._processes:
            process.join(30)
            assert process.exitcode == 0, f"a process of the flood ended with {process.exitcode}"
        return seen


class Most(threading.Thread):
    """The most memory, descriptors, threads that a gateway had while this was looking."""

    def __init__(self, gateway):
        super().__init__(daemon=True)
        self._gateway, self._is_over = gateway, threading.Event()
        self.memory = self.descriptors = self.threads = 0
        self.start()

    def run(self):
        while not self._is_over.wait(0.1):
            try:
                self.memory = max(self.memory, self._gateway.memory())
                self.descriptors = max(self.descriptors, self._gateway.descriptors())
                self.threads = max(self.threads, self._gateway.threads())
            except OSError:
                return

    def end(self):
        self._is_over.set()
        self.join()
        return self
