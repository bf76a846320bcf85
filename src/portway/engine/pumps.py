"""Pumps: each moves bytes in one direction, from a source channel to a sink channel, at most `TURN_BYTES` per turn."""

from collections.abc import Callable
from typing import Protocol

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.engine.tally import ABORTED, ENDED, READ_BROKE, WRITE_BROKE, Flow
from portway.errors import BrokenChannel
from portway.protocol.work import READ_WORK

LARGE_READ_BYTES = 16 * 1024
"""Reads of this size or more are sent behind their headroom, uncopied; for smaller ones a copy is cheaper than a separate system call
(ADR 0004)."""


class Sink(Protocol):
    """The destination of a pump: a channel, or a gate in front of one. See `Channel` for the rules."""

    @property
    def wants_headroom(self) -> bool:
        """True when `send_headroom` saves a copy for large payloads."""

    def room(self) -> int:
        """Return how many bytes `send` would consider now; 0 guarantees a later call."""

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Accept bytes from the front of `data`; return how many."""

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Send `count` bytes behind the headroom of `buffer`."""

    def splice_from(self, pipe: int, count: int) -> int:
        """Accept bytes from the front of a pipe; only where the channel `can_splice`."""

    def shutdown_write(self) -> None:
        """Send the end."""


class PumpOwner(Protocol):
    """Receives the events of a pump: a relay."""

    def pump_ends(self, pump: "Pump") -> None:
        """Called when the source has ended, before the end goes to the sink."""

    @property
    def account(self) -> Account:
        """The account charged for the pump's turns."""

    def pump_ended(self) -> None:
        """Called when the source has ended and the end went to the sink."""

    def pump_broke(self) -> None:
        """Called when source or sink broke; the pump's `reason` names which."""


class Pump:
    """Base of both kinds: state, turns, the end, the break.

    `run` is the source's `on_readable` and the sink's `on_writable`, and may be called at any time. A pump that is already
    queued ignores further events. Otherwise each new segment would queue it again, and one fast sender would get most
    turns of a round.
    """

    __slots__ = ("_owner", "_reactor", "_sink", "_source", "bytes", "ended_at", "events", "opposite", "queued", "reason", "sent_at_event")

    run: Callable[[], None]

    def __init__(self, reactor: Reactor, source: Channel, sink: Sink, owner: PumpOwner) -> None:
        """Create the pump; nothing moves before `run`."""
        self._reactor = reactor
        self._source = source
        self._sink = sink
        self._owner = owner
        self.queued = False
        self.bytes = 0
        self.events = 0
        """Reads that returned bytes."""
        self.opposite: Pump | _NoOwner = _NO_OWNER
        """The pump of the other direction."""
        self.sent_at_event = -1
        """The `events` count of the opposite pump at this one's last send; -1: nothing was sent."""
        self.reason = ""
        self.ended_at = 0.0
        """Time at which `reason` was set, from the reactor's `now`."""

    def flow(self, started_at: float) -> Flow:
        """Return the counts of this pump; `started_at` is the relay's start."""
        return Flow(self.bytes, self.events, self.reason, (self.ended_at if self.reason else self._reactor.now) - started_at)

    def stop(self, reason: str) -> None:
        """Move nothing more, for `reason`, unless there already is one. The owner is not notified."""
        if not self.reason:
            self.reason = reason
            self.ended_at = self._reactor.now

    def release(self) -> None:
        """Drop the references to the owner, which has ended, and to the other pump."""
        self._owner = self.opposite = _NO_OWNER

    def preload(self, first: bytes) -> None:
        """Move `first`, which was read from the source before, ahead of all other bytes. Only where the source cannot peek."""
        raise NotImplementedError

    def drain(self) -> None:
        """Queue a read even without an event: bytes from before a break may be available."""
        self._source.readable = True  # type: ignore[misc]  # each kind has it in its own slots
        self._queue()

    def abort(self) -> None:
        """End the relay; called by the reactor after a failed callback."""
        self._break(ABORTED)

    def _queue(self) -> None:
        if not self.queued:
            self.queued = True
            self._reactor.call_soon_charged(self._owner.account, self._take_turn)

    def _take_turn(self) -> None:
        self.queued = False
        self.run()

    def _break(self, reason: str) -> None:
        if not self.reason:
            self.stop(reason)
            self._owner.pump_broke()

    def _finish(self) -> None:
        self.stop(ENDED)
        self._owner.pump_ends(self)
        self._sink.shutdown_write()
        self._owner.pump_ended()


class _NoOwner:
    """The owner of a pump whose relay has ended, and the default opposite pump."""

    events = 0
    reason = ""

    def pump_ends(self, pump: Pump) -> None:
        """Do nothing."""

    account = Account()

    def pump_ended(self) -> None:
        """Do nothing."""

    def pump_broke(self) -> None:
        """Do nothing."""


_NO_OWNER = _NoOwner()


class CopyPump(Pump):
    """Reads into the reactor's scratch buffer and sends from there.

    Only bytes that the sink did not accept are copied to a separate buffer, at most one read.
    """

    __slots__ = ("_unsent",)

    def __init__(self, reactor: Reactor, source: Channel, sink: Sink, owner: PumpOwner) -> None:
        """Create the pump without a buffer."""
        super().__init__(reactor, source, sink, owner)
        self._unsent: memoryview | None = None

    def preload(self, first: bytes) -> None:
        """Move `first` ahead of what is read from now on, and count it as one read."""
        self._unsent = memoryview(first)
        self.bytes += len(first)
        self.events += 1

    def run(self) -> None:
        """Move at most one turn's bytes, or until source or sink has to wait."""
        if self.queued or self.reason:
            return
        source, sink, reactor = self._source, self._sink, self._reactor
        doing = WRITE_BROKE
        moved = 0
        try:
            if self._unsent is not None and not self._send_unsent():
                return
            while source.readable:
                room = sink.room()
                if not room:
                    return
                doing = READ_BROKE
                count = source.recv_into(reactor.scratch_body if room >= TURN_BYTES else reactor.scratch_body[:room])
                if count <= 0:
                    if count == 0:
                        self._finish()
                    return
                doing = WRITE_BROKE
                self.bytes += count
                self.events += 1
                if count >= LARGE_READ_BYTES and sink.wants_headroom:
                    sent = sink.send_headroom(reactor.scratch, count)
                else:
                    sent = sink.send(reactor.scratch_body[:count])
                moved += count + READ_WORK
                if sent < count:
                    self._unsent = memoryview(bytes(reactor.scratch_body[sent:count]))
                    if not self._send_unsent():
                        return
                if moved >= TURN_BYTES:
                    reactor.work.done += moved
                    self._queue()
                    return
        except BrokenChannel:
            self._break(doing)

    def _send_unsent(self) -> bool:
        """Send the buffered bytes; False if some remain, after `room` returned 0, which guarantees a later call."""
        sink = self._sink
        while self._unsent is not None:
            if not sink.room():
                return False
            sent = sink.send(self._unsent)
            self._unsent = self._unsent[sent:] if sent < len(self._unsent) else None
        return True


class PeekPump(Pump):
    """Sends from the source's own buffer; bytes that the sink does not accept stay there, bounded by the source's window."""

    __slots__ = ()

    def run(self) -> None:
        """Move at most one turn's bytes, or until source or sink has to wait."""
        if self.queued or self.reason:
            return
        source, sink = self._source, self._sink
        moved = 0
        doing = READ_BROKE
        try:
            while source.readable:
                room = sink.room()
                if not room:
                    return
                doing = READ_BROKE
                view = source.peek()
                if view is None:
                    if source.ended:
                        self._finish()
                    return
                doing = WRITE_BROKE
                sent = 0
                try:
                    sent = sink.send(view if len(view) <= room else view[:room])
                finally:
                    source.consume(sent)
                if sent:
                    self.bytes += sent
                    self.events += 1
                    self.sent_at_event = self.opposite.events
                    moved += sent + READ_WORK
                if moved >= TURN_BYTES:
                    self._reactor.work.done += moved
                    self._queue()
                    return
        except BrokenChannel:
            self._break(doing)
