"""Visitors of all kinds at a steady rate; each checks every received byte."""

import asyncio
import os
import random
import socket
import struct
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from portway.errors import PortwayError
from portway.protocol.join_string import JoinString
from tests.kit.blocking_link import LinkError, open_link
from tests.soak.streams import TENANTS, digest, down_hash, name_of, pieces, up_hash, up_seed

OPERATION_S_MAX = 45.0
"""Operations that take longer are stuck: all deadlines of the edge are shorter or similar, except that of a slow response."""
RUNNING_MAX = 40
"""Concurrent operations of one kind; further ones are skipped and counted."""

BIG, MIDDLE, SMALL = 1 << 20, 300_000, 70_000
ENDLESS = 1 << 28
FIRST_BYTES = 4096
"""First bytes of a body that are kept; a short response may arrive in several pieces."""


class WrongError(Exception):
    """Wrong, foreign or missing bytes. Must never happen."""


class ShortError(WrongError):
    """A proper end before all bytes, where only the end marks the length."""


class VisibleError(Exception):
    """The visitor saw an error response or a reset."""


@dataclass
class TrafficResults:
    """Counts and errors of all visitors."""

    done: Counter[str] = field(default_factory=Counter)
    in_faults: Counter[str] = field(default_factory=Counter)
    """Errors during faults."""
    unexplained: list[str] = field(default_factory=list)
    """Errors at other times."""
    wrong: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    bytes_checked: int = 0


@dataclass(frozen=True)
class TenantAddresses:
    """Public addresses of one tenant."""

    tenant: int
    http_port: int
    tcp_port: int

    @property
    def host(self) -> bytes:
        """Host field of its requests."""
        return b"%b.localhost:%d" % (name_of(self.tenant).encode(), self.http_port)


class VisitorConnection:
    """A visitor's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        """Read the head of a response."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:] if line)}
        return int(lines[0].split(b" ")[1]), fields

    async def body(self, fields: dict[bytes, bytes]) -> tuple[int, str, bytes]:
        """Read a body; return its size, its hash and its beginning."""
        found, count, first = digest(), 0, b""
        if b"content-length" in fields:
            left = int(fields[b"content-length"])
            while left:
                piece = await self.reader.read(min(left, 65536))
                if not piece:
                    raise VisibleError("an answer ended before its length")
                left -= len(piece)
                count += len(piece)
                found.update(piece)
                first = first if len(first) >= FIRST_BYTES else first + piece
        else:
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                piece = (await self.reader.readexactly(size + 2))[:-2]
                count += size
                found.update(piece)
                first = first if len(first) >= FIRST_BYTES else first + piece
            await self.reader.readexactly(2)
        return count, found.hexdigest(), first

    def reset(self) -> None:
        """Reset the connection."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def connect(port: int) -> VisitorConnection:
    """Connect to a port."""
    return VisitorConnection(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))


async def _ok(connection: VisitorConnection) -> dict[bytes, bytes]:
    status, fields = await connection.head()
    if status != 200:
        raise VisibleError(f"{status} {fields.get(b'portway-error', b'').decode()}")
    return fields


# ------------------------------------------------------------------------------------------------------ operations


async def small(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """Five requests on one connection."""
    for _ in range(5):
        word = os.urandom(8).hex().encode()
        connection.send(b"GET /echo/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (word, address.host))
        count, _, body = await connection.body(await _ok(connection))
        if body != name_of(address.tenant).encode() + b" " + word:
            raise WrongError(f"asked {name_of(address.tenant)} for {word!r}, got {body[:80]!r}")
        seen.bytes_checked += count


async def _download(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults, kind: str, size: int) -> None:
    connection.send(b"GET /%b/%d HTTP/1.1\r\nHost: %b\r\n\r\n" % (kind.encode(), size, address.host))
    count, found, _ = await connection.body(await _ok(connection))
    if (count, found) != (size, down_hash(address.tenant, size)):
        raise WrongError(f"{kind} of {size} bytes from {name_of(address.tenant)}: {count} bytes came, passed off as whole")
    seen.bytes_checked += count


async def download(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """A response with Content-Length."""
    await _download(address, connection, seen, "bytes", BIG)


async def chunked(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """A chunked response."""
    await _download(address, connection, seen, "chunked", MIDDLE)


async def _upload(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults, size: int, *, in_chunks: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % size
    connection.send(b"POST /sink HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n" % (address.host, framing))
    for piece in pieces(size, up_seed(address.tenant)):
        connection.send(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
        await connection.writer.drain()
    if in_chunks:
        connection.send(b"0\r\n\r\n")
    _, _, body = await connection.body(await _ok(connection))
    if body.decode() != f"{name_of(address.tenant)} {size} {up_hash(address.tenant, size)}":
        raise WrongError(f"an upload of {size} bytes to {name_of(address.tenant)} was taken for {body[:120]!r}")
    seen.bytes_checked += size


async def upload(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """A request body with Content-Length."""
    await _upload(address, connection, seen, BIG, in_chunks=False)


async def upload_chunked(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """A chunked request body."""
    await _upload(address, connection, seen, SMALL, in_chunks=True)


async def events(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """An event stream that the visitor closes before its end."""
    connection.send(b"GET /events HTTP/1.1\r\nHost: %b\r\n\r\n" % address.host)
    await _ok(connection)
    expected = b"".join(b"data: %b %d\n\n" % (name_of(address.tenant).encode(), number) for number in range(40))
    came = b""
    while len(came) < len(expected) // 4:  # the edge decides where chunks are cut
        size = int(await connection.reader.readuntil(b"\r\n"), 16)
        came += (await connection.reader.readexactly(size + 2))[:-2]
    if not expected.startswith(came):
        raise WrongError(f"events of {name_of(address.tenant)} are {came[-120:]!r}")
    seen.bytes_checked += len(came)


async def websocket(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """Twenty messages over a WebSocket, and its close."""
    connection.send(
        b"GET /socket HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % address.host
    )
    status, fields = await connection.head()
    if status != 101:
        raise VisibleError(f"{status} {fields.get(b'portway-error', b'').decode()}")
    for _ in range(20):
        word = os.urandom(random.randrange(4, 40)).hex().encode()
        connection.send(bytes((0x81, 0x80 | len(word))) + bytes(4) + word)
        size = (await connection.reader.readexactly(2))[1]
        if size == 126:
            [size] = struct.unpack(">H", await connection.reader.readexactly(2))
        text = await connection.reader.readexactly(size)
        if text != name_of(address.tenant).encode() + b" " + word:
            raise WrongError(f"a message to {name_of(address.tenant)} came back as {text[:80]!r}")
        seen.bytes_checked += size
    connection.send(b"\x88\x80\0\0\0\0")
    await connection.reader.read(2)


async def tcp(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """An upload with a proper end over TCP, then a download."""
    size = random.choice((1000, SMALL, MIDDLE))
    connection.send(f"{name_of(address.tenant)} {size}\n".encode())
    for piece in pieces(size, up_seed(address.tenant)):
        connection.send(piece)
        await connection.writer.drain()
    connection.writer.write_eof()
    first = await connection.reader.readline()
    rest, count = digest(), 0
    while piece := await connection.reader.read(65536):
        rest.update(piece)
        count += len(piece)
    expected = f"{name_of(address.tenant)} {up_hash(address.tenant, size)}\n".encode()
    if expected.startswith(first) and count < size:
        raise ShortError(f"tcp to {name_of(address.tenant)}: {count} of {size} bytes, with a proper end")
    if first != expected or count != size or rest.hexdigest() != down_hash(address.tenant, size):
        raise WrongError(f"tcp to {name_of(address.tenant)}: {first[:100]!r} and {count} of {size} bytes, with a proper end")
    seen.bytes_checked += 2 * size


async def abort_download(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """A long download that its visitor resets."""
    connection.send(b"GET /bytes/%d HTTP/1.1\r\nHost: %b\r\n\r\n" % (ENDLESS, address.host))
    await _ok(connection)
    await connection.reader.readexactly(100_000)
    connection.reset()


async def abort_upload(address: TenantAddresses, connection: VisitorConnection, seen: TrafficResults) -> None:
    """An upload over TCP that its visitor resets: the origin must not see a proper end."""
    connection.send(f"{name_of(address.tenant)} {ENDLESS}\n".encode())
    for piece in pieces(SMALL, up_seed(address.tenant)):
        connection.send(piece)
    await connection.writer.drain()
    connection.reset()


Operation = Callable[[TenantAddresses, VisitorConnection, TrafficResults], Awaitable[None]]

PACE_PER_S: dict[Operation, float] = {
    small: 8.0,
    download: 2.0,
    chunked: 2.0,
    upload: 2.0,
    upload_chunked: 2.0,
    events: 1.0,
    websocket: 1.0,
    tcp: 2.0,
    abort_download: 1.0,
    abort_upload: 0.5,
}
OVER_TCP = (tcp, abort_upload)
RECONNECTS_PER_S = 1.0


class Traffic:
    """Generates the operations of all visitors; after `stop` the running ones finish."""

    def __init__(
        self,
        addresses: list[TenantAddresses],
        join: JoinString,
        explained: Callable[[int, float], bool],
        origin_died: Callable[[int, float], bool],
        pace: float = 1.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """`explained(tenant, since)` returns whether a fault explains an error of an operation that began at `since`.

        `origin_died` is the same for a killed origin, whose kernel ends connections properly; `say` prints violations at once.
        """
        self.seen = TrafficResults()
        self._addresses = addresses
        self._join = join
        self._explained = explained
        self._origin_died = origin_died
        self._pace = pace
        self._say = say
        self._stopping = asyncio.Event()
        self._running: Counter[str] = Counter()

    async def run(self) -> None:
        """Start operations until `stop`, and return when the last one has ended."""
        async with asyncio.TaskGroup() as tasks:
            for operation, per_s in PACE_PER_S.items():
                tasks.create_task(self._repeat(tasks, operation.__name__, per_s, self._visit_maker(operation)))
            tasks.create_task(self._repeat(tasks, "reconnect", RECONNECTS_PER_S, self._reconnect))

    def stop(self) -> None:
        """Start no further operation."""
        self._stopping.set()

    def _visit_maker(self, operation: Operation) -> Callable[[], Coroutine[Any, Any, None]]:
        return lambda: self._visit(operation)

    async def _repeat(self, tasks: asyncio.TaskGroup, name: str, per_s: float, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        every_s, due = 1.0 / (per_s * self._pace), time.monotonic()
        while not self._stopping.is_set():
            if self._running[name] >= RUNNING_MAX:
                self.seen.skipped[name] += 1
            else:
                self._running[name] += 1
                tasks.create_task(make())
            due = max(due + every_s, time.monotonic() - 1.0)
            try:
                async with asyncio.timeout(max(0.0, due - time.monotonic())):
                    await self._stopping.wait()
            except TimeoutError:
                pass

    async def _visit(self, operation: Operation) -> None:
        address = random.choice(self._addresses)
        port = address.tcp_port if operation in OVER_TCP else address.http_port
        began, connection = time.monotonic(), None
        try:
            async with asyncio.timeout(OPERATION_S_MAX):
                connection = await connect(port)
                await operation(address, connection, self.seen)
            self.seen.done[operation.__name__] += 1
        except WrongError as exc:
            if isinstance(exc, ShortError) and self._origin_died(address.tenant, began):
                self.seen.in_faults[operation.__name__] += 1
                return
            self.seen.wrong.append(f"{operation.__name__}: {exc}")
            self._say(self.seen.wrong[-1])
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, VisibleError, TimeoutError) as exc:
            self._record_error(operation.__name__, address.tenant, began, exc)
        finally:
            self._running[operation.__name__] -= 1
            if connection is not None:
                connection.writer.close()

    def _record_error(self, name: str, tenant: int, began: float, exc: Exception) -> None:
        if self._explained(tenant, began):
            self.seen.in_faults[name] += 1
        else:
            self.seen.unexplained.append(f"{name} of {name_of(tenant)}, started {time.monotonic() - began:.1f} s before: {exc!r}")
            self._say(self.seen.unexplained[-1])

    async def _reconnect(self) -> None:
        """Log in as an agent and close the link abruptly."""
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._log_in)
            self.seen.done["reconnect"] += 1
        except (OSError, LinkError, PortwayError) as exc:
            self._record_error("reconnect", 0, began, exc)
        finally:
            self._running["reconnect"] -= 1

    def _log_in(self) -> None:
        with open_link(self._join) as link:
            link.log_in(self._join, os.urandom(32))


def all_addresses(http_port: int, tcp_ports: list[int]) -> list[TenantAddresses]:
    """Return the addresses of all tenants."""
    return [TenantAddresses(tenant, http_port, tcp_ports[tenant]) for tenant in range(TENANTS)]
