"""A relay between agents and server that keeps each connection apart: the links of one session can be cut one by one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from portway.protocol.join_string import JoinString


class PerLinkProxy:
    """Carries to `port` of this machine; the connections are numbered from 0 in the order in which they came."""

    def __init__(self, port: int) -> None:
        self.port = 0
        self.connections: list[list[asyncio.StreamWriter]] = []
        self._target = port
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to take connections."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def through(self, join: JoinString) -> JoinString:
        """Return a join string that leads through here."""
        return JoinString(join.token_id, join.secret, join.host, self.port, join.pin, join.plaintext)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
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

    def close(self) -> None:
        """Cut all and take no more."""
        for number in range(len(self.connections)):
            self.cut(number)
        if self._server is not None:
            self._server.close()


@asynccontextmanager
async def per_link_proxy(port: int) -> AsyncIterator[PerLinkProxy]:
    """Cords to a port of this machine, within the block."""
    proxy = PerLinkProxy(port)
    await proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
        await asyncio.sleep(0.01)
