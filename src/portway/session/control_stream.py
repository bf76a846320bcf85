"""Control messages over a channel, for coroutines: receive, send, close gracefully."""

import asyncio
from collections import deque
from dataclasses import dataclass

from portway.engine.channel import BLOCKED, Channel
from portway.engine.memory_budget import MemoryBudget
from portway.engine.reactor import Reactor
from portway.errors import PeerError, UnavailableError
from portway.protocol.control.framing import POST_LOGIN_BYTES_MAX, MessageReader
from portway.protocol.control.messages import Message, decode_message, encode_message
from portway.session.control_account import ControlAccount

INBOX_MAX = 32
"""Messages received and not yet consumed; above it the channel is not read, and its window stops the peer."""

INBOX_BYTES_MAX = 16 * 1024
"""The same in bytes: a hundred claims. With the message that exceeds it, and an incomplete one, at most 150 kB."""

MESSAGE_COST_BYTES = 64
"""Memory of a received message besides its bytes: a bytes object and a slot in the queue."""

OUTBOX_BYTES_MAX = 128 * 1024
"""Bytes that wait for the peer to read, beyond the 256 KiB of its window: two full messages. The replies to a thousand claims fit
into the window. A peer with more than that has stopped reading."""

READ_BYTES = 4096
"""Bytes read from the channel at a time: the largest message before the login (framing.PRE_LOGIN_BYTES_MAX)."""

CLOSE_S_MAX = 1.0
"""How long `close_gracefully` waits until the peer has read everything; after that the stream is reset."""


class ControlStream:
    """One end of a control stream. One coroutine receives; any code may send, which never waits, and close.

    Cancelling a `receive` loses nothing: the next one returns what has arrived meanwhile.
    """

    def __init__(self, channel: Channel, reactor: Reactor, account: ControlAccount | None = None) -> None:
        """Take over the channel. Only small messages are accepted until `allow_large_messages`. `account` bounds what is buffered."""
        self._channel = channel
        self._reactor = reactor
        self._account = account
        self._reader = MessageReader()
        self._inbox: deque[bytes] = deque()
        self._inbox_bytes = 0
        self._full = self._trusted = self._closed = False
        self._outbox = bytearray()
        self._end: _End | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._finishing = self._closing = False
        if account is not None:
            account.on_exceeded = self._exceed
        channel.on_readable = self._pull
        channel.on_writable = self._push
        channel.on_broken = self._pull
        reactor.call_soon(self._pull)

    @property
    def lost(self) -> bool:
        """True once nothing more can be received or sent."""
        return self._end is not None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that wait for the peer to read; optional messages are omitted when there are many."""
        return len(self._outbox)

    def allow_large_messages(self) -> None:
        """Accept messages of full size from now on, because the peer has authenticated."""
        self._reader.bytes_max = POST_LOGIN_BYTES_MAX
        self._trusted = True

    def use_budget(self, budget: MemoryBudget) -> None:
        """Count buffered bytes in `budget` from now on."""
        if self._account is not None:
            self._account.authenticate(budget)

    def send(self, message: Message) -> None:
        """Send a message in order; returns immediately.

        Raises:
            UnavailableError: the stream is lost or being closed, or the peer does not read.
        """
        if self._closing:
            raise UnavailableError("this end is closing the control stream")
        if self._end is not None and (self._closed or self._end.kind is UnavailableError):
            raise UnavailableError(f"the control stream is lost: {self._end.reason}")
        self._outbox += encode_message(message)
        if len(self._outbox) > OUTBOX_BYTES_MAX:
            self.abort(f"the peer left {len(self._outbox)} bytes unread; at most {OUTBOX_BYTES_MAX} are buffered")
            raise UnavailableError("the peer does not read its control stream")
        self._push()
        self._update_account()

    async def receive(self, deadline_s: float | None = None) -> Message:
        """Return the next message, within `deadline_s`; None: no deadline, because the link's pings watch the peer.

        Raises:
            UnavailableError: nothing arrived in time, or the stream is lost.
            PeerError: invalid bytes arrived; a BadMessageError leaves the stream usable.
        """
        try:
            async with asyncio.timeout(deadline_s):
                while not self._inbox:
                    if self._end is not None:
                        raise self._end.kind(self._end.reason)
                    await self._wait_for_change()
        except TimeoutError:
            raise UnavailableError(f"no message came within {deadline_s:g} s") from None
        body = self._inbox.popleft()
        self._inbox_bytes -= len(body) + MESSAGE_COST_BYTES
        if self._full and self._may_read():
            self._full = False
            self._reactor.call_soon(self._pull)
        self._update_account()
        return decode_message(body)

    async def close_gracefully(self, message: Message | None = None, timeout_s: float | None = None) -> None:
        """Send a last message, wait at most `timeout_s` (default 1 s) until the peer has closed its side too, then close.

        Does not raise when the peer is already gone.
        """
        try:
            if message is not None:
                self.send(message)
            self._finishing = self._closing = True
            self._push()
            async with asyncio.timeout(CLOSE_S_MAX if timeout_s is None else timeout_s):
                while self._end is None:
                    self._discard_inbox()
                    self._reactor.call_soon(self._pull)
                    await self._wait_for_change()
        except (UnavailableError, TimeoutError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Close the channel; may be called twice. A pending `receive` raises UnavailableError."""
        self._finish_with(UnavailableError, "this end closed the control stream")
        self._channel.close()
        self._release()

    def abort(self, reason: str = "aborted") -> None:
        """Reset the stream; the reactor also calls this after a failed callback."""
        self._finish_with(UnavailableError, f"the control stream was reset: {reason}")
        self._channel.abort()
        self._release()

    def _exceed(self, reason: str) -> None:
        """End the stream because too much is buffered: after the login with a reset, before it so that a refusal can still be sent."""
        self._discard_inbox()
        self._finish_with(PeerError, reason)
        if self._trusted:
            self._channel.abort()
            self._release()

    def _release(self) -> None:
        """Free all buffers, because the channel is closed."""
        self._closed = True
        self._outbox = bytearray()
        if self._account is not None:
            self._account.close()

    def _update_account(self) -> None:
        if self._account is not None:
            self._account.set_stream_bytes(self._inbox_bytes + self._reader.buffered_bytes + len(self._outbox))

    def _may_read(self) -> bool:
        return len(self._inbox) < INBOX_MAX and self._inbox_bytes < INBOX_BYTES_MAX

    def _discard_inbox(self) -> None:
        self._inbox.clear()
        self._inbox_bytes = 0
        self._full = False

    async def _wait_for_change(self) -> None:
        """Wait until the inbox or the end may have changed."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def _pull(self) -> None:
        """Read from the channel as long as the inbox is not full."""
        buffer = self._reactor.scratch_body[:READ_BYTES]
        try:
            while self._end is None:
                if not self._may_read():
                    self._full = True
                    break
                count = self._channel.recv_into(buffer)
                if count == BLOCKED:
                    break
                if count == 0:
                    self._on_peer_end()
                    return
                for body in self._reader.feed(buffer[:count]):
                    self._inbox.append(body)
                    self._inbox_bytes += len(body) + MESSAGE_COST_BYTES
        except PeerError as error:
            self._finish_with(PeerError, str(error))
            return
        except UnavailableError as error:
            self._finish_with(UnavailableError, str(error))
            self._channel.close()
            self._release()
            return
        self._update_account()
        if self._inbox:
            self._wake()

    def _on_peer_end(self) -> None:
        if self._reader.buffered_bytes:
            self._finish_with(PeerError, f"the control stream ended {self._reader.buffered_bytes} bytes into a message")
        else:
            self._finish_with(_PeerClosedError, "the peer closed the control stream")

    def _push(self) -> None:
        """Send the outbox, as far as the channel accepts it."""
        try:
            while self._outbox and self._channel.room():
                sent = self._channel.send(bytes(self._outbox[:READ_BYTES]))
                if not sent:
                    return
                del self._outbox[:sent]
        except UnavailableError as error:
            self._finish_with(UnavailableError, str(error))
            self._channel.close()
            self._release()
            return
        if self._finishing and not self._outbox:
            self._finishing = False
            self._channel.shutdown_write()

    def _finish_with(self, kind: type[UnavailableError | PeerError], reason: str) -> None:
        if self._end is None:
            self._end = _End(kind, reason)
        self._wake()

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(frozen=True, slots=True)
class _End:
    """Why the stream ended. Not an exception, whose traceback would keep the link's buffers alive as long as this stream."""

    kind: type[UnavailableError | PeerError]
    reason: str


class _PeerClosedError(UnavailableError):
    """The peer has closed its side properly; it may still read."""
