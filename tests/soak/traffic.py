"""Visitors of all kinds at a steady pace, each checking every byte that comes back."""

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
from tests.soak.words import TENANTS, digest, down_hash, name_of, pieces, up_hash, up_seed

OPERATION_S_MAX = 45.0
"""Longer is stuck: every deadline of the edge but that of a silent answer is shorter, or about as long."""
RUNNING_MAX = 40
"""Of one kind at a time; what does not fit is left out, and counted."""

BIG, MIDDLE, SMALL = 1 << 20, 300_000, 70_000
ENDLESS = 1 << 28
FIRST_BYTES = 4096
"""Of a body; a short answer may come in several pieces."""


class WrongError(Exception):
    """Bytes that are wrong, somebody else's, or fewer than they claim to be. Must never happen."""


class ShortError(WrongError):
    """A proper end before all had come, where only the end tells how much all is."""


class ShowsError(Exception):
    """The visitor was told that something went wrong."""


@dataclass
class Seen:
    """What all visitors saw."""

    done: Counter[str] = field(default_factory=Counter)
    shown: Counter[str] = field(default_factory=Counter)
    """Errors in the time of a fault."""
    unexplained: list[str] = field(default_factory=list)
    """Errors at other times."""
    wrong: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    bytes_checked: int = 0


@dataclass(frozen=True)
class Place:
    """Where one tenant is."""

    tenant: int
    http_port: int
    tcp_port: int

    @property
    def host(self) -> bytes:
        """The Host of its requests."""
        return b"%b.localhost:%d" % (name_of(self.tenant).encode(), self.http_port)


class Line:
    """One visitor's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        """Send."""
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[bytes, bytes]]:
        """Read the head of an answer."""
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
                    raise ShowsError("an answer ended before its length")
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
        """Break off."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


async def connect(port: int) -> Line:
    """Return a connection."""
    return Line(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 20))


async def _ok(line: Line) -> dict[bytes, bytes]:
    status, fields = await line.head()
    if status != 200:
        raise ShowsError(f"{status} {fields.get(b'portway-error', b'').decode()}")
    return fields


# ------------------------------------------------------------------------------------------------------ operations


async def small(place: Place, line: Line, seen: Seen) -> None:
    """Five requests on one connection."""
    for _ in range(5):
        word = os.urandom(8).hex().encode()
        line.send(b"GET /echo/%b HTTP/1.1\r\nHost: %b\r\n\r\n" % (word, place.host))
        count, _, body = await line.body(await _ok(line))
        if body != name_of(place.tenant).encode() + b" " + word:
            raise WrongError(f"asked {name_of(place.tenant)} for {word!r}, got {body[:80]!r}")
        seen.bytes_checked += count


async def _download(place: Place, line: Line, seen: Seen, kind: str, size: int) -> None:
    line.send(b"GET /%b/%d HTTP/1.1\r\nHost: %b\r\n\r\n" % (kind.encode(), size, place.host))
    count, found, _ = await line.body(await _ok(line))
    if (count, found) != (size, down_hash(place.tenant, size)):
        raise WrongError(f"{kind} of {size} bytes from {name_of(place.tenant)}: {count} bytes came, passed off as whole")
    seen.bytes_checked += count


async def download(place: Place, line: Line, seen: Seen) -> None:
    """An answer with a length."""
    await _download(place, line, seen, "bytes", BIG)


async def chunked(place: Place, line: Line, seen: Seen) -> None:
    """An answer in chunks."""
    await _download(place, line, seen, "chunked", MIDDLE)


async def _upload(place: Place, line: Line, seen: Seen, size: int, *, in_chunks: bool) -> None:
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % size
    line.send(b"POST /sink HTTP/1.1\r\nHost: %b\r\n%b\r\n\r\n" % (place.host, framing))
    for piece in pieces(size, up_seed(place.tenant)):
        line.send(b"%x\r\n%b\r\n" % (len(piece), piece) if in_chunks else piece)
        await line.writer.drain()
    if in_chunks:
        line.send(b"0\r\n\r\n")
    _, _, body = await line.body(await _ok(line))
    if body.decode() != f"{name_of(place.tenant)} {size} {up_hash(place.tenant, size)}":
        raise WrongError(f"an upload of {size} bytes to {name_of(place.tenant)} was taken for {body[:120]!r}")
    seen.bytes_checked += size


async def upload(place: Place, line: Line, seen: Seen) -> None:
    """A body with a length."""
    await _upload(place, line, seen, BIG, in_chunks=False)


async def upload_chunked(place: Place, line: Line, seen: Seen) -> None:
    """A body in chunks."""
    await _upload(place, line, seen, SMALL, in_chunks=True)


async def events(place: Place, line: Line, seen: Seen) -> None:
    """An event stream, which the visitor leaves before its end."""
    line.send(b"GET /events HTTP/1.1\r\nHost: %b\r\n\r\n" % place.host)
    await _ok(line)
    expected = b"".join(b"data: %b %d\n\n" % (name_of(place.tenant).encode(), number) for number in range(40))
    came = b""
    while len(came) < len(expected) // 4:  # where chunks are cut is the edge's
        size = int(await line.reader.readuntil(b"\r\n"), 16)
        came += (await line.reader.readexactly(size + 2))[:-2]
    if not expected.startswith(came):
        raise WrongError(f"events of {name_of(place.tenant)} are {came[-120:]!r}")
    seen.bytes_checked += len(came)


async def websocket(place: Place, line: Line, seen: Seen) -> None:
    """Twenty messages over a WebSocket, and its close."""
    line.send(
        b"GET /socket HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % place.host
    )
    status, fields = await line.head()
    if status != 101:
        raise ShowsError(f"{status} {fields.get(b'portway-error', b'').decode()}")
    for _ in range(20):
        word = os.urandom(random.randrange(4, 40)).hex().encode()
        line.send(bytes((0x81, 0x80 | len(word))) + bytes(4) + word)
        size = (await line.reader.readexactly(2))[1]
        if size == 126:
            [size] = struct.unpack(">H", await line.reader.readexactly(2))
        text = await line.reader.readexactly(size)
        if text != name_of(place.tenant).encode() + b" " + word:
            raise WrongError(f"a message to {name_of(place.tenant)} came back as {text[:80]!r}")
        seen.bytes_checked += size
    line.send(b"\x88\x80\0\0\0\0")
    await line.reader.read(2)


async def tcp(place: Place, line: Line, seen: Seen) -> None:
    """An upload with its proper end over TCP, and a download behind it."""
    size = random.choice((1000, SMALL, MIDDLE))
    line.send(f"{name_of(place.tenant)} {size}\n".encode())
    for piece in pieces(size, up_seed(place.tenant)):
        line.send(piece)
        await line.writer.drain()
    line.writer.write_eof()
    first = await line.reader.readline()
    rest, count = digest(), 0
    while piece := await line.reader.read(65536):
        rest.update(piece)
        count += len(piece)
    expected = f"{name_of(place.tenant)} {up_hash(place.tenant, size)}\n".encode()
    if expected.startswith(first) and count < size:
        raise ShortError(f"tcp to {name_of(place.tenant)}: {count} of {size} bytes, with a proper end")
    if first != expected or count != size or rest.hexdigest() != down_hash(place.tenant, size):
        raise WrongError(f"tcp to {name_of(place.tenant)}: {first[:100]!r} and {count} of {size} bytes, with a proper end")
    seen.bytes_checked += 2 * size


async def abort_download(place: Place, line: Line, seen: Seen) -> None:
    """A long download that its visitor breaks off."""
    line.send(b"GET /bytes/%d HTTP/1.1\r\nHost: %b\r\n\r\n" % (ENDLESS, place.host))
    await _ok(line)
    await line.reader.readexactly(100_000)
    line.reset()


async def abort_upload(place: Place, line: Line, seen: Seen) -> None:
    """An upload over TCP that its visitor breaks off: its origin must not see an end."""
    line.send(f"{name_of(place.tenant)} {ENDLESS}\n".encode())
    for piece in pieces(SMALL, up_seed(place.tenant)):
        line.send(piece)
    await line.writer.drain()
    line.reset()


Operation = Callable[[Place, Line, Seen], Awaitable[None]]

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
    """All visitors of a site. `stop` lets them finish."""

    def __init__(
        self,
        places: list[Place],
        join: JoinString,
        explained: Callable[[int, float], bool],
        origin_died: Callable[[int, float], bool],
        pace: float = 1.0,
        say: Callable[[str], None] = print,
    ) -> None:
        """`explained(tenant, since)` says whether a fault explains an error of an operation that began at `since`.

        `origin_died` the same of a killed origin, whose kernel ends its connections as if it had meant to; `say` is told at once of what must not be.
        """
        self.seen = Seen()
        self._places = places
        self._join = join
        self._explained = explained
        self._origin_died = origin_died
        self._pace = pace
        self._say = say
        self._stopping = asyncio.Event()
        self._running: Counter[str] = Counter()

    async def run(self) -> None:
        """Make traffic until `stop`, and return when the last visitor has gone."""
        async with asyncio.TaskGroup() as tasks:
            for operation, per_s in PACE_PER_S.items():
                tasks.create_task(self._keep(tasks, operation.__name__, per_s, self._visit_maker(operation)))
            tasks.create_task(self._keep(tasks, "reconnect", RECONNECTS_PER_S, self._reconnect))

    def stop(self) -> None:
        """Begin nothing new."""
        self._stopping.set()

    def _visit_maker(self, operation: Operation) -> Callable[[], Coroutine[Any, Any, None]]:
        return lambda: self._visit(operation)

    async def _keep(self, tasks: asyncio.TaskGroup, name: str, per_s: float, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        every_s, due = 1.0 / (per_s * self._pace), time.monotonic()
        while not self._stopping.is_set():
            if self._running[name] >= RUNNING_MAX:
                self.seen.left_out[name] += 1
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
        place = random.choice(self._places)
        port = place.tcp_port if operation in OVER_TCP else place.http_port
        began, line = time.monotonic(), None
        try:
            async with asyncio.timeout(OPERATION_S_MAX):
                line = await connect(port)
                await operation(place, line, self.seen)
            self.seen.done[operation.__name__] += 1
        except WrongError as exc:
            if isinstance(exc, ShortError) and self._origin_died(place.tenant, began):
                self.seen.shown[operation.__name__] += 1
                return
            self.seen.wrong.append(f"{operation.__name__}: {exc}")
            self._say(self.seen.wrong[-1])
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, ShowsError, TimeoutError) as exc:
            self._note(operation.__name__, place.tenant, began, exc)
        finally:
            self._running[operation.__name__] -= 1
            if line is not None:
                line.writer.close()

    def _note(self, name: str, tenant: int, began: float, exc: Exception) -> None:
        if self._explained(tenant, began):
            self.seen.shown[name] += 1
        else:
            self.seen.unexplained.append(f"{name} of {name_of(tenant)}, begun {time.monotonic() - began:.1f} s before: {exc!r}")
            self._say(self.seen.unexplained[-1])

    async def _reconnect(self) -> None:
        """Be an agent that logs in and leaves without a word."""
        began = time.monotonic()
        try:
            await asyncio.to_thread(self._log_in)
            self.seen.done["reconnect"] += 1
        except (OSError, LinkError, PortwayError) as exc:
            self._note("reconnect", 0, began, exc)
        finally:
            self._running["reconnect"] -= 1

    def _log_in(self) -> None:
        with open_link(self._join) as link:
            link.log_in(self._join, os.urandom(32))


def all_places(http_port: int, tcp_ports: list[int]) -> list[Place]:
    """Return where all tenants are."""
    return [Place(tenant, http_port, tcp_ports[tenant]) for tenant in range(TENANTS)]
