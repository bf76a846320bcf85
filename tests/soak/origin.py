"""A tenant's origin, in its own process: HTTP in all framings, WebSockets, event streams, and plain TCP.

`python -m tests.soak.origin TENANT HTTP_PORT TCP_PORT`; port 0 selects a free one. The first line prints the ports, further lines report
violations: an upload over TCP that ended properly before it was complete.
"""

import asyncio
import base64
import hashlib
import re
import socket
import struct
import sys

from bench.parent_death import die_with_parent
from tests.soak.streams import digest, down_seed, name_of, pieces, up_hash

EVENTS = 40
EVENT_EVERY_S = 0.05
WEBSOCKET_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Origin:
    """Serves all connections of one tenant."""

    def __init__(self, tenant: int) -> None:
        self.tenant = tenant
        self.name = name_of(tenant).encode()

    async def http(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            while head := await _head(reader):
                if not await self._respond(head, reader, writer):
                    break
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            writer.close()

    async def _respond(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ")
        kind, _, rest = target.strip(b"/").partition(b"/")
        if method == b"POST":
            return await self._read_body(head, reader, writer)
        if kind == b"bytes":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % int(rest))
            return await self._send_body(writer, int(rest), b"%b")
        if kind == b"chunked":
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await self._send_body(writer, int(rest), b"")
            writer.write(b"0\r\n\r\n")
            return True
        if kind == b"events":
            return await self._events(writer)
        if kind == b"socket":
            return await self._websocket(head, reader, writer)
        _plain(writer, self.name + b" " + rest)
        return True

    async def _send_body(self, writer: asyncio.StreamWriter, size: int, form: bytes) -> bool:
        for piece in pieces(size, down_seed(self.tenant)):
            writer.write(piece if form else b"%x\r\n%b\r\n" % (len(piece), piece))
            await writer.drain()
        return True

    async def _read_body(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        found, count = digest(), 0
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        if length:
            left = int(length[1])
            while left:
                piece = await reader.read(min(left, 65536))
                if not piece:
                    return False
                left -= len(piece)
                count += len(piece)
                found.update(piece)
        else:
            while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                piece = await reader.readexactly(size + 2)
                count += size
                found.update(memoryview(piece)[:size])
            await reader.readuntil(b"\r\n")
        _plain(writer, b"%b %d %b" % (self.name, count, found.hexdigest().encode()))
        return True

    async def _events(self, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number in range(EVENTS):
            event = b"data: %b %d\n\n" % (self.name, number)
            writer.write(b"%x\r\n%b\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(EVENT_EVERY_S)
        writer.write(b"0\r\n\r\n")
        return True

    async def _websocket(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        key = re.search(rb"(?i)sec-websocket-key: *([^\r]+)", head)
        if key is None:
            return False
        accept = base64.b64encode(hashlib.sha1(key[1] + WEBSOCKET_GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
            + accept
            + b"\r\n\r\n"
        )
        while True:
            first, second = await reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                [size] = struct.unpack(">H", await reader.readexactly(2))
            mask = await reader.readexactly(4)
            body = bytes(byte ^ mask[at % 4] for at, byte in enumerate(await reader.readexactly(size)))
            if first & 0xF == 8:
                writer.write(b"\x88\x00")
                return False
            text = self.name + b" " + body
            writer.write(b"\x81" + (bytes((len(text),)) if len(text) < 126 else b"\x7e" + struct.pack(">H", len(text))) + text)
            await writer.drain()

    async def tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read an upload to its proper end, then send its hash and a download of the same size."""
        try:
            line = await reader.readuntil(b"\n")
            name, size = line.decode().split()
            found, count = digest(), 0
            while piece := await reader.read(65536):
                count += len(piece)
                found.update(piece)
            if name == "anybody":
                return  # a client that may end in the middle
            if name != name_of(self.tenant) or count != int(size) or found.hexdigest() != up_hash(self.tenant, count):
                print(f"broken: {name_of(self.tenant)} was sent {count} of {size} bytes for {name}, then a proper end", flush=True)
            writer.write(b"%b %b\n" % (self.name, found.hexdigest().encode()))
            for piece in pieces(count, down_seed(self.tenant)):
                writer.write(piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()
            await reader.read(1)
        except asyncio.IncompleteReadError as exc:
            if exc.partial:
                print(f"broken: a proper end within the first line of an upload to {name_of(self.tenant)}", flush=True)
        except (OSError, ValueError):
            pass
        finally:
            writer.close()


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


def _plain(writer: asyncio.StreamWriter, body: bytes) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))


async def serve(tenant: int, http_port: int, tcp_port: int) -> None:
    """Serve until the process is killed."""
    origin = Origin(tenant)
    http = await asyncio.start_server(origin.http, "127.0.0.1", http_port, backlog=1024, reuse_address=True)
    tcp = await asyncio.start_server(origin.tcp, "127.0.0.1", tcp_port, backlog=1024, reuse_address=True)
    ports = [sock.getsockname()[1] for server in (http, tcp) for sock in server.sockets if sock.family == socket.AF_INET]
    print("ports", *ports, flush=True)
    async with http, tcp:
        await asyncio.Event().wait()


if __name__ == "__main__":
    die_with_parent()
    asyncio.run(serve(*map(int, sys.argv[1:4])))
