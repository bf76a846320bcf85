"""A proxy between agents and server that can reset the links of a session one by one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portway.protocol.join_string import JoinString


class PerLinkProxy:
    """Forwards to `port` of this machine; connections are numbered from 0 in order of acceptance."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections: list[list[asyncio.StreamWriter]] = []
        self._target = port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start to accept connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def through(self, join: JoinString) -> JoinString:
        """Return a join string whose address is this proxy."""
        return JoinString(join.token_id, join.secret, join.host, self.port, join.pin, join.plaintext)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except BaseException:
            writer.transport.abort()
            raise
        self.connections.append([writer, far_writer])
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer), return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    def cut(self, number: int) -> None:
        """Reset one connection on both sides."""
        for writer in self.connections[number]:
            writer.transport.abort()

    def cut_all(self) -> None:
        """Reset all connections."""
        for number in range(len(self.connections)):
            self.cut(number)

    async def close(self) -> None:
        """Stop listening and reset all connections, also one that is just being made."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        self.cut_all()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.01)  # transports close their sockets in the next turns of the loop


@asynccontextmanager
async def per_link_proxy(port: int) -> AsyncIterator[PerLinkProxy]:
    """Run a proxy to a port of this machine within the block."""
    proxy = PerLinkProxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
