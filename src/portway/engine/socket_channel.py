"""A connected TCP or unix socket as a channel."""

import errno
import socket
import struct
from collections.abc import Callable

from portway.engine.channel import BLOCKED, CHANNEL_SLOTS, Channel, nothing
from portway.engine.poller import BROKEN, GONE, MAY_WRITE, READABLE, URGENT
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.engine.unsent import unsent_bytes
from portway.errors import BrokenChannel

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
"""SO_LINGER on, zero seconds: close sends RST instead of FIN (socket(7))."""
END_ON_CLOSE = struct.pack("ii", 0, 0)
"""SO_LINGER off: close sends FIN, after what the kernel still has."""

_HUNG_UP = GONE | URGENT
"""After these a short read does not mean a dry socket. Urgent data (telnet, FTP's ABOR) too: reads stop short before it."""
_READ = READABLE | _HUNG_UP


def set_close_mode(sock: socket.socket, linger: bytes) -> None:
    """Choose what the peer sees when the last descriptor of `sock` is closed: RESET_ON_CLOSE or END_ON_CLOSE."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    except OSError:
        pass  # some systems refuse a socket that is dead already; it needs neither


class SocketChannel(Channel):
    """Takes over a connected, non-blocking socket.

    A short read means that the socket is dry, so the EAGAIN that edge triggering asks for is not paid for: unless the
    peer's FIN, a reset or urgent data has been seen, after which everything is read to its end. A level-triggered poller
    sees none of these, and need not: asked after a short read, it tells at once that there is more.

    The socket is set to reset on close, unless it `resets` already as those do that come from `listen`, and only `close`
    takes that back: when this process dies, the kernel closes for it, and with FIN the peer would take what it has for
    the whole.

    A unix socket has no RST: there `abort` is an ordinary close, which its peer sees as an error only while bytes that
    it sent were still unread.
    """

    __slots__ = (*CHANNEL_SLOTS, "_blocked", "_closed", "_hung_up", "_level", "_reactor", "_reset", "_sock")

    def __init__(self, reactor: Reactor, sock: socket.socket, *, resets: bool = False) -> None:
        """Watch `sock` from now on."""
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self._reactor = reactor
        self._level = reactor.level
        self._sock = sock
        self._blocked = False
        self._closed = False
        self._hung_up = False
        self._reset = False
        if not resets:
            set_close_mode(sock, RESET_ON_CLOSE)
        reactor.watch(sock.fileno(), self._on_events)

    def __repr__(self) -> str:
        return f"<SocketChannel fd={self._sock.fileno()}{' closed' if self._closed else ''}>"

    def recv_into(self, buffer: memoryview) -> int:
        """Receive straight from the socket."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        try:
            count = self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            self.readable = False
            if self._level is not None:
                self._level.want_read(self._sock.fileno())
            return BLOCKED
        except OSError as exc:
            raise BrokenChannel(f"cannot read: {exc.strerror or exc}") from exc
        if count < len(buffer) and not self._hung_up:
            self.readable = False
            if self._level is not None and count:
                self._level.want_read(self._sock.fileno())
        elif not count:
            self.readable = False
        if not count and self._reset:
            raise BrokenChannel("the connection was reset")
        return count

    def room(self) -> int:
        """Return a helping, or 0 while the kernel's buffer is full."""
        return 0 if self._blocked else TURN_BYTES

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Send straight to the socket."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        try:
            count = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            self._block()
            return 0
        except OSError as exc:
            # The kernel tells of a reset once. EPIPE is what comes after the peer's own end: what it had said is whole.
            self._reset = self._reset or exc.errno != errno.EPIPE
            raise BrokenChannel(f"cannot write: {exc.strerror or exc}") from exc
        if count < len(data):
            self._block()
        return count

    def unsent_bytes(self) -> int | None:
        """Return what the kernel still holds."""
        return 0 if self._closed else unsent_bytes(self._sock)

    def shutdown_write(self) -> None:
        """Send FIN after what is in the kernel's buffer."""
        if not self._closed:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                # Gone already: whoever reads this channel hears of it there.
                self._hung_up = self.readable = True

    def abort(self) -> None:
        """Close with RST."""
        if not self._closed:
            self._leave()

    def close(self) -> None:
        """Close with FIN; the kernel still sends what it has."""
        if not self._closed:
            set_close_mode(self._sock, END_ON_CLOSE)
            self._leave()

    def hand_over(self, give: Callable[[socket.socket], bool]) -> bool:
        """End this channel and nothing else when `give` takes the socket, which is its own then; else go on as before."""
        if self._closed:
            return False
        fd = self._sock.fileno()
        self._reactor.unwatch(fd)  # where it goes on, it would stay in this poller
        if not give(self._sock):
            self._reactor.watch(fd, self._on_events)
            return False
        self._retire()
        return True

    def mark_drained(self) -> None:
        """Take the socket for dry until it says otherwise, as it does at once if it is not: somebody else has read it just now."""
        self.readable = False
        if self._level is not None:
            self._level.want_read(self._sock.fileno())

    def _block(self) -> None:
        self._blocked = True
        if self._level is not None:
            self._level.want_write(self._sock.fileno())

    def _leave(self) -> None:
        self._retire()
        self._reactor.discard(self._sock)

    def _retire(self) -> None:
        self._closed = True
        self.readable = False
        self.on_readable = self.on_writable = self.on_broken = nothing

    def _on_events(self, mask: int) -> None:
        if mask & _READ:
            if mask & _HUNG_UP:
                self._hung_up = True
            self.readable = True
            self.on_readable()
        if self._blocked and mask & MAY_WRITE:
            self._blocked = False
            self.on_writable()
        if mask & BROKEN:
            self.on_broken()
