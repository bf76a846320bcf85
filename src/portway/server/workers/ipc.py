"""Messages with descriptors beside them, between processes: one end of a pair of unix sockets, in the reactor."""

import array
import socket
from collections import deque
from collections.abc import Callable, Sequence

from portway.engine.reactor import Reactor
from portway.telemetry.logs import get_log

MESSAGE_BYTES_MAX = 176 * 1024
"""A visitor's head (at most 128 KiB) and what was read behind it (32 KiB), and room for the rest. The kernel's default for a unix
socket takes messages of up to 208 KiB."""

DESCRIPTORS_MAX = 2
"""Beside one message."""

READS_A_TURN = 64
"""Messages before others get their turn, as listeners do it."""

QUEUED_MAX = 50_000
"""Messages that wait for a reader who is slow: a table of so many routes, told at once. More means that nobody reads."""

QUEUED_WITH_FDS_MAX = 1_000
"""Messages among them with descriptors, which stay open here meanwhile; two batches' worth of new visitors. In front of them the
kernel holds some 200 messages."""

_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CONNECTION = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_SPACE = socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)

log = get_log(__name__)

OnMessage = Callable[[memoryview, list[socket.socket]], None]
"""Gets a message, valid within the call only, and the sockets that came with it, which are the receiver's."""

MakeSocket = Callable[[int], socket.socket]


def any_socket(number: int) -> socket.socket:
    """Return a non-blocking socket of whatever kind `number` is; asking the system costs four calls."""
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    return sock


def connection(number: int) -> socket.socket:
    """Return the socket of a connection that is non-blocking already, without a question.

    Its family is a guess that only says how long an address may be: IPv6 has room for both.
    """
    return socket.socket(socket.AF_INET6, _CONNECTION, 0, fileno=number)


def _nothing() -> None:
    """Stand in for nothing that has to happen before."""


def ipc_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that keep messages apart (Linux)."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def receive_one(sock: socket.socket, within_s: float) -> tuple[bytes, list[socket.socket]]:
    """Wait for one message, before there is a loop.

    Raises:
        OSError: none came in time, or the other end is gone.
    """
    sock.settimeout(within_s)
    data, ancillary, _, _ = sock.recvmsg(MESSAGE_BYTES_MAX, _SPACE, _FLAGS)
    sock.setblocking(False)
    if not data:
        raise ConnectionResetError("the other end is gone")
    return data, _sockets(ancillary)


class IpcChannel:
    """One end. Messages arrive in the order in which they were sent, whole or not at all."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_message: OnMessage,
        on_lost: Callable[[], None],
        *,
        before: Callable[[], None] = _nothing,
        make_socket: MakeSocket = any_socket,
    ) -> None:
        """Take over `sock` (one of `ipc_pair`'s); `on_lost` is called once, when the other end is gone, `before` each time when
        there is something to read. `make_socket` makes sockets of the descriptors that arrive.
        """
        self._make_socket = make_socket
        self._before = before
        self._reactor = reactor
        self._sock = sock
        self._on_message = on_message
        self._on_lost = on_lost
        self._waiting: deque[tuple[bytes, Sequence[socket.socket]]] = deque()
        self._holding = 0
        """How many of those that wait have sockets."""
        self._buffer = memoryview(bytearray(MESSAGE_BYTES_MAX))
        self._closed = False
        self._queued = False
        reactor.watch(sock.fileno(), self._on_events)

    def __repr__(self) -> str:
        return f"<Post fd={self._sock.fileno()}, {len(self._waiting)} waiting{', closed' if self._closed else ''}>"

    def send(self, data: bytes, socks: Sequence[socket.socket] = ()) -> bool:
        """Send a message, and give `socks` away; False, and they stay the caller's, when the other end is gone or too slow."""
        if self._closed or len(self._waiting) >= QUEUED_MAX or (socks and self._holding >= QUEUED_WITH_FDS_MAX):
            return False
        if not self._waiting:
            try:
                self._give(data, socks)
            except BlockingIOError:
                pass
            except OSError as exc:
                log.debug("a message could not be sent", why=exc)
                return False
            else:
                return True
        self._waiting.append((data, socks))
        self._holding += bool(socks)
        self._want_write()
        return True

    @property
    def waiting(self) -> int:
        """How many messages wait for a reader who is slow."""
        return len(self._waiting)

    def drain(self) -> None:
        """Take everything in that has arrived by now."""
        while self._read_one():
            pass

    def close(self) -> None:
        """Close this end, and all that was to be given away; may be called twice. `on_lost` is not called."""
        if self._closed:
            return
        self._closed = True
        self._reactor.unwatch(self._sock.fileno())  # the other processes' copies would keep it in the poller
        self._reactor.discard(self._sock)
        for _, socks in self._waiting:
            for sock in socks:
                self._reactor.discard(sock)
        self._waiting.clear()

    def abort(self) -> None:
        """Give up, as the reactor asks after a failed callback: the two sides do not understand each other any more."""
        self._lose()

    def _lose(self) -> None:
        if not self._closed:
            self.close()
            self._on_lost()

    def _on_events(self, _mask: int) -> None:
        self._flush()
        if not self._queued:
            self._read_some()

    def _read_some(self) -> None:
        self._queued = False
        self._before()
        for _ in range(READS_A_TURN):
            if not self._read_one():
                return
        self._queued = True
        self._reactor.call_soon(self._read_some)

    def _read_one(self) -> bool:
        """Take one message in; False when there is none."""
        if self._closed:
            return False
        try:
            count, ancillary, flags, _ = self._sock.recvmsg_into([self._buffer], _SPACE, _FLAGS)
        except (BlockingIOError, InterruptedError):
            if self._reactor.level_poller is not None:
                self._reactor.level_poller.want_read(self._sock.fileno())
            return False
        except OSError as exc:
            log.debug("a way between processes broke", why=exc)
            self._lose()
            return False
        socks = _sockets(ancillary, self._make_socket)
        if not count:
            self._lose()
            return False
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            log.warning("a message came without its descriptors; are too many in use?")
        try:
            self._on_message(self._buffer[:count], socks)
        except Exception as exc:  # noqa: BLE001 - a bug met by one message must not cost all others their way
            log.error("a message could not be taken in", exc=exc)  # noqa: TRY400 - our log takes the traceback
        return True

    def _flush(self) -> None:
        waiting = self._waiting
        while waiting:
            data, socks = waiting[0]
            try:
                self._give(data, socks)
            except BlockingIOError:
                self._want_write()
                return
            except OSError as exc:
                log.debug("messages could not be sent", why=exc)
                self._lose()
                return
            waiting.popleft()
            self._holding -= bool(socks)

    def _give(self, data: bytes, socks: Sequence[socket.socket]) -> None:
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno() for sock in socks]))] if socks else []
        self._sock.sendmsg([data], beside)
        for sock in socks:
            self._reactor.discard(sock)

    def _want_write(self) -> None:
        if self._reactor.level_poller is not None:
            self._reactor.level_poller.want_write(self._sock.fileno())


def _sockets(ancillary: list[tuple[int, int, bytes]], make_socket: MakeSocket = any_socket) -> list[socket.socket]:
    """Return the sockets of all descriptors that came along."""
    found: list[socket.socket] = []
    for level_poller, kind, data in ancillary:
        if level_poller == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            found += [make_socket(number) for number in numbers]
    return found
