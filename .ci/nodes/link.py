"""A link between a gateway and its Redis that can be cut, stalled and slowed down: bytes are passed on in order, late,
or not at all."""

import asyncio
import random
import threading


class Link:
    """Listens on `port`. What it does is set from any thread."""

    _loop = None

    def __init__(self, target):
        if Link._loop is None:
            Link._loop = asyncio.new_event_loop()
            threading.Thread(target=Link._loop.run_forever, daemon=True).start()
        self._target, self._delay, self._loss = target, 0.0, 0.0
        self._open, self._is_cut, self._writers = None, False, set()
        self.port = self._do(self._listen())

    def to(self, target):
        """Leads elsewhere from now on: what is connected is cut off."""
        self._do(self._set(target=target))

    def cut(self):
        """Ends what is connected, and whoever connects is cut off at once."""
        self._do(self._set(cut=True))

    def stall(self):
        """Passes nothing on, and ends nothing."""
        self._do(self._set(stalled=True))

    def slow(self, delay, loss=0.0):
        """Takes `delay` seconds each way; of `loss` of the pieces a second longer, and what follows waits for them."""
        self._do(self._set(delay=delay, loss=loss))

    def heal(self):
        self._do(self._set())

    def _do(self, what):
        return asyncio.run_coroutine_threadsafe(what, Link._loop).result(30)

    async def _listen(self):
        self._open = asyncio.Event()
        self._open.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return server.sockets[0].getsockname()[1]

    async def _set(self, target=None, cut=False, stalled=False, delay=0.0, loss=0.0):
        self._delay, self._loss, self._is_cut = delay, loss, cut
        if target:
            self._target = target
        if target or cut:
            for writer in self._writers:
                writer.transport.abort()
        (self._open.clear if stalled else self._open.set)()

    async def _connected(self, reader, writer):
        await self._open.wait()
        if self._is_cut:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers |= {writer, back}
        await asyncio.gather(self._pass(reader, back), self._pass(there, writer))
        self._writers -= {writer, back}

    async def _pass(self, reader, writer):
        pieces = asyncio.Queue()
        late = asyncio.ensure_future(self._late(pieces, writer))
        loop = asyncio.get_running_loop()
        try:
            while piece := await reader.read(65536):
                delay = self._delay + (1.0 if random.random() < self._loss else 0.0)
                pieces.put_nowait((loop.time() + delay, piece))
        except OSError:
            pass
        pieces.put_nowait((0, b""))
        await late

    async def _late(self, pieces, writer):
        loop = asyncio.get_running_loop()
        try:
            while True:
                due, piece = await pieces.get()
                await asyncio.sleep(max(0, due - loop.time()))
                await self._open.wait()
                if not piece:
                    break
                writer.write(piece)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()
