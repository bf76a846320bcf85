"""A TCP proxy that behaves like a bad network: slow, with latency, silent, or cut after some bytes. Runs in a thread."""

import asyncio
import socket
import struct
import threading
from collections.abc import Coroutine
from typing import Any, Self

PIECE_BYTES = 64 * 1024
QUEUE_PIECES_MAX = 256
"""Limit of data in flight per direction: 16 MiB, enough for 160 ms at 100 MB/s."""


class _Way:
    """One direction of one connection."""

    def __init__(self, relay: "BadNetworkProxy", reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._relay, self._reader, self._writer = relay, reader, writer
        self._flying: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_PIECES_MAX)

    async def carry(self) -> None:
        """Forward until the end of this direction; a proper end becomes a half-close."""
        async with asyncio.TaskGroup() as hands:
            hands.create_task(self._take())
            hands.create_task(self._give())

    async def _take(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await self._reader.read(PIECE_BYTES)
            except OSError:
                await self._relay.open_gate.wait()  # a black hole also drops resets
                raise
            await self._flying.put((loop.time() + self._relay.latency_s, data))
            if not data:
                return

    async def _give(self) -> None:
        loop, relay = asyncio.get_running_loop(), self._relay
        free_at = 0.0
        while True:
            due, data = await self._flying.get()
            await asyncio.sleep(max(0.0, max(due, free_at) - loop.time()))
            await relay.open_gate.wait()
            if not data:
                self._writer.write_eof()
                return
            if relay.rate_bytes_per_s is not None:
                free_at = max(loop.time(), free_at) + len(data) / relay.rate_bytes_per_s
            if relay.cut_at is not None and relay.carried_bytes + len(data) >= relay.cut_at:
                self._writer.write(data[: relay.cut_at - relay.carried_bytes])
                relay.carried_bytes, relay.cut_at = relay.cut_at, None
                await self._writer.drain()
                relay.drop_all(relay.cut_with_reset)
                return
            relay.carried_bytes += len(data)
            self._writer.write(data)
            await self._writer.drain()


class BadNetworkProxy:
    """Listens on `address` and forwards to `target`. Settings may be changed while it runs."""

    def __init__(self, target: tuple[str, int], *, latency_s: float = 0.0, rate_bytes_per_s: float | None = None) -> None:
        """Start at once; `latency_s` is one-way, `rate_bytes_per_s` is per connection and direction."""
        self.target = target
        self.latency_s = latency_s
        self.rate_bytes_per_s = rate_bytes_per_s
        self.carried_bytes = 0
        self.cut_at: int | None = None
        self.cut_with_reset = True
        self.accepted = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.address: tuple[str, int] = self._listener.getsockname()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._loop_main, name="bad network proxy", daemon=True)
        self._thread.start()
        self._ready.wait(5)

    def _loop_main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self._ended = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=self._listener)
        self._ready.set()
        await self._ended.wait()
        server.close()
        self.drop_all(reset=True)
        self._loop.set_exception_handler(lambda loop, context: None)  # asyncio streams of 3.11 report cancelled connections
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(*self.target)
        except OSError:
            self._reset(writer)
            return
        self._writers.add(far_writer)
        try:
            async with asyncio.TaskGroup() as ways:
                ways.create_task(_Way(self, reader, far_writer).carry())
                ways.create_task(_Way(self, far_reader, writer).carry())
        except* (OSError, RuntimeError):
            self._reset(writer)
            self._reset(far_writer)
        finally:
            self._writers -= {writer, far_writer}
            writer.close()
            far_writer.close()

    def _reset(self, writer: asyncio.StreamWriter) -> None:
        sock = writer.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    def drop_all(self, reset: bool = True) -> None:
        """Close every connection; in the proxy's own thread only, others use `cut_now`."""
        for writer in list(self._writers):
            if reset:
                self._reset(writer)
            else:
                writer.close()
        self._writers.clear()

    def _ask(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(5)

    def cut_now(self, reset: bool = True) -> None:
        """Close every connection with RST or FIN."""

        async def do() -> None:
            self.drop_all(reset)

        self._ask(do())

    def cut_after(self, count: int, reset: bool = True) -> None:
        """Cut all connections after `count` more bytes, both directions combined."""

        async def do() -> None:
            self.cut_with_reset = reset
            self.cut_at = self.carried_bytes + count

        self._ask(do())

    def blackhole(self, on: bool = True) -> None:
        """While on, forward nothing and end nothing, as if every packet were dropped."""

        async def do() -> None:
            if on:
                self.open_gate.clear()
            else:
                self.open_gate.set()

        self._ask(do())

    def close(self) -> None:
        """Stop the proxy and close its connections."""

        async def do() -> None:
            self.open_gate.set()
            self._ended.set()

        if self._thread.is_alive():
            self._ask(do())
            self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
