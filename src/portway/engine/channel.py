"""The contract of a channel: a non-blocking two-way byte path that a relay can join to another."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from portway.engine.accounts import Account

BLOCKED = -1
"""What `recv_into` returns when nothing is there yet: `on_readable` will be called."""

HEADROOM_BYTES = 12
"""Free bytes that a pump leaves in front of what it reads, for channels with `wants_headroom` (a yamux header)."""


CHANNEL_SLOTS = ("on_broken", "on_readable", "on_writable", "readable")
"""The attributes of every channel; each kind has them in its own `__slots__`, so that it may have another base too."""


def nothing() -> None:
    """Stand in for a callback that nobody has set yet."""


class Channel(ABC):
    """A two-way byte path that never blocks and never queues without a bound.

    The rules that every kind keeps, and that the contract suite checks:

    * Callbacks are hints, called from the reactor only, never from inside a call on the same channel. A callback may
      come without a reason, and whoever sets one tries once at once, because the event may have been before.
    * A receiver reads until `recv_into` returns `BLOCKED` (or `readable` is False), or queues itself with
      `Reactor.call_soon`: the next `on_readable` comes only for news.
    * `room()` returning 0 is a promise to call `on_writable` as soon as there is room again. A `send` that took less than
      it was offered is none: whoever wants to wait asks `room()`.
    * `recv_into` returns 0 only for the peer's own, proper end. Anything else that ends the bytes raises
      `BrokenChannel`, so that a truncated stream can never look complete.
    * `shutdown_write` ends one way after all bytes taken by `send` have gone out; the other way lives on.
    * `abort` tells the peer that something broke (RST). `close` gives the channel back; both may be called twice.
      After either, no callback comes any more.
    """

    __slots__ = ()

    can_peek: bool = False
    """True when received bytes may be looked at in place with `peek` and `consume` (a mux stream, memory)."""

    wants_headroom: bool = False
    """True when `send_headroom` saves a copy for large payloads."""

    send_window: int = 0
    """What the peer still takes, where the kind counts it (a mux stream); grows while it reads."""

    account: Account | None = None
    """Who is charged for turns on this channel's behalf, where the kind knows it (a mux stream, a link)."""

    untouched: bool = False
    """True once the peer, an agent, has ended the channel and said that nothing was written to its origin since that spoke last."""

    switched: bool = False
    """True once the peer, a server, has said that the channel carries no HTTP any more."""

    readable: bool
    """False when `recv_into` would surely return `BLOCKED`. Kept by the channel; a plain attribute, as pumps ask often."""

    on_readable: Callable[[], None]
    """Bytes, the end, or a break may be there to receive."""
    on_writable: Callable[[], None]
    """There may be room again after `room()` was 0."""
    on_broken: Callable[[], None]
    """The channel broke while nobody was reading it; the next `recv_into` or `send` raises."""

    @abstractmethod
    def recv_into(self, buffer: memoryview) -> int:
        """Fill `buffer` from its start; return the count, 0 at the peer's end, or `BLOCKED`.

        Raises:
            BrokenChannel: the bytes ended without a proper end.
        """

    @abstractmethod
    def room(self) -> int:
        """Return how many bytes `send` surely considers now; 0 arms `on_writable`."""

    @abstractmethod
    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Take bytes from the front of `data`; return how many (0: no room now). Never keeps a view of `data`.

        Raises:
            BrokenChannel: the peer is gone.
        """

    @abstractmethod
    def shutdown_write(self) -> None:
        """Say that no more bytes follow, after those already taken."""

    @abstractmethod
    def abort(self) -> None:
        """End both ways at once, visibly as an error to the peer."""

    @abstractmethod
    def close(self) -> None:
        """Give the channel back. Bytes already taken by `send` still go out where the kind can do so."""

    def say_untouched(self) -> None:  # noqa: B027 - most kinds have no way to say so, and need none
        """Say `untouched` to the peer with the end or the abort that follows, where the kind can."""

    def say_switched(self) -> None:  # noqa: B027
        """Say `switched` to the peer, where the kind can."""

    def unsent_bytes(self) -> int | None:
        """Return how many bytes that `send` took the peer's system has not got yet; None where that cannot be known."""
        return None

    def waiting_bytes(self) -> int:
        """Return how many bytes that `send` took this process still keeps, where the kind does so (TLS: as ciphertext)."""
        return 0

    def peek(self) -> memoryview | None:
        """Return the bytes received and not yet consumed, or None; valid until `consume`. Only where `can_peek`.

        After None, `ended` tells whether more can come.

        Raises:
            BrokenChannel: nothing is left and the bytes ended without a proper end.
        """
        raise NotImplementedError

    def consume(self, count: int) -> None:
        """Drop `count` bytes of the last `peek` (0 is fine) and let go of its view. Only where `can_peek`."""
        raise NotImplementedError

    @property
    def ended(self) -> bool:
        """True once everything was consumed and the peer has properly ended. Only where `can_peek`."""
        raise NotImplementedError

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Send `buffer[HEADROOM_BYTES : HEADROOM_BYTES + count]`, free to overwrite what is before it.

        Only where `wants_headroom`. Takes all of it when `count <= room()`; returns the count taken.
        """
        return self.send(buffer[HEADROOM_BYTES : HEADROOM_BYTES + count])
