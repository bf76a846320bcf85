"""Pumps: each moves bytes one way, from a source channel to a sink channel, one helping a turn."""

from collections.abc import Callable
from typing import Protocol

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.engine.tally import ABORTED, ENDED, READ_BROKE, WRITE_BROKE, Flow
from portway.errors import BrokenChannel
from portway.protocol.work import READ_WORK

LARGE_READ_BYTES = 16 * 1024
"""From here on a read goes out behind its headroom, uncopied; below, copying is cheaper than a system call of its own
(ADR 0004)."""


class Sink(Protocol):
    """What a pump asks of where it sends to: a channel, or a gate in front of one. See `Channel` for the rules."""

    @property
    def wants_headroom(self) -> bool:
        """True when `send_headroom` saves a copy for large payloads."""

    def room(self) -> int:
        """Return how many bytes `send` surely considers now; 0 is a promise to call."""

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Take bytes from the front of `data`; return how many."""

    def send_headroom(self, buffer: memoryview, count: int) -> int:
        """Send `count` bytes behind the headroom of `buffer`."""

    def shutdown_write(self) -> None:
        """Say that no more bytes follow."""


class PumpOwner(Protocol):
    """What a pump tells: a relay."""

    def pump_ends(self, pump: "Pump") -> None:
        """Called when the source has ended, before the sink is told."""

    @property
    def account(self) -> Account:
        """Return who is charged for the pump's turns."""

    def pump_ended(self) -> None:
        """Hear that the source has ended and the sink was told."""

    def pump_broke(self) -> None:
        """Hear that source or sink broke; the pump's reason says which."""


class Pump:
    """What both kinds share: state, turns, the end, the break.

    `run` is the source's `on_readable` and the sink's `on_writable`, and may be called at any time. Who stands in the
    ready queue already is not served out of turn: an event for every new segment would earn it a second place there,
    then a third, until one fast sender has most of the turns of a round.
    """

    __slots__ = ("_owner", "_reactor", "_sink", "_source", "bytes", "ended_at", "events", "opposite", "queued", "reason", "sent_at_event")

    run: Callable[[], None]

    def __init__(self, reactor: Reactor, source: Channel, sink: Sink, owner: PumpOwner) -> None:
        """Stand ready; nothing moves before `run`."""
        self._reactor = reactor
        self._source = source
        self._sink = sink
        self._owner = owner
        self.queued = False
        self.bytes = 0
        self.events = 0
        """Reads that brought bytes."""
        self.opposite: Pump | _Nobody = _NOBODY
        """The pump of the other way."""
        self.sent_at_event = -1
        """How many `events` the opposite pump had when this one sent last; -1: nothing was sent."""
        self.reason = ""
        self.ended_at = 0.0
        """When `reason` was set, by the reactor's `now`."""

    def flow(self, started_at: float) -> Flow:
        """Return what this pump has moved since then."""
        return Flow(self.bytes, self.events, self.reason, (self.ended_at if self.reason else self._reactor.now) - started_at)

    def stop(self, reason: str) -> None:
        """Move nothing more, for `reason`, unless there was one before. The owner is told nothing."""
        if not self.reason:
            self.reason = reason
            self.ended_at = self._reactor.now

    def let_go(self) -> None:
        """Forget the owner, which is over, and the other pump."""
        self._owner = self.opposite = _NOBODY

    def drain(self) -> None:
        """Read on, soon, also where no event has told of anything: what came before a break may lie there."""
        self._source.readable = True  # type: ignore[misc]  # each kind has it in its own slots
        self._queue()

    def abort(self) -> None:
        """End the relay, as the reactor asks after a failed callback."""
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


class _Nobody:
    """The owner of a pump whose relay is over, and the opposite of one that has none."""

    events = 0

    def pump_ends(self, pump: Pump) -> None:
        """Hear nothing."""

    account = Account()

    def pump_ended(self) -> None:
        """Hear nothing."""

    def pump_broke(self) -> None:
        """Hear nothing."""


_NOBODY = _Nobody()


class CopyPump(Pump):
    """Reads into the reactor's scratch buffer and sends from there.

    Only bytes that the sink did not take get a buffer of their own, at most one read's worth.
    """

    __slots__ = ("_kept",)

    def __init__(self, reactor: Reactor, source: Channel, sink: Sink, owner: PumpOwner) -> None:
        """Keep nothing yet."""
        super().__init__(reactor, source, sink, owner)
        self._kept: memoryview | None = None

    def run(self) -> None:
        """Move a helping, or until source or sink has to wait."""
        if self.queued or self.reason:
            return
        source, sink, reactor = self._source, self._sink, self._reactor
        doing = WRITE_BROKE
        moved = 0
        try:
            if self._kept is not None and not self._send_kept():
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
                    self._kept = memoryview(bytes(reactor.scratch_body[sent:count]))
                    if not self._send_kept():
                        return
                if moved >= TURN_BYTES:
                    reactor.work.done += moved
                    self._queue()
                    return
        except BrokenChannel:
            self._break(doing)

    def _send_kept(self) -> bool:
        """Send what was kept until nothing is left; False once the sink has promised to call, as only `room` makes it do."""
        sink = self._sink
        while self._kept is not None:
            if not sink.room():
                return False
            sent = sink.send(self._kept)
            self._kept = self._kept[sent:] if sent < len(self._kept) else None
        return True


class PeekPump(Pump):
    """Sends what the source lends; what the sink does not take stays in the source, bounded by its window."""

    __slots__ = ()

    def run(self) -> None:
        """Move a helping, or until source or sink has to wait."""
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


def choose_pump(source: Channel) -> type[CopyPump] | type[PeekPump]:
    """Pick the pump by what the source can do: the one place where channels are told apart.

    Two plain sockets without TLS (a forward proxy's) are where a third pump will have its place, which lets the kernel
    splice: by a flag of the channel that lends its descriptor, as `can_peek` does for bytes, and asked of both ends.
    """
    return PeekPump if source.can_peek else CopyPump
