"""IPC between supervisor and workers: messages with file descriptors over a SOCK_SEQPACKET pair."""

import array
import socket
from collections import deque
from collections.abc import Callable, Sequence

from portway.engine.reactor import Reactor
from portway.errors import MisuseError
from portway.telemetry.logs import get_log

MESSAGE_BYTES_MAX = 176 * 1024
"""A visitor's head (at most 128 KiB), the bytes read behind it (32 KiB), and the rest of a message. The kernel's default for a unix
socket allows messages of up to 208 KiB."""

DESCRIPTORS_MAX = 3
"""Maximum per message: a worker's inbox and two listeners of visitors. The kernel closes further ones without an error."""

READS_A_TURN = 64
"""Messages read before others get their turn, as in listeners."""

QUEUED_MAX = 50_000
"""Messages queued for a slow reader: a table of as many routes, sent at once. More means that the other end does not read."""

QUEUED_WITH_FDS_MAX = 1_000
"""Messages among them with descriptors, which stay open here meanwhile; two batches' worth of new visitors. Beyond these the
kernel buffers some 200 messages."""

_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
_CONNECTION = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)
_SPACE = socket.CMSG_SPACE(DESCRIPTORS_MAX * array.array("i").itemsize)

log = get_log(__name__)

OnMessage = Callable[[memoryview, list[socket.socket]], None]
"""Gets a message, valid during the call only, and the sockets that came with it, which the receiver then owns."""

MakeSocket = Callable[[int], socket.socket]


def any_socket(number: int) -> socket.socket:
    """Return a non-blocking socket of any kind; determining the kind costs four system calls."""
    sock = socket.socket(fileno=number)
    sock.setblocking(False)
    return sock


def connection_socket(number: int) -> socket.socket:
    """Return the socket of a connection that is non-blocking already, without a system call.

    The family is assumed; it only determines how long an address may be: IPv6 has room for both.
    """
    return socket.socket(socket.AF_INET6, _CONNECTION, 0, fileno=number)


def _nothing() -> None:
    """Used where nothing precedes reads."""


def ipc_pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected ends that preserve message boundaries (Linux)."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    one.setblocking(False)
    other.setblocking(False)
    return one, other


def receive_one(sock: socket.socket, within_s: float) -> tuple[bytes, list[socket.socket]]:
    """Wait for one message, before an event loop runs.

    Raises:
            OSError: none arrived in time, or the other end is closed.
    """
    sock.settimeout(within_s)
    data, ancillary, _, _ = sock.recvmsg(MESSAGE_BYTES_MAX, _SPACE, _FLAGS)
    sock.setblocking(False)
    if not data:
        raise ConnectionResetError("the other end is closed")
    return data, _sockets(ancillary)


class IpcChannel:
    """One end of an IPC connection. Messages arrive in order, whole or not at all."""

    def __init__(
        self,
        reactor: Reactor,
        sock: socket.socket,
        on_message: OnMessage,
        on_lost: Callable[[], None],
        *,
        before_read: Callable[[], None] = _nothing,
        make_socket: MakeSocket = any_socket,
    ) -> None:
        """Take over `sock` (one of `ipc_pair`'s); `on_lost` is called once, when the other end is closed, `before_read` each time
        messages are available. `make_socket` makes sockets of the descriptors that arrive.
        """
        self._make_socket = make_socket
        self._before_read = before_read
        self._reactor = reactor
        self._sock = sock
        self._on_message = on_message
        self._on_lost = on_lost
        self._outbox: deque[tuple[bytes, Sequence[socket.socket]]] = deque()
        self._outbox_with_fds = 0
        """Number of queued messages with sockets."""
        self._buffer = memoryview(bytearray(MESSAGE_BYTES_MAX))
        self._closed = False
        self._read_pending = False
        reactor.watch(sock.fileno(), self._on_events)

    def __repr__(self) -> str:
        return f"<IpcChannel fd={self._sock.fileno()}, {len(self._outbox)} queued{', closed' if self._closed else ''}>"

    def send(self, data: bytes, socks: Sequence[socket.socket] = ()) -> bool:
        """Send a message and give `socks` away; return False, leaving them to the caller, if the other end is closed or too slow.

        Raises:
            MisuseError: more than DESCRIPTORS_MAX sockets.
        """
        if len(socks) > DESCRIPTORS_MAX:
            raise MisuseError(f"{len(socks)} sockets in one message: expected at most {DESCRIPTORS_MAX}")
        if self._closed or len(self._outbox) >= QUEUED_MAX or (socks and self._outbox_with_fds >= QUEUED_WITH_FDS_MAX):
            return False
        if not self._outbox:
            try:
                self._send_now(data, socks)
            except BlockingIOError:
                pass
            except OSError as exc:
                log.debug("message send failed", reason=exc)
                return False
            else:
                return True
        self._outbox.append((data, socks))
        self._outbox_with_fds += bool(socks)
        self._want_write()
        return True

    @property
    def queued(self) -> int:
        """Number of messages queued for a slow reader."""
        return len(self._outbox)

    def drain(self) -> None:
        """Process all messages that have arrived."""
        while self._read_one():
            pass

    def close(self) -> None:
        """Close this end and all sockets still queued; may be called twice. `on_lost` is not called."""
        if self._closed:
            return
        self._closed = True
        self._reactor.unwatch(self._sock.fileno())  # the other processes' copies would keep it in the poller
        self._reactor.discard(self._sock)
        for _, socks in self._outbox:
            for sock in socks:
                self._reactor.discard(sock)
        self._outbox.clear()

    def abort(self) -> None:
        """Close; the reactor calls this after a failed callback, when the two ends are out of step."""
        self._fail()

    def _fail(self) -> None:
        if not self._closed:
            self.close()
            self._on_lost()

    def _on_events(self, _mask: int) -> None:
        self._flush()
        if not self._read_pending:
            self._read_some()

    def _read_some(self) -> None:
        self._read_pending = False
        self._before_read()
        for _ in range(READS_A_TURN):
            if not self._read_one():
                return
        self._read_pending = True
        self._reactor.call_soon(self._read_some)

    def _read_one(self) -> bool:
        """Process one message; return False if there is none."""
        if self._closed:
            return False
        try:
            count, ancillary, flags, _ = self._sock.recvmsg_into([self._buffer], _SPACE, _FLAGS)
        except (BlockingIOError, InterruptedError):
            if self._reactor.level_poller is not None:
                self._reactor.level_poller.want_read(self._sock.fileno())
            return False
        except OSError as exc:
            log.debug("IPC connection broke", reason=exc)
            self._fail()
            return False
        socks = _sockets(ancillary, self._make_socket)
        if not count:
            self._fail()
            return False
        if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
            log.warning("message truncated, descriptors lost; the descriptor limit may be reached")
        try:
            self._on_message(self._buffer[:count], socks)
        except Exception as exc:  # noqa: BLE001 - a bug in one message must not cost all others their connection
            log.error("message processing failed", exc=exc)  # noqa: TRY400 - our log takes the traceback
        return True

    def _flush(self) -> None:
        outbox = self._outbox
        while outbox:
            data, socks = outbox[0]
            try:
                self._send_now(data, socks)
            except BlockingIOError:
                self._want_write()
                return
            except OSError as exc:
                log.debug("message send failed", reason=exc)
                self._fail()
                return
            outbox.popleft()
            self._outbox_with_fds -= bool(socks)

    def _send_now(self, data: bytes, socks: Sequence[socket.socket]) -> None:
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sock.fileno() for sock in socks]))] if socks else []
        self._sock.sendmsg([data], ancillary)
        for sock in socks:
            self._reactor.discard(sock)

    def _want_write(self) -> None:
        if self._reactor.level_poller is not None:
            self._reactor.level_poller.want_write(self._sock.fileno())


def _sockets(ancillary: list[tuple[int, int, bytes]], make_socket: MakeSocket = any_socket) -> list[socket.socket]:
    """Return the sockets of all received descriptors."""
    found: list[socket.socket] = []
    for level_poller, kind, data in ancillary:
        if level_poller == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers = array.array("i")
            numbers.frombytes(data[: len(data) - len(data) % numbers.itemsize])
            found += [make_socket(number) for number in numbers]
    return found
