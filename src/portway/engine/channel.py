"""The contract of a channel: a non-blocking bidirectional byte path that a relay can join to another."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from portway.engine.accounts import Account

BLOCKED = -1
"""Returned by `recv_into` when no data is available yet: `on_readable` will be called."""

UNSUPPORTED = -2
"""Returned by `splice_into` and `splice_from` when the system cannot splice at all: nothing has moved."""

HEADROOM_BYTES = 12
"""Free bytes that a pump leaves in front of what it reads, for channels with `wants_headroom` (a yamux header)."""


CHANNEL_SLOTS = ("on_broken", "on_readable", "on_writable", "readable")
"""The attributes of every channel; each kind lists them in its own `__slots__`, so that it can have a second base class."""


def nothing() -> None:
    """Do nothing: the default of callbacks that are not set."""


class Channel(ABC):
    """A bidirectional byte path that never blocks and never queues without a bound.

    The rules that every kind follows, and that the contract suite checks:

    * Callbacks are hints, called from the reactor only, never from inside a call on the same channel. A callback may
      be spurious. After setting one, try once immediately: the event may have happened before.
    * A receiver reads until `recv_into` returns `BLOCKED` (or `readable` is False), or queues itself with
      `Reactor.call_soon`: `on_readable` is called again only for new events.
    * `room()` returning 0 guarantees a later `on_writable`. A `send` that accepted only a part guarantees nothing:
      call `room()` to wait.
    * `recv_into` returns 0 only for the peer's own, proper end. Any other end of the bytes raises
      `BrokenChannel`, so that a truncated stream can never look complete.
    * `shutdown_write` ends one direction after all bytes accepted by `send` were sent; the other direction continues.
    * `abort` signals a failure to the peer (RST). `close` releases the channel; both may be called twice.
      No callback follows either of them.
    """

    __slots__ = ()

    can_peek: bool = False
    """True when received bytes can be read in place with `peek` and `consume` (a mux stream, memory)."""

    wants_headroom: bool = False
    """True when `send_headroom` saves a copy for large payloads."""

    can_splice: bool = False
    """True when the kernel can move bytes between this channel and a pipe: a socket without TLS, on Linux."""

    send_window: int = 0
    """Bytes that the peer still accepts, where the kind counts them (a mux stream); grows while the peer reads."""

    account: Account | None = None
    """The account charged for turns on behalf of this channel, if it has one (a mux stream, a link)."""

    untouched: bool = False
    """True once the peer, an agent, has ended the channel and reported that nothing was written to the origin since the origin's last byte."""

    switched: bool = False
    """True once the peer, a server, has reported that the channel no longer carries HTTP."""

    readable: bool
    """False when `recv_into` would certainly return `BLOCKED`. Set by the channel; a plain attribute, because pumps read it often."""

    on_readable: Callable[[], None]
    """Called when bytes, the end or a break may be available."""
    on_writable: Callable[[], None]
    """Called when there may be room again after `room()` returned 0."""
    on_broken: Callable[[], None]
    """Called when the channel broke while it was not being read; the next `recv_into` or `send` raises."""

    @abstractmethod
    def recv_into(self, buffer: memoryview) -> int:
        """Fill `buffer` from its start; return the count, 0 at the peer's end, or `BLOCKED`.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """

    @abstractmethod
    def room(self) -> int:
        """Return how many bytes `send` would consider now (it may accept fewer). Returning 0 guarantees a later `on_writable`."""

    @abstractmethod
    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Accept bytes from the front of `data`; return how many (0: no room now). Never keeps a view of `data`.

        Raises:
            BrokenChannel: the peer is gone.
        """

    @abstractmethod
    def shutdown_write(self) -> None:
        """Send the end, after the bytes already accepted."""

    @abstractmethod
    def abort(self) -> None:
        """End both directions at once; the peer sees an error."""

    @abstractmethod
    def close(self) -> None:
        """Release the channel. Bytes already accepted by `send` are still sent where the kind can do so."""

    def mark_untouched(self) -> None:  # noqa: B027 - most kinds cannot signal this, and need not
        """Signal `untouched` to the peer with the end or the abort that follows, where the kind can."""

    def send_switched(self) -> None:  # noqa: B027
        """Signal `switched` to the peer, where the kind can."""

    def unsent_bytes(self) -> int | None:
        """Return the bytes accepted by `send` that the peer's system has not acknowledged yet; None where that is unknown."""
        return None

    def waiting_bytes(self) -> int:
        """Return the bytes accepted by `send` that are still buffered in this process (TLS: as ciphertext)."""
        return 0

    def peek(self) -> memoryview | None:
        """Return the bytes received and not yet consumed, or None; valid until `consume`. Only where `can_peek`.

        After None, `ended` shows whether more can come.

        Raises:
            BrokenChannel: nothing is left and the bytes ended without a proper end.
        """
        raise NotImplementedError

    def consume(self, count: int) -> None:
        """Drop `count` bytes of the last `peek` (0 is allowed) and release its view. Only where `can_peek`."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """True once everything was consumed and the peer has properly ended. Only where `can_peek`."""
        raise NotImplementedError

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Send `buffer[HEADROOM_BYTES : HEADROOM_BYTES + count]`; the headroom may be overwritten.

        Only where `wants_headroom`. Accepts all of it when `count <= room()`; returns the count accepted.
        """
        return self.send(buffer[HEADROOM_BYTES : HEADROOM_BYTES + count])

    def splice_into(self, pipe: int, count: int) -> int:
        """Move up to `count` received bytes into an empty pipe without copying them; return how many, `BLOCKED` or `UNSUPPORTED`.

        0 means that `recv_into` decides: it may be the end, or bytes that cannot be spliced. Only where `can_splice`.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """
        raise NotImplementedError

    def splice_from(self, pipe: int, count: int) -> int:
        """Accept `count` bytes from the front of a pipe, like `send`; return how many, or `UNSUPPORTED`. Only where `can_splice`.

        Raises:
            BrokenChannel: the peer is gone; the bytes are still in the pipe.
        """
        raise NotImplementedError
