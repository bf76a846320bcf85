"""A connected TCP or unix socket as a channel."""

import errno
import os
import socket
import struct
import sys
from collections.abc import Callable

from portway.engine.channel import BLOCKED, CHANNEL_SLOTS, UNSUPPORTED, Channel, nothing
from portway.engine.pipe_pool import can_splice
from portway.engine.poller import BROKEN, GONE, MAY_WRITE, READABLE, URGENT, WRITABLE
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.errors import BrokenChannel

try:
    import fcntl
    import termios
except ImportError:  # not a Unix system
    has_outq = False
else:
    has_outq = True

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: close sends RST instead of FIN (socket(7))."""
END_ON_CLOSE = struct.pack("ii", 0, 0)
"""SO_LINGER off: close sends FIN, after the data that the kernel has buffered."""

_SPLICE_FLAGS = os.SPLICE_F_NONBLOCK | os.SPLICE_F_MOVE if can_splice else 0
_CANNOT_SPLICE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM}
"""Errors of a system, or of a sandbox, that has no splice for sockets."""

_HUNG_UP = GONE | URGENT
"""After these events a short read does not mean a drained socket. Urgent data (telnet, FTP's ABOR) also causes short reads."""
_READ = READABLE | _HUNG_UP
_READ_ONLY = READABLE | WRITABLE
"""The mask of epoll for arrived bytes, because a socket that is not blocked is always writable."""


def set_close_mode(sock: socket.socket, linger: bytes) -> None:
    """Set what the peer sees when the last descriptor of `sock` is closed: RESET_ON_CLOSE or END_ON_CLOSE."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except OSError:
        pass  # some systems reject the option on a broken socket, which needs neither


def kernel_unsent_bytes(sock: socket.socket) -> int | None:
    """Return the bytes that are not sent or not acknowledged yet (SIOCOUTQ, tcp(7)), or None where the system cannot report them."""
    if not has_outq:
        return None
    try:
        return int.from_bytes(fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
    except OSError:  # macOS supports this for terminals only
        return None


class SocketChannel(Channel):
    """A channel on a connected, non-blocking socket, which it owns.

    A short read means that the socket is drained, which saves the final EAGAIN that edge triggering otherwise requires; unless
    the peer's FIN, a reset or urgent data was reported, after which everything is read to its end. A level-triggered poller
    reports none of these and need not: armed after a short read, it reports more data at once.

    The socket is set to reset on close, unless `resets` says that it already is (as those from `listen`), and only `close`
    changes that: when this process is killed, the kernel closes the socket, and with FIN the peer would take truncated data
    for complete.

    A unix socket has no RST: there `abort` is an ordinary close, which its peer sees as an error only if bytes that it sent
    were still unread.
    """

    __slots__ = (*CHANNEL_SLOTS, "_closed", "_hung_up", "_level_poller", "_reactor", "_reset", "_sock", "blocked")

    can_splice = can_splice

    def __init__(self, reactor: Reactor, sock: socket.socket, *, resets: bool = False) -> None:
        """Watch `sock` from now on."""
        self.on_readable = self.on_writable = self.on_broken = nothing
        self._reactor = reactor
        self._level_poller = reactor.level_poller
        self._sock = sock
        self.blocked = False
        """True while the kernel's buffer is full; `on_writable` follows."""
        self._closed = False
        self._hung_up = False
        self._reset = False
        if not resets:
            set_close_mode(sock, RESET_ON_CLOSE)
        self.readable = not reactor.watch(sock.fileno(), self._on_events)

    def __repr__(self) -> str:
        return f"<SocketChannel fd={self._sock.fileno()}{' closed' if self._closed else ''}>"

    def recv_into(self, buffer: memoryview) -> int:
        """Receive directly from the socket."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        try:
            count = self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            self.readable = False
            if self._level_poller is not None:
                self._level_poller.want_read(self._sock.fileno())
            return BLOCKED
        except OSError as exc:
            raise BrokenChannel(f"cannot read: {exc.strerror or exc}") from exc
        if count < len(buffer) and not self._hung_up:
            self.readable = False
            if self._level_poller is not None and count:
                self._level_poller.want_read(self._sock.fileno())
        elif not count:
            self.readable = False
        if not count and self._reset:
            raise BrokenChannel("the connection was reset")
        return count

    def room(self) -> int:
        """Return one turn's bytes, or 0 while the kernel's buffer is full."""
        return 0 if self.blocked else TURN_BYTES

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Send directly to the socket."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        try:
            count = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self._block()
            return 0
        except OSError as exc:
            # The kernel reports a reset only once. EPIPE follows the peer's own end: what it sent is complete.
            self._reset = self._reset or exc.errno != errno.EPIPE
            raise BrokenChannel(f"cannot write: {exc.strerror or exc}") from exc
        if count < len(data):
            self._block()
        return count

    def splice_into(self, pipe: int, count: int) -> int:
        """Splice from the socket. Bytes in front of urgent data cannot be spliced past it, which looks like an end: `recv_into` decides."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        try:
            return os.splice(self._sock.fileno(), pipe, count, flags=_SPLICE_FLAGS)
        except (BlockingIOError, InterruptedError):
            self.readable = False
            if self._level_poller is not None:
                self._level_poller.want_read(self._sock.fileno())
            return BLOCKED
        except OSError as exc:
            if exc.errno in _CANNOT_SPLICE:
                return UNSUPPORTED
            raise BrokenChannel(f"cannot read: {exc.strerror or exc}") from exc

    def splice_from(self, pipe: int, count: int) -> int:
        """Splice to the socket."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        try:
            sent = os.splice(pipe, self._sock.fileno(), count, flags=_SPLICE_FLAGS)
        except (BlockingIOError, InterruptedError):
            self._block()
            return 0
        except OSError as exc:
            if exc.errno in _CANNOT_SPLICE:
                return UNSUPPORTED
            self._reset = self._reset or exc.errno != errno.EPIPE  # as in `send`
            raise BrokenChannel(f"cannot write: {exc.strerror or exc}") from exc
        if sent < count:
            self._block()
        return sent

    def unsent_bytes(self) -> int | None:
        """Return the bytes in the kernel's buffer."""
        return 0 if self._closed else kernel_unsent_bytes(self._sock)

    def shutdown_write(self) -> None:
        """Send FIN after the data in the kernel's buffer."""
        if not self._closed:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                # Already broken: the reader of this channel gets the error.
                self._hung_up = self.readable = True

    def abort(self) -> None:
        """Close with RST."""
        if not self._closed:
            self._discard()

    def close(self) -> None:
        """Close with FIN; the kernel still sends its buffer."""
        if not self._closed:
            set_close_mode(self._sock, END_ON_CLOSE)
            self._discard()

    def detach(self, give: Callable[[socket.socket], bool]) -> bool:
        """Release the socket to `give`: if it returns True it owns the socket, and this channel is closed; else the channel continues."""
        if self._closed:
            return False
        fd = self._sock.fileno()
        self._reactor.unwatch(fd)  # the socket stays open elsewhere, and would stay in this poller
        if not give(self._sock):
            self._reactor.watch(fd, self._on_events)
            return False
        self._retire()
        return True

    def mark_drained(self) -> None:
        """Treat the socket as drained until the next event, because other code has just read it; remaining data causes an event at once."""
        self.readable = False
        if self._level_poller is not None:
            self._level_poller.want_read(self._sock.fileno())

    def _block(self) -> None:
        self.blocked = True
        if self._level_poller is not None:
            self._level_poller.want_write(self._sock.fileno())

    def _discard(self) -> None:
        self._closed = True  # as `_retire` does
        self.readable = False
        self.on_readable = self.on_writable = self.on_broken = nothing
        self._reactor.discard(self._sock)

    def _retire(self) -> None:
        self._closed = True
        self.readable = False
        self.on_readable = self.on_writable = self.on_broken = nothing

    def _on_events(self, mask: int) -> None:
        if mask == _READ_ONLY and not self.blocked:  # most events
            self.readable = True
            self.on_readable()
            return
        if mask & _READ:
            if mask & _HUNG_UP:
                self._hung_up = True
            self.readable = True
            self.on_readable()
        if self.blocked and mask & MAY_WRITE:
            self.blocked = False
            self.on_writable()
        if mask & BROKEN:
            self.on_broken()
