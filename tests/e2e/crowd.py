"""A thousand visitors at once, each with bytes of its own, and the origin that checks what each of them sends."""

import asyncio
import hashlib
import re
import threading
from collections.abc import Mapping
from typing import Self

from tests.e2e.stack import Tunnel

BYTES = 16_384
"""What each visitor sends and gets: more than a small frame, less than a window."""

DEADLINE_S = 60.0


def own_bytes(way: str, number: int) -> bytes:
    """Return what belongs to one visitor alone; `way` is up or down."""
    return hashlib.shake_256(f"{way} {number}".encode()).digest(BYTES)


def request(kind: str, number: int) -> bytes:
    """Return what a visitor sends before its bytes."""
    if kind == "tcp":
        return f"visitor {number}\r\n\r\n".encode()
    return f"POST /visitor/{number} HTTP/1.1\r\nHost: %s\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n".encode()


class CrowdOrigin:
    """Answers only once `size` visitors are connected at the same time. Serves in a thread of its own."""

    def __init__(self, size: int) -> None:
        """Listen on a free port."""
        self.correct: set[int] = set()
        """Visitors whose bytes arrived as they were sent."""
        self.together = 0
        """The most connections at a time."""
        self._size = size
        self._here = 0
        self._all_here = asyncio.Event()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._main, name="crowd origin", daemon=True)
        self._thread.start()
        assert self._ready.wait(DEADLINE_S)

    def _main(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._visit, "127.0.0.1", 0, backlog=self._size)
        self.port: int = server.sockets[0].getsockname()[1]
        self._ready.set()
        async with server:
            await self._stop.wait()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(DEADLINE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                found = re.search(rb"visitor.(\d+)", head)
                assert found is not None
                number = int(found[1])
                self._here += 1
                self.together = max(self.together, self._here)
                if self._here == self._size:
                    self._all_here.set()
                await self._all_here.wait()
                if await reader.readexactly(BYTES) == own_bytes("up", number):
                    self.correct.add(number)
                if b"HTTP/1.1" in head:
                    writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\nConnection: close\r\n\r\n".encode())
                writer.write(own_bytes("down", number))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the test misses this one among the correct, or is over
        finally:
            self._here -= 1
            writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(5)


async def visit(kind: str, host: str, port: int, number: int) -> bytes:
    """Be one visitor; return what came back, without an HTTP head."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request(kind, number).replace(b"%s", host.encode()) + own_bytes("up", number))
        await writer.drain()
        answer = await reader.read(-1)
    finally:
        writer.close()
    return answer.partition(b"\r\n\r\n")[2] if kind == "http" else answer


async def crowd(tunnels: Mapping[str, Tunnel], each: int) -> set[int]:
    """Be `each` visitors of every tunnel (by kind), all at the same time; return those that got their own bytes."""
    correct = set[int]()

    async def one(kind: str, tunnel: Tunnel, number: int) -> None:
        if await visit(kind, tunnel.host, tunnel.port, number) == own_bytes("down", number):
            correct.add(number)

    async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as visitors:
        for turn, (kind, tunnel) in enumerate(tunnels.items()):
            for number in range(turn * each, (turn + 1) * each):
                visitors.create_task(one(kind, tunnel, number))
    return correct
