"""A channel to a target that is still being connected: what is sent waits at its sender."""

from collections.abc import Callable

from portway.engine.accounts import Account
from portway.engine.channel import BLOCKED, Channel, nothing
from portway.errors import BrokenChannel, MisuseError


class ConnectingChannel(Channel):
    """Accepts nothing until `attach`; afterwards it is the attached channel under another name.

    The HTTP exchange opens its connection and sends its request in one step, because at an edge the stream exists at once. Here a
    connect takes a while and may fail. Nothing is buffered meanwhile: `room` is 0, which the exchange handles like a full socket.

    Methods of the attached channel replace those of this object, so that each call costs as much as without it. It never lends its
    bytes (`can_peek`), as readers check that before the connect.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        """`cancel` stops the connect."""
        self._cancel = cancel
        self._channel: Channel | None = None
        self._ended = self._closed = False
        self._on_readable = self._on_writable = self._on_broken = nothing

    def __repr__(self) -> str:
        return f"<ConnectingChannel {'closed' if self._closed else 'connecting' if self._channel is None else self._channel!r}>"

    def attach(self, channel: Channel) -> None:
        """Use `channel`, which is connected; call it once, unless this channel was closed."""
        if self._channel is not None or self._closed:
            raise MisuseError("attached twice, or after the end")
        self._channel = channel
        self._cancel = nothing
        self.recv_into = channel.recv_into  # type: ignore[method-assign]
        self.room = channel.room  # type: ignore[method-assign]
        self.send = channel.send  # type: ignore[method-assign]
        self.send_headroom = channel.send_headroom  # type: ignore[method-assign]
        self.shutdown_write = channel.shutdown_write  # type: ignore[method-assign]
        self.abort = channel.abort  # type: ignore[method-assign]
        self.close = channel.close  # type: ignore[method-assign]
        self.unsent_bytes = channel.unsent_bytes  # type: ignore[method-assign]
        self.waiting_bytes = channel.waiting_bytes  # type: ignore[method-assign]
        self.send_window, self.account = channel.send_window, channel.account
        channel.on_readable, channel.on_writable, channel.on_broken = self._on_readable, self._on_writable, self._on_broken
        self._on_readable = self._on_writable = self._on_broken = nothing
        if self._ended:
            channel.shutdown_write()

    @property
    def closed(self) -> bool:
        """True after `abort` or `close` before a channel was attached."""
        return self._closed

    @property
    def readable(self) -> bool:
        """Whether bytes, an end or a break may be available; False before the connect."""
        return self._channel is not None and self._channel.readable

    @readable.setter
    def readable(self, readable: bool) -> None:
        if self._channel is not None:
            self._channel.readable = readable  # type: ignore[misc]

    @property
    def on_readable(self) -> Callable[[], None]:
        """The callback of the attached channel."""
        return self._on_readable if self._channel is None else self._channel.on_readable

    @on_readable.setter
    def on_readable(self, callback: Callable[[], None]) -> None:
        if self._channel is None:
            self._on_readable = callback
        else:
            self._channel.on_readable = callback

    @property
    def on_writable(self) -> Callable[[], None]:
        """The callback of the attached channel."""
        return self._on_writable if self._channel is None else self._channel.on_writable

    @on_writable.setter
    def on_writable(self, callback: Callable[[], None]) -> None:
        if self._channel is None:
            self._on_writable = callback
        else:
            self._channel.on_writable = callback

    @property
    def on_broken(self) -> Callable[[], None]:
        """The callback of the attached channel."""
        return self._on_broken if self._channel is None else self._channel.on_broken

    @on_broken.setter
    def on_broken(self, callback: Callable[[], None]) -> None:
        if self._channel is None:
            self._on_broken = callback
        else:
            self._channel.on_broken = callback

    # -------------------------------------------------------------------------------------- before a channel is attached

    def recv_into(self, buffer: memoryview) -> int:
        """Return BLOCKED."""
        del buffer
        self._check_open()
        return BLOCKED

    def room(self) -> int:
        """Return 0; `on_writable` is called after the connect."""
        return 0

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Accept nothing."""
        del data
        self._check_open()
        return 0

    def shutdown_write(self) -> None:
        """Send the end after the connect: nothing was accepted before it."""
        self._ended = True

    def abort(self) -> None:
        """Stop the connect."""
        self._closed = True
        self._on_readable = self._on_writable = self._on_broken = nothing
        cancel, self._cancel = self._cancel, nothing
        cancel()

    def close(self) -> None:
        """Stop the connect."""
        self.abort()

    def _check_open(self) -> None:
        if self._closed:
            raise BrokenChannel("this end is closed")

    account: Account | None = None
