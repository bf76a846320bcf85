"""Streams of a speed test, both halves: one end sends random bytes, the other discards them; both measure the same interval.

agent                                            server
Measure{direction, streams, seconds}          ─>
                                              <─  streams, each with a LOCAL preamble for tunnel 0
status byte 0 on each                         ─>
the bytes, for `seconds` + 0.3 s, then FIN    <─> FIN at once
                                              <─  Measured{bytes, seconds, cpu_s, wait_s}

The same pumps as for visitors carry these bytes: the same turns, windows and back-pressure, no coroutine.
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
"""The first part of a test does not count: windows are still growing, and TCP is probing the path."""

OVERTIME_S: Final = 0.3
"""Senders continue for this time, so that bytes arrive for the whole interval of either end: timers are 0.1 s coarse, and the ends
start a round trip apart."""

FINISH_S_MAX: Final = 3.0
"""How long after that a stream may take to end by itself: bytes in flight must arrive first."""

SECONDS_MAX: Final = 30.0
STREAMS_MAX: Final = 64
"""What a server accepts (docs/wire.md, section 9): enough for any network path, and too little to occupy a server for long."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one end measured in the steady interval of a test."""

    bytes: int
    seconds: float
    cpu: CpuTime


class Stopwatch:
    """Measures the steady interval of a test; `moved` returns the bytes so far, and is called three times."""

    def __init__(self, reactor: Reactor, seconds: float, moved: Callable[[], int], cpu: Callable[[], CpuTime] = cpu_time) -> None:
        """Start now, for a test of `seconds`."""
        self._reactor = reactor
        self._moved = moved
        self._cpu = cpu
        self._from = self._read()
        self._to: tuple[float, int, CpuTime] | None = None
        self._timers = [reactor.call_later(SETTLE_SHARE * seconds, self._on_settled), reactor.call_later(seconds, self._on_time_up)]

    def sample(self) -> Sample:
        """Stop and return the measurement; for an interrupted test, of the part that took place."""
        for timer in self._timers:
            timer.cancel()
        (began_at, bytes_before, cpu_before), (ended_at, bytes_then, cpu_then) = self._from, self._to or self._read()
        return Sample(bytes_then - bytes_before, ended_at - began_at, cpu_then - cpu_before)

    def _on_settled(self) -> None:
        self._from = self._read()

    def _on_time_up(self) -> None:
        self._to = self._read()

    def _read(self) -> tuple[float, int, CpuTime]:
        return self._reactor.refresh_now(), self._moved(), self._cpu()


class SpeedTestChannel(Channel):
    """A source and sink that a relay joins with a test's stream: repeats `payload` until it is stopped, and discards all input.

    Without a payload it has ended from the start. It always has room, so that only the stream limits the rate.
    """

    __slots__ = (*CHANNEL_SLOTS, "_payload", "moved")

    can_peek = True

    def __init__(self, payload: memoryview | None) -> None:
        """Repeat `payload`, which belongs to the caller and never changes."""
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self.moved = 0
        """Bytes that were sent or discarded here."""
        self._payload = payload

    @property
    def ended(self) -> bool:
        """True once it was stopped."""
        return self._payload is None

    def stop(self) -> None:
        """End the source: the stream is half-closed after the bytes that it has accepted."""
        self._payload = None
        self.readable = True
        self.on_readable()

    def peek(self) -> memoryview | None:
        """Return the payload from its start."""
        if self._payload is None:
            self.readable = False
        return self._payload

    def consume(self, count: int) -> None:
        """Count the bytes; the payload repeats."""
        self.moved += count

    def recv_into(self, buffer: memoryview) -> int:
        """Copy from the payload."""
        if self._payload is None:
            return 0
        count = min(len(buffer), len(self._payload))
        buffer[:count] = self._payload[:count]
        self.moved += count
        return count

    def room(self) -> int:
        """Return `TURN_BYTES`, always."""
        return TURN_BYTES

    def send(self, data: memoryview | bytes | bytearray) -> int:
        """Discard all of it."""
        self.moved += len(data)
        return len(data)

    def shutdown_write(self) -> None:
        """Do nothing: discarded bytes need no end."""

    def abort(self) -> None:
        """Release the payload and the callbacks."""
        self._payload = None
        self.on_readable = self.on_writable = self.on_broken = nothing

    def close(self) -> None:
        """Release everything, as `abort` does."""
        self.abort()


class Payload:
    """The bytes that all tests of one process send: random, because compression on the path would distort the result of others."""

    def __init__(self, random_bytes: Callable[[int], bytes]) -> None:
        """Create them at the first test, not before."""
        self._make = partial(random_bytes, TURN_BYTES)
        self._made: memoryview | None = None

    @property
    def view(self) -> memoryview:
        """The bytes, `TURN_BYTES` of them."""
        if self._made is None:
            self._made = memoryview(self._make())
        return self._made


class SpeedRun:
    """One end of one test: its streams, their end, and the measurement. Synchronous; called from the reactor.

    All times start with the first stream. `on_finished` is called once, when all expected streams have ended.
    """

    def __init__(
        self, reactor: Reactor, *, streams: int, seconds: float, payload: memoryview | None, on_finished: Callable[[], None] = nothing
    ) -> None:
        """Expect `streams` streams; `payload` None: this end only receives."""
        self._reactor = reactor
        self._missing = streams
        self._seconds = seconds
        self._payload = payload
        self._on_finished = on_finished
        self._relays: dict[Relay, SpeedTestChannel] = {}
        self._moved_before = 0
        self._stopwatch: Stopwatch | None = None
        self._timers: list[Timer] = []
        self._stopped = False

    @property
    def moved(self) -> int:
        """Bytes so far, on all streams."""
        return self._moved_before + sum(channel.moved for channel in self._relays.values())

    @property
    def finished(self) -> bool:
        """True when no stream is open and none can follow."""
        return not self._relays and (self._stopped or not self._missing)

    def add(self, stream: Channel) -> bool:
        """Add a stream after its preamble and status byte; an unexpected one is reset, and False returned."""
        if self._stopped or not self._missing:
            stream.abort()
            return False
        self._missing -= 1
        if self._stopwatch is None:
            self._start()
        channel = SpeedTestChannel(self._payload)
        relay = Relay(self._reactor, stream, channel, self._on_relay_ended)
        self._relays[relay] = channel
        relay.start()
        return True

    def stream_failed(self) -> None:
        """Expect one stream less, because it could not be opened."""
        self._missing -= 1
        self._check_finished()

    def sample(self) -> Sample:
        """Return what this end measured in the steady interval; zeros without a stream."""
        return Sample(0, 0.0, CpuTime()) if self._stopwatch is None else self._stopwatch.sample()

    def abort(self) -> None:
        """Reset all streams and accept no more."""
        self._stopped = True
        for relay in list(self._relays):
            relay.abort("the test is over")
        self._check_finished()

    def _start(self) -> None:
        reactor, at_s = self._reactor, self._seconds + OVERTIME_S
        self._stopwatch = Stopwatch(reactor, self._seconds, lambda: self.moved)
        self._timers = [reactor.call_later(at_s, self._stop), reactor.call_later(at_s + FINISH_S_MAX, self.abort)]

    def _stop(self) -> None:
        """End what this end sends; the other direction ends when the peer ends it."""
        self._stopped = True
        for channel in list(self._relays.values()):
            if not channel.ended:
                channel.stop()
        self._check_finished()

    def _on_relay_ended(self, relay: Relay) -> None:
        self._moved_before += self._relays.pop(relay).moved
        self._check_finished()

    def _check_finished(self) -> None:
        if self.finished:
            on_finished, self._on_finished = self._on_finished, nothing
            for timer in self._timers:
                timer.cancel()
            on_finished()
