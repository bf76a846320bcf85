"""Control messages over a channel, for coroutines: receive one, send one, say good-bye."""

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
"""Messages received and not yet asked for; above it the channel is left unread, and its window stops the peer."""

INBOX_BYTES_MAX = 16 * 1024
"""The same in bytes: a hundred claims. With the message that passes it, and one that is not complete, 150 kB at most."""

MESSAGE_COST_BYTES = 64
"""What a received message takes besides its bytes: a bytes object and its place in the queue."""

OUTBOX_BYTES_MAX = 128 * 1024
"""Bytes that wait for the peer to read, beyond the 256 KiB of its window: two full messages. The answers to a thousand claims fit
into the window. A peer that lets more pile up has stopped listening."""

READ_BYTES = 4096
"""Bytes taken from the channel at a time: the largest message before login (framing.PRE_LOGIN_BYTES_MAX)."""

GOODBYE_S = 1.0
"""How long `close_gracefully` waits for the peer to have read it all; a peer that takes longer gets a broken stream."""


class ControlStream:
    """One end of a control stream. One coroutine receives; anybody may send, which never waits, and say good-bye.

    Nothing is lost by cancelling a `receive`: what came meanwhile is there for the next one.
    """

    def __init__(self, channel: Channel, reactor: Reactor, account: ControlAccount | None = None) -> None:
        """Take the channel over. Until `allow_large_messages` is called, only small messages are accepted. `account` bounds what waits here."""
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
        self._finishing = self._said_goodbye = False
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
        """Bytes that wait for the peer to read; what can be left out is, when there are many."""
        return len(self._outbox)

    def allow_large_messages(self) -> None:
        """Accept messages of full size from now on: the peer has proved who it is."""
        self._reader.bytes_max = POST_LOGIN_BYTES_MAX
        self._trusted = True

    def count_in(self, budget: MemoryBudget) -> None:
        """Count what waits here in `budget` from now on."""
        if self._account is not None:
            self._account.authenticate(budget)

    def send(self, message: Message) -> None:
        """Send after all that was sent before; returns at once.

        Raises:
            UnavailableError: the stream is lost or being ended, or the peer does not read what was sent before.
        """
        if self._said_goodbye:
            raise UnavailableError("this end has said good-bye on the control stream")
        if self._end is not None and (self._closed or self._end.kind is UnavailableError):
            raise UnavailableError(f"the control stream is lost: {self._end.reason}")
        self._outbox += encode_message(message)
        if len(self._outbox) > OUTBOX_BYTES_MAX:
            self.abort(f"the peer left {len(self._outbox)} bytes unread, at most {OUTBOX_BYTES_MAX} may wait")
            raise UnavailableError("the peer does not read its control stream")
        self._push()
        self._count()

    async def receive(self, deadline_s: float | None = None) -> Message:
        """Return the next message, waiting `deadline_s` for it, or without an end where the link's pings watch the peer.

        Raises:
            UnavailableError: nothing came in time, or the stream is lost.
            PeerError: something came that is no message; an BadMessageError leaves the stream usable.
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
        if self._full and self._has_room():
            self._full = False
            self._reactor.call_soon(self._pull)
        self._count()
        return decode_message(body)

    async def close_gracefully(self, message: Message | None = None, patience_s: float | None = None) -> None:
        """Send a last message, wait (1 s unless told otherwise) until the peer has ended its side too, then close.

        Never raises for a peer that is gone already: it needs no good-bye.
        """
        try:
            if message is not None:
                self.send(message)
            self._finishing = self._said_goodbye = True
            self._push()
            async with asyncio.timeout(GOODBYE_S if patience_s is None else patience_s):
                while self._end is None:
                    self._drop_inbox()
                    self._reactor.call_soon(self._pull)
                    await self._wait_for_change()
        except (UnavailableError, TimeoutError):
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Give the channel back; may be called twice. A `receive` under way raises UnavailableError."""
        self._finish_with(UnavailableError, "this end closed the control stream")
        self._channel.close()
        self._settle()

    def abort(self, why: str = "aborted") -> None:
        """Break the stream, as the reactor asks after a failed callback."""
        self._finish_with(UnavailableError, f"the control stream was broken off: {why}")
        self._channel.abort()
        self._settle()

    def _exceed(self, reason: str) -> None:
        """End the conversation: too much waits here. A member's memory is freed at once; a stranger is still told why."""
        self._drop_inbox()
        self._finish_with(PeerError, reason)
        if self._trusted:
            self._channel.abort()
            self._settle()

    def _settle(self) -> None:
        """Keep nothing any more: the channel is given back."""
        self._closed = True
        self._outbox = bytearray()
        if self._account is not None:
            self._account.close()

    def _count(self) -> None:
        if self._account is not None:
            self._account.set_own(self._inbox_bytes + self._reader.buffered_bytes + len(self._outbox))

    def _has_room(self) -> bool:
        return len(self._inbox) < INBOX_MAX and self._inbox_bytes < INBOX_BYTES_MAX

    def _drop_inbox(self) -> None:
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
        """Take what the channel has, as long as the inbox has room."""
        buffer = self._reactor.scratch_body[:READ_BYTES]
        try:
            while self._end is None:
                if not self._has_room():
                    self._full = True
                    break
                count = self._channel.recv_into(buffer)
                if count == BLOCKED:
                    break
                if count == 0:
                    self._finish_properly()
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
            self._settle()
            return
        self._count()
        if self._inbox:
            self._wake()

    def _finish_properly(self) -> None:
        if self._reader.buffered_bytes:
            self._finish_with(PeerError, f"the control stream ended {self._reader.buffered_bytes} bytes into a message")
        else:
            self._finish_with(_PeerEndedError, "the peer ended the conversation")

    def _push(self) -> None:
        """Send what waits, as far as the channel takes it."""
        try:
            while self._outbox and self._channel.room():
                sent = self._channel.send(bytes(self._outbox[:READ_BYTES]))
                if not sent:
                    return
                del self._outbox[:sent]
        except UnavailableError as error:
            self._finish_with(UnavailableError, str(error))
            self._channel.close()
            self._settle()
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
    """Why nothing more comes; no exception, as its traceback would keep the link's buffers for as long as this stream lives."""

    kind: type[UnavailableError | PeerError]
    reason: str


class _PeerEndedError(UnavailableError):
    """The peer has said all that it wanted to say; it may still be listening."""
