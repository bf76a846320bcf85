"""Receives what taps collect, in the reactor's thread, and hands it to one thread that stores it; never waits for that."""

import sys
import threading
from collections import deque
from collections.abc import Callable

from portway.clock import Clock, cpu, monotonic, wall
from portway.inspector.exchange import Connection, Item, TunnelInfo
from portway.inspector.tap import HttpTap
from portway.telemetry.logs import get_log

BUFFERED_BYTES_MAX = 32 * 1024 * 1024
"""Heads, bodies and frames that are collected or queued. Beyond, bodies are dropped from the capture."""

ITEMS_MAX = 20_000
"""Items in the queue; about a second of the requests that one process can relay."""

GATHER_S = 0.05
"""Time between batches: waking the thread for each request would cost more than storing it."""

BATCH_ITEMS = 500
"""Items stored in one transaction."""

SLICE_S = 0.0005
PAUSE_S = 0.002
"""After SLICE_S of its own CPU time the thread sleeps for PAUSE_S: while it works, the reactor may have to wait for the interpreter lock. So it uses a
fifth of a core at most, which stores 4,000 requests per second; beyond, captures are dropped instead of visitors' time."""

ANNOUNCE_S = 1.0
"""Age at which an exchange that is not done is shown."""

CLOSE_S_MAX = 2.0
"""How long closing waits for the queue to be stored."""

SWITCH_S = 0.0005
"""How long a thread of the inspector may keep the interpreter lock while the reactor waits for it; Python's own 5 ms would be added to
every system call of a relay."""

log = get_log(__name__)


class Recorder:
    """The queue between the taps and the store. All methods but `close` are for the reactor's thread."""

    def __init__(
        self,
        write: Callable[[list[Item]], None],
        body_bytes_max: int,
        clock: Clock = monotonic,
        buffered_bytes_max: int = BUFFERED_BYTES_MAX,
    ) -> None:
        """Start the thread; it calls `write` with each batch, which must not raise."""
        self.body_bytes_max = body_bytes_max
        self.rtt_s: float | None = None
        self.dropped_bodies = 0
        self.dropped = 0
        """Exchanges, frames and connections that were left out because the queue was full."""
        self.taps: set[HttpTap] = set()
        self.monotonic = clock
        self.wall = wall
        self._write = write
        self._buffered_bytes_max = buffered_bytes_max
        # Each is changed by one thread only.
        self._taken = 0
        self._given_back = 0
        self._queue: deque[tuple[Item, int]] = deque()
        self._wake = threading.Event()
        self._pause = threading.Event()
        self._closing = False
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_S))
        # A daemon: a disk that hangs must not keep the program from exiting.
        self._thread = threading.Thread(target=self._run, name="stores captures", daemon=True)
        self._thread.start()

    @property
    def buffered_bytes(self) -> int:
        """Bytes that are collected or queued."""
        return self._taken - self._given_back

    def open_tap(self, tunnel: TunnelInfo, connect_s: float | None, replay_of: int = 0) -> HttpTap:
        """Return a tap for a stream of an http tunnel."""
        tap = HttpTap(self, tunnel, connect_s, replay_of)
        self.taps.add(tap)
        return tap

    def connection(self, tunnel: TunnelInfo, seconds: float, amounts: tuple[int, int], reason: str, client: str) -> None:
        """Record a connection of a tcp or tls tunnel, which has ended."""
        self.put(Connection(tunnel, self.wall() - seconds, seconds, *amounts, reason, client), 0)

    def announce(self) -> None:
        """Record exchanges that take long, so that they are shown before they end. Call it about once a second."""
        before = self.monotonic() - ANNOUNCE_S
        for tap in self.taps:
            tap.announce(before)

    # For taps.

    def forget(self, tap: HttpTap) -> None:
        """Drop a tap whose stream has ended."""
        self.taps.discard(tap)

    def link_s(self) -> float | None:
        """Return the round trip of the links."""
        return self.rtt_s

    def reserve(self, count: int, *, always: bool = False) -> bool:
        """Return whether `count` bytes more may be buffered, and count them if so, or `always`."""
        if self._taken - self._given_back + count > self._buffered_bytes_max and not always:
            self.dropped_bodies += 1
            return False
        self._taken += count
        return True

    def release_reserved(self, count: int) -> None:
        """Give back reserved bytes."""
        self._taken -= count

    def put(self, item: Item, size: int) -> bool:
        """Queue an item with `size` reserved bytes; drop it if the queue is full."""
        if len(self._queue) >= ITEMS_MAX or self._closing:
            self.dropped += 1
            self._taken -= size
            return False
        self._queue.append((item, size))
        if not self._wake.is_set():
            self._wake.set()
        return True

    # The thread.

    def close(self) -> None:
        """Store what is queued, for at most CLOSE_S_MAX, and end the thread. May be called twice."""
        self._closing = True
        self._wake.set()
        self._pause.set()
        self._thread.join(CLOSE_S_MAX)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while self._queue:
                self._store_batch()
            if self._closing:
                return
            self._pause.wait(GATHER_S)

    def _store_batch(self) -> None:
        batch: list[Item] = []
        size = 0
        while self._queue and len(batch) < BATCH_ITEMS and size < self._buffered_bytes_max // 8:
            item, count = self._queue.popleft()
            batch.append(item)
            size += count
        try:
            self._write(batch)
        except Exception as exc:  # noqa: BLE001 - the next batch may be stored
            log.error("captures not stored", reason=type(exc).__name__)  # noqa: TRY400 - a traceback could contain what was captured
        self._given_back += size

    def breathe(self, since: float) -> float:
        """Let the reactor run if this thread used SLICE_S of CPU time since then; return the time to compare with next."""
        now = cpu()
        if now - since < SLICE_S or self._closing:
            return since
        self._pause.wait(PAUSE_S)
        return cpu()
