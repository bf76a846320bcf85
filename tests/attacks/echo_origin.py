"""Origin of the innocent tenant, in its own process: it responds to `/echo/WORD` with the tenant's name and the word."""

import asyncio

from tests.attacks.child import send_line, task_of_child


class Echo(asyncio.Protocol):
    """One connection; requests without bodies only."""

    def __init__(self, tenant: str) -> None:
        self._tenant = tenant.encode()
        self._buffered = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffered += data
        while (end := self._buffered.find(b"\r\n\r\n")) >= 0:
            target = self._buffered[: self._buffered.find(b"\r\n")].split(b" ")[1]
            self._buffered = self._buffered[end + 4 :]
            body = self._tenant + b" " + target.rpartition(b"/")[2]
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve(tenant: str) -> None:
    """Serve until the process is killed."""
    server = await asyncio.get_running_loop().create_server(lambda: Echo(tenant), "127.0.0.1", 0, backlog=1024)
    send_line({"port": server.sockets[0].getsockname()[1]})
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(task_of_child()["tenant"]))
