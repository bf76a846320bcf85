"""A pair of channels joined in memory, for tests and for connections within one process."""

from portway.engine.channel import BLOCKED, CHANNEL_SLOTS, Channel, nothing
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel


class MemoryChannel(Channel):
    """One end of a pair; bytes sent at one end are received at the other, with at most `capacity_bytes` buffered."""

    __slots__ = (*CHANNEL_SLOTS, "_broken", "_capacity_bytes", "_closed", "_ended", "_lent", "_peer", "_reactor", "_received", "_starved")

    can_peek = True

    def __init__(self, reactor: Reactor, capacity_bytes: int) -> None:
        """Create an end without a peer; use `memory_pair`."""
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self._reactor = reactor
        self._capacity_bytes = capacity_bytes
        self._received = bytearray()
        self._lent: memoryview | None = None
        self._peer: MemoryChannel | None = None
        self._ended = False
        self._broken = False
        self._closed = False
        self._starved = False

    @property
    def ended(self) -> bool:
        """True when everything was received and the peer has sent its end."""
        return self._ended and not self._received

    def recv_into(self, buffer: memoryview) -> int:
        """Copy out of the pair's buffer."""
        view = self.peek()
        if view is None:
            return 0 if self._ended else BLOCKED
        count = min(len(view), len(buffer))
        buffer[:count] = view[:count]
        self.consume(count)
        return count

    def peek(self) -> memoryview | None:
        """Return a view of the received bytes."""
        if self._closed:
            raise BrokenChannel("this end is closed")
        if not self._received:
            if self._broken:
                raise BrokenChannel("the other end has closed")
            self.readable = False
            return None
        self._lent = memoryview(self._received)
        return self._lent

    def consume(self, count: int) -> None:
        """Drop the front, and let the peer send again."""
        if self._lent is not None:
            self._lent.release()
            self._lent = None
        del self._received[:count]
        peer = self._peer
        if count and peer is not None and peer._starved:
            peer._starved = False
            self._reactor.call_soon(peer._writable)

    def room(self) -> int:
        """Return the free space of the peer's buffer."""
        peer = self._peer
        room = 1 if peer is None or peer._broken else self._capacity_bytes - len(peer._received)
        self._starved = room <= 0
        return max(room, 0)

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Copy into the peer's buffer."""
        peer = self._peer
        if self._closed:
            raise BrokenChannel("this end is closed")
        if self._broken or peer is None:
            raise BrokenChannel("the other end has closed")
        count = min(self.room(), len(data))
        if count < len(data):
            self._starved = True
        if count:
            peer._received += data[:count]
            self._reactor.call_soon(peer._readable)
        return count

    def shutdown_write(self) -> None:
        """Let the peer see the end after the bytes it still has to receive."""
        peer = self._peer
        if peer is not None and not self._closed and not peer._ended:
            peer._ended = True
            self._reactor.call_soon(peer._readable)

    def abort(self) -> None:
        """Break the peer, whose unread bytes are lost."""
        self._retire()
        peer = self._peer
        if peer is not None:
            peer._received = bytearray()
            peer._ended = False
            self._detach_peer(peer)

    def close(self) -> None:
        """Close; a peer that has not received the end sees a break after its bytes."""
        self._retire()
        peer = self._peer
        if peer is not None:
            self._detach_peer(peer)

    def _retire(self) -> None:
        self.readable = False
        self._closed = True

    def _detach_peer(self, peer: "MemoryChannel") -> None:
        self._peer = None
        if not peer._closed:
            peer._peer = None if peer._peer is self else peer._peer
            peer._broken = not peer._ended
            self._reactor.call_soon(peer._on_peer_gone)

    def _readable(self) -> None:
        if not self._closed:
            self.readable = True
            self.on_readable()

    def _writable(self) -> None:
        if not self._closed:
            self.on_writable()

    def _on_peer_gone(self) -> None:
        self._readable()
        if not self._closed:
            self.on_broken()  # after a proper end too: otherwise a writer would wait for room without end


def memory_pair(reactor: Reactor, capacity_bytes: int = 65536) -> tuple[MemoryChannel, MemoryChannel]:
    """Return two joined channels that buffer at most `capacity_bytes` per direction."""
    left, right = MemoryChannel(reactor, capacity_bytes), MemoryChannel(reactor, capacity_bytes)
    left._peer, right._peer = right, left
    return left, right
