"""The reactor: socket events, a ready queue, timers and flushes, in bounded batches inside the asyncio loop."""

import asyncio
import logging
import os
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

from portway.clock import Clock, cpu, monotonic
from portway.engine.accounts import Account
from portway.engine.channel import HEADROOM_BYTES
from portway.engine.pipe_pool import PipePool, can_splice
from portway.engine.poller import Poller
from portway.engine.poller_factory import VARIABLE, make_poller
from portway.engine.timers import Timer, TimerWheel
from portway.protocol.work import SIZEABLE_WORK, TURN_WORK, Work

EVENTS_MAX = 512
"""Socket events per round; more gain nothing and delay the first of them."""
BATCH_S_MAX = 0.005
"""Duration of a batch, after which coroutines get their turn."""
BATCH_WORK_MAX = 4 * 1024 * 1024
"""The same in units of work: about 5 ms of copying."""
CHARGED_S_MAX = 0.001
"""Time for charged turns per round, in which everything else waits (ADR 0018). A single turn takes less."""
READY_S_MAX = 0.0025
"""The same for ready callbacks and for timers: mostly new visitors, which should be handled in batches."""
CHARGED_RATIO = 4
"""Charged turns may instead take a quarter of the time that the round took before them, if that is more: when events alone would use
the whole core, bulk transfers still get a fifth of it."""
LONG_ROUND_WORK = 2 * TURN_WORK
"""Work per round before new requests queue for charged turns, 0.5 to 2 ms; 64 small requests are a quarter of it."""
AUTHENTICATED_WEIGHT = 8.0
"""Weight of authenticated peers; that of unauthenticated ones is 1. Under full load handshakes and logins get a ninth of the charged
time, 150 per second on a machine where one costs 0.7 ms."""
CALLS_PER_CLOCK_READ = 8
"""Ready callbacks and timers per reading of the clock."""
TURN_BYTES = TURN_WORK
"""Bytes that one source may move per turn, before it goes to the back of a queue (ADR 0002)."""
TLS_TURN_BYTES = 16 * (16 * 1024 + 22)
"""The same in TLS records of 16 KiB: header, type and tag take 22 bytes of each (RFC 8446 section 5.2)."""

FAILED = "callback failed, connection aborted: %r"

log = logging.getLogger("portway.engine")

Callback = Callable[[], None]
EventHandler = Callable[[int], None]


class Reactor:
    """Runs channels: one poller (edge-triggered, natively or emulated) and a ready queue, nested in an asyncio loop.

    A batch is one or more rounds, for at most 5 ms or 4 MiB. A round is: due timers, up to 512 socket events, the ready
    queue, charged turns, the requested flushes (once per round: one more before the charged turns costs bulk 5 to 7 %), then
    the actual closing of descriptors (so that no number is reused while an old event for it may still be pending). The rest is
    scheduled as another batch, and coroutines run in between.

    An event is served at once, within TURN_WORK. Work beyond that queues as a charged turn; those share the remaining time
    by `accounts`, 1 ms per round. So a small request waits for a millisecond at most, however much work others queue.

    Everything runs on the loop's thread; no method may be called from another one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock = monotonic, poller: Poller | None = None) -> None:
        """Nest in `loop`, which must belong to the current thread. PORTWAY_ENGINE selects the poller if none is given.

        Raises:
            ConfigError: PORTWAY_ENGINE names a poller that is unknown or not available.
        """
        self._poller = make_poller(os.environ.get(VARIABLE, "")) if poller is None else poller
        self.level_poller = self._poller.level_poller
        """Receives notice when channels are drained or blocked; None if the poller reports edges."""
        self._loop = loop
        self._clock = clock
        self.now = clock()
        """Monotonic seconds at the start of this round, precise enough for deadlines."""
        self.scratch = memoryview(bytearray(HEADROOM_BYTES + TURN_BYTES))
        """A read buffer shared by all pumps, valid only within one callback. The first bytes are headroom."""
        self.scratch_body = self.scratch[HEADROOM_BYTES:]
        """`scratch` without the headroom."""
        self.pipes = PipePool(self.scratch_body, enabled=can_splice and self.level_poller is None)
        """Pipes for splicing between sockets; not enabled on other systems, nor with the poller for them."""
        self.link_scratch = memoryview(bytearray(TURN_BYTES))
        """Buffer for the plaintext of a link; not `scratch`, because pumps of its streams run during decoding."""
        self.tls_scratch = memoryview(bytearray(TLS_TURN_BYTES))
        """Buffer for ciphertext between socket and BIO; consumed before the call that filled it returns."""
        self.work = Work()
        """Work done so far; every costly operation adds to it."""
        self.round = 0
        """The number of this round."""
        self.long_round_at = 0
        """When `work` exceeds this, the current round has been long: new requests queue for charged turns."""
        self.accounts = Account()
        """The root of all accounts."""
        self._charged = self.accounts.heap
        self.authenticated = self.accounts.child(AUTHENTICATED_WEIGHT)
        """Accounts of authenticated peers, and of the visitors of tunnels."""
        self.unauthenticated = self.accounts.child()
        """Accounts of all other peers."""
        self.unassigned = self.authenticated.child(tenant=True)
        """The account of work without an owner."""
        self._poll = self._poller.poll
        self._handlers: dict[int, EventHandler] = {}
        self._untouched_fd = -1
        self._ready: deque[Callback] = deque()
        self._flushes: list[Callback] = []
        self._closing: list[socket.socket] = []
        self._timers = TimerWheel()
        self._due: deque[Callback] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._in_batch = False
        self._scheduled = False
        self._closed = False
        self._poller.start(loop, self._batch, self.call_later)

    def refresh_now(self) -> float:
        """Read the clock into `now` and return it; for coroutines, which run between batches."""
        self.now = self._clock()
        return self.now

    def watch(self, fd: int, handler: EventHandler) -> bool:
        """Call `handler` with a mask (see `poller`) at every edge on `fd`, or replace the handler of a watched `fd`.

        A new handler gets the current readiness as an event: earlier edges went to the old one, and a FIN would be lost. Returns
        whether that is not necessary: nothing has arrived on `fd` (see `pass_on`).
        """
        known = fd in self._handlers
        self._handlers[fd] = handler
        if known and fd == self._untouched_fd:
            self._untouched_fd = -1
            return True
        self._poller.watch(fd, known)
        return False

    def pass_on(self, fd: int, take: Callback) -> None:
        """Call `take`, which may replace the handler of `fd`; the only edge so far said that it is connected.

        Saves a system call, an event and a read of nothing for each connection.
        """
        self._untouched_fd = fd
        take()
        self._untouched_fd = -1

    def unwatch(self, fd: int) -> None:
        """Stop calling back for `fd`, which stays open."""
        if self._handlers.pop(fd, None) is not None:
            self._poller.unwatch(fd)

    def discard(self, sock: socket.socket) -> None:
        """Close `sock` at the end of the round; no callback for it follows."""
        fd = sock.fileno()
        if self._handlers.pop(fd, None) is not None and self.level_poller is not None:
            self.level_poller.unwatch(fd)
        if self._closed:
            sock.close()  # no batch will run any more
            return
        self._closing.append(sock)
        if not self._in_batch:
            self._schedule_batch()

    @property
    def closing(self) -> int:
        """Number of descriptors to be closed at the end of this round."""
        return len(self._closing)

    def call_soon(self, callback: Callback) -> None:
        """Call back from the end of the ready queue."""
        self._ready.append(callback)
        if not self._in_batch:
            self._schedule_batch()

    def call_soon_charged(self, account: Account, turn: Callback) -> None:
        """Call back when it is the turn of `account`, which is charged for the CPU time used."""
        account.add(turn)
        if not self._in_batch:
            self._schedule_batch()

    def run_or_queue(self, account: Account, turn: Callback, queue: Callback) -> None:
        """Run a turn now, or call `queue` if turns of the same tenant already wait, or a sizeable one ran in this round.

        For turns caused by events that may be long: otherwise a tenant with many connections would get one turn for
        each of them before all queued turns.
        """
        tenant = account.tenant or account
        if tenant.waiting or tenant.tenant_round == self.round:
            queue()
            return
        before = self.work.done
        turn()
        if self.work.done - before >= SIZEABLE_WORK:
            tenant.tenant_round = self.round

    def at_batch_end(self, flush: Callback) -> None:
        """Call `flush` once, at the end of this round (or of the next one, if none is running)."""
        self._flushes.append(flush)
        if not self._in_batch:
            self._schedule_batch()

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back about `delay_s` seconds from now (never earlier, up to 0.1 s later)."""
        if self._in_batch:  # the batch sets the alarm at its end
            return self._timers.set(self.now, delay_s, callback)
        timer = self._timers.set(self._clock(), delay_s, callback)
        self._set_alarm()
        return timer

    def close(self) -> None:
        """Detach from the loop and close the poller. Close all channels first."""
        if self._closed:
            return
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._close_discarded()
        self.pipes.close()
        self._poller.close()

    def _schedule_batch(self) -> None:
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._batch)

    def _set_alarm(self) -> None:
        deadline = self._timers.next_deadline()
        if deadline is None or deadline >= self._alarm_at or self._closed:
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm_at = deadline
        self._alarm = self._loop.call_later(max(0.0, deadline - self._clock()), self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._alarm_at = float("inf")
        self._batch()

    def _batch(self) -> None:
        if self._closed:
            return
        self._scheduled = False
        self._in_batch = True
        started = self._clock()
        work_max = self.work.done + BATCH_WORK_MAX
        while True:
            self.now = self._clock()
            self._round()
            # Another round only while a queue is not empty; otherwise the poller wakes the loop at the next event.
            if not (self._ready or self._charged or self._due) or self.work.done > work_max or self._clock() - started > BATCH_S_MAX:
                break
        self._in_batch = False
        self._set_alarm()
        if self._ready or self._charged or self._due or self._flushes or self._closing:
            self._schedule_batch()

    def _round(self) -> None:
        """Fire timers, handle new events, work through the queues for a bounded time, flush, close."""
        self.round += 1
        self.long_round_at = self.work.done + LONG_ROUND_WORK
        due = self._timers.due(self.now)
        if due or self._due:
            self._due.extend([timer.fire for timer in due])
            self._run_some(self._due, len(self._due))
        handlers = self._handlers
        for fd, mask in self._poll(0, EVENTS_MAX):
            handler = handlers.get(fd)
            if handler is not None:
                try:
                    handler(mask)
                except Exception:
                    log.exception(FAILED, handler)
                    self._contain(handler)
        if self._ready:
            self._run_some(self._ready, len(self._ready))
        if self._charged:
            self._run_charged()
        if self._flushes:
            self._flush()
        if self._closing:
            self._close_discarded()

    def _run_some(self, queue: deque[Callback], count: int) -> None:
        """Run the first `count` callbacks, in bounded time."""
        work_max = self.work.done + BATCH_WORK_MAX
        until = 0.0
        for number in range(count):
            callback = queue.popleft()
            try:
                callback()
            except Exception:
                log.exception(FAILED, callback)
                self._contain(callback)
            if self.work.done > work_max:
                break
            if number % CALLS_PER_CLOCK_READ == CALLS_PER_CLOCK_READ - 1:
                now = self._clock()
                until = until or now + READY_S_MAX
                if now >= until:
                    break

    def _run_charged(self) -> None:
        """Run charged turns, in bounded time and at least one, and charge the CPU time that each took."""
        clock, accounts = self._clock, self.accounts
        began = clock()
        until = began + max(CHARGED_S_MAX, (began - self.now) / CHARGED_RATIO)
        used = cpu()
        while self._charged:
            account, turn = accounts.take()
            try:
                turn()
            except Exception:
                log.exception(FAILED, turn)
                self._contain(turn)
            before, used = used, cpu()
            account.charge(used - before)
            if clock() >= until:
                break

    def _flush(self) -> None:
        flushes, self._flushes = self._flushes, []
        for flush in flushes:
            try:
                flush()
            except Exception:
                log.exception(FAILED, flush)
                self._contain(flush)

    def _contain(self, callback: Callback | EventHandler) -> None:
        """Limit a bug in one callback to one connection: abort the owner of the callback.

        The owner's `on_broken` is called as well, because the other channel of a relay has to be closed too.
        """
        while isinstance(callback, partial):
            callback = callback.func
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, Timer):
            self._contain(owner.callback)
            return
        for step in (getattr(owner, "abort", None), getattr(owner, "on_broken", None)):  # taken first: `abort` clears it
            if step is not None:
                try:
                    step()
                except Exception:
                    log.exception("abort after failed callback failed: %r", callback)

    def _close_discarded(self) -> None:
        discarded, self._closing = self._closing, []
        for sock in discarded:
            sock.close()
