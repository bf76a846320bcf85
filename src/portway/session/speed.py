"""A speed test's streams, both halves: one end pours bytes that mean nothing, the other forgets them; both look at the same stretch.

agent                                            server
Measure{direction, streams, seconds}          ─>
                                              <─  streams, each with a LOCAL preamble for tunnel 0
status byte 0 on each                         ─>
the bytes, for `seconds` + 0.3 s, then FIN    <─> FIN at once
                                              <─  Measured{bytes, seconds, cpu_s, wait_s}

The pumps that carry visitors carry these bytes too: the same turns, windows and back-pressure, no coroutine.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from portway.engine.channel import CHANNEL_SLOTS, Channel, nothing
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.engine.relay import Relay
from portway.engine.timers import Timer
from portway.telemetry.cpu import CpuTime, cpu_time

SPEED_TUNNEL: Final = 0
"""The tunnel id of a speed test's streams; those of tunnels begin at 1 (server/tunnels/registry.py)."""

SETTLE_SHARE: Final = 0.3
"""The first part of a test does not count: windows are growing, and TCP under them finds out what the path bears."""

OVERTIME_S: Final = 0.3
"""Senders go on for so long, so that no end's stretch outlasts the bytes: timers are 0.1 s coarse, and the ends start a trip apart."""

FINISH_S_MAX: Final = 3.0
"""How long after that a stream may take to end by itself: what was in flight must arrive first."""

SECONDS_MAX: Final = 30.0
STREAMS_MAX: Final = 64
"""What a server takes (docs/wire.md, section 9): enough for any line, and no way to keep a server busy for long with one message."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one end saw in the steady stretch of a test."""

    bytes: int
    seconds: float
    cpu: CpuTime


class Stopwatch:
    """Looks at a test from its first stream on; `moved` tells the bytes so far, and is asked three times."""

    def __init__(self, reactor: Reactor, seconds: float, moved: Callable[[], int], cpu: Callable[[], CpuTime] = cpu_time) -> None:
        """Start now, for a test of so many seconds."""
        self._reactor = reactor
        self._moved = moved
        self._cpu = cpu
        self._from = self._look()
        self._to: tuple[float, int, CpuTime] | None = None
        self._timers = [reactor.call_later(SETTLE_SHARE * seconds, self._begin), reactor.call_later(seconds, self._end)]

    def stretch(self) -> Sample:
        """Return what was seen, and look no more; a test that broke off is judged by what there was of it."""
        for timer in self._timers:
            timer.cancel()
        (began_at, bytes_before, cpu_before), (ended_at, bytes_then, cpu_then) = self._from, self._to or self._look()
        return Sample(bytes_then - bytes_before, ended_at - began_at, cpu_then - cpu_before)

    def _begin(self) -> None:
        self._from = self._look()

    def _end(self) -> None:
        self._to = self._look()

    def _look(self) -> tuple[float, int, CpuTime]:
        return self._reactor.refresh_now(), self._moved(), self._cpu()


class SpeedTestChannel(Channel):
    """What a relay joins a test's stream with: gives `payload` again and again until it is stopped, and forgets what it gets.

    Without a payload it has ended from the beginning. It always has room: the stream alone sets the pace.
    """

    __slots__ = (*CHANNEL_SLOTS, "_payload", "moved")

    can_peek = True

    def __init__(self, payload: memoryview | None) -> None:
        """Give `payload`, which belongs to the caller and never changes."""
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self.moved = 0
        """Bytes that were taken here or forgotten here."""
        self._payload = payload

    @property
    def ended(self) -> bool:
        """True once it was stopped."""
        return self._payload is None

    def stop(self) -> None:
        """Give nothing any more: the stream is told the end behind what it has taken."""
        self._payload = None
        self.readable = True
        self.on_readable()

    def peek(self) -> memoryview | None:
        """Lend the payload from its start."""
        if self._payload is None:
            self.readable = False
        return self._payload

    def consume(self, count: int) -> None:
        """Stay as full as before."""
        self.moved += count

    def recv_into(self, buffer: memoryview) -> int:
        """Copy out of the payload."""
        if self._payload is None:
            return 0
        count = min(len(buffer), len(self._payload))
        buffer[:count] = self._payload[:count]
        self.moved += count
        return count

    def room(self) -> int:
        """Return a helping, always."""
        return TURN_BYTES

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Forget all of it."""
        self.moved += len(data)
        return len(data)

    def shutdown_write(self) -> None:
        """Take note of nothing: what was forgotten has no end."""

    def abort(self) -> None:
        """Let go of the payload and of whoever listened."""
        self._payload = None
        self.on_readable = self.on_writable = self.on_broken = nothing

    def close(self) -> None:
        """Let go, as `abort`."""
        self.abort()


class Payload:
    """The bytes that all tests of one process send: random, as a line that compresses would flatter itself with others."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        """Make them at the first test, not before."""
        self._make = partial(random_bytes, TURN_BYTES)
        self._made: memoryview | None = None

    @property
    def view(self) -> memoryview:
        """The bytes, a helping of them."""
        if self._made is None:
            self._made = memoryview(self._make())
        return self._made


class SpeedRun:
    """One end of one test: its streams, when they stop, and what was seen. Synchronous; called from the reactor.

    Everything counts from the first stream on. `on_over` is called once, when all streams that were wanted have ended.
    """

    def __init__(
        self, reactor: Reactor, *, streams: int, seconds: float, payload: memoryview | None, on_over: Callable[[], None] = nothing
    ) -> None:
        """Wait for so many streams; `payload` None: this end only receives."""
        self._reactor = reactor
        self._missing = streams
        self._seconds = seconds
        self._payload = payload
        self._on_over = on_over
        self._relays: dict[Relay, SpeedTestChannel] = {}
        self._moved_before = 0
        self._stopwatch: Stopwatch | None = None
        self._timers: list[Timer] = []
        self._stopped = False

    @property
    def moved(self) -> int:
        """Bytes so far, on all streams."""
        return self._moved_before + sum(end.moved for end in self._relays.values())

    @property
    def over(self) -> bool:
        """True when no stream is left and none can come."""
        return not self._relays and (self._stopped or not self._missing)

    def add(self, stream: Channel) -> bool:
        """Take a stream, whose preamble and status byte are through; False, and it is reset, when it was not wanted."""
        if self._stopped or not self._missing:
            stream.abort()
            return False
        self._missing -= 1
        if self._stopwatch is None:
            self._start()
        end = SpeedTestChannel(self._payload)
        relay = Relay(self._reactor, stream, end, self._ended)
        self._relays[relay] = end
        relay.start()
        return True

    def miss(self) -> None:
        """Do without one stream, because it could not be had."""
        self._missing -= 1
        self._look_if_over()

    def stretch(self) -> Sample:
        """Return what this end saw in the steady stretch; nothing at all without a stream."""
        return Sample(0, 0.0, CpuTime()) if self._stopwatch is None else self._stopwatch.stretch()

    def abort(self) -> None:
        """Break all streams off, and take none any more."""
        self._stopped = True
        for relay in list(self._relays):
            relay.abort("the test is over")
        self._look_if_over()

    def _start(self) -> None:
        reactor, at_s = self._reactor, self._seconds + OVERTIME_S
        self._stopwatch = Stopwatch(reactor, self._seconds, lambda: self.moved)
        self._timers = [reactor.call_later(at_s, self._stop), reactor.call_later(at_s + FINISH_S_MAX, self.abort)]

    def _stop(self) -> None:
        """End what this end sends; what comes in ends when the other end says so."""
        self._stopped = True
        for end in list(self._relays.values()):
            if not end.ended:
                end.stop()
        self._look_if_over()

    def _ended(self, relay: Relay) -> None:
        self._moved_before += self._relays.pop(relay).moved
        self._look_if_over()

    def _look_if_over(self) -> None:
        if self.over:
            on_over, self._on_over = self._on_over, nothing
            for timer in self._timers:
                timer.cancel()
            on_over()
