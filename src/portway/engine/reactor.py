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
from portway.engine.poller import Poller
from portway.engine.poller_factory import VARIABLE, make_poller
from portway.engine.timers import Timer, TimerWheel
from portway.protocol.work import SIZEABLE_WORK, TURN_WORK, Work

EVENTS_MAX = 512
"""Socket events a batch; more gain nothing and make the first of them wait."""
BATCH_S_MAX = 0.005
"""How long a batch may work its ready queue before coroutines get their turn."""
BATCH_WORK_MAX = 4 * 1024 * 1024
"""The same in work: about what 5 ms of copying come to."""
CHARGED_S_MAX = 0.001
"""How long a round may run charged turns: so long everybody else waits (ADR 0018). A turn takes less."""
READY_S_MAX = 0.0025
"""The same for ready callbacks and for timers: new visitors, mostly, who should come in batches."""
CHARGED_PART = 4
"""Charged turns may take this part of what the round took before them, if that is more: while events alone would keep the
core busy, bulk transfers still get a fifth of it."""
MEMBERS_WEIGHT = 8.0
"""The share of members beside that of strangers, which is 1: handshakes and logins get a ninth of the charged time while
members want all of it, 150 a second on the machine where one costs 0.7 ms."""
CALLS_BETWEEN_LOOKS = 8
"""Ready callbacks and timers that run before the clock is read again."""
TURN_BYTES = TURN_WORK
"""What one source may move in one turn; then it goes to the back of a queue (ADR 0002)."""
TLS_TURN_BYTES = 16 * (16 * 1024 + 22)
"""The same in TLS records of 16 KiB: header, type and tag take 22 bytes of each (RFC 8446 section 5.2)."""

FAILED = "a callback failed; its connection is aborted: %r"

log = logging.getLogger("portway.engine")

Callback = Callable[[], None]
EventHandler = Callable[[int], None]


class Reactor:
    """Runs channels: one poller (edge-triggered, or as good as that) and a ready queue, nested in an asyncio loop.

    A batch is one round or more, for at most 5 ms or 4 MiB. A round is: due timers, up to 512 socket events, the ready
    queue, the flushes that were asked for, charged turns and their flushes, then the real closing of descriptors (no number is used
    again while an old event for it may still be in hand). What is left over is asked for again: coroutines come in between.

    An event is served at once, within TURN_WORK. What is more than that queues as a charged turn: those share what time is
    left by `accounts`, 1 ms of it a round. So a small request waits for a millisecond, however many others want more.

    Everything runs on the loop's thread; nothing here may be called from another one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Clock = monotonic, poller: Poller | None = None) -> None:
        """Nest in `loop`, which must be the running loop's thread's own. PORTWAY_ENGINE chooses the poller if none is given.

        Raises:
            ConfigError: PORTWAY_ENGINE names no poller of this system.
        """
        self._poller = make_poller(os.environ.get(VARIABLE, "")) if poller is None else poller
        self.level = self._poller.level
        """Whom channels tell that they ran dry or blocked; None where the poller sees edges by itself."""
        self._loop = loop
        self._clock = clock
        self.now = clock()
        """Seconds (monotonic) at the start of this round; good enough for deadlines."""
        self.scratch = memoryview(bytearray(HEADROOM_BYTES + TURN_BYTES))
        """A read buffer that all pumps share, valid only within one callback. The first bytes are headroom."""
        self.scratch_body = self.scratch[HEADROOM_BYTES:]
        """`scratch` without the headroom."""
        self.link_scratch = memoryview(bytearray(TURN_BYTES))
        """What a link's plaintext is decoded from: apart from `scratch`, because its streams are pumped meanwhile."""
        self.tls_scratch = memoryview(bytearray(TLS_TURN_BYTES))
        """Ciphertext between the socket and a BIO; used up before the call that filled it returns."""
        self.work = Work()
        """What was done; whatever takes time adds to it."""
        self.round = 0
        """The number of this round."""
        self.accounts = Account()
        """The root of all accounts."""
        self._charged = self.accounts.heap
        self.members = self.accounts.child(MEMBERS_WEIGHT)
        """Accounts of everybody who has proved who he is, and of visitors of a tunnel."""
        self.strangers = self.accounts.child()
        """Accounts of everybody else."""
        self.unassigned = self.members.child(party=True)
        """The account of what is nobody's in particular."""
        self._poll = self._poller.poll
        self._handlers: dict[int, EventHandler] = {}
        self._ready: deque[Callback] = deque()
        self._flushes: list[Callback] = []
        self._closing: list[socket.socket] = []
        self._timers = TimerWheel()
        self._due: deque[Callback] = deque()
        self._alarm: asyncio.TimerHandle | None = None
        self._alarm_at = float("inf")
        self._in_batch = False
        self._asked = False
        self._closed = False
        self._poller.start(loop, self._batch, self.call_later)

    def refresh_now(self) -> float:
        """Read the clock into `now` and return it: for coroutines, which run between batches."""
        self.now = self._clock()
        return self.now

    def watch(self, fd: int, handler: EventHandler) -> None:
        """Call `handler` with a mask (see `poller`) at every edge on `fd`, or hand an `fd` watched already to a new handler.

        A new handler is told what is already there: the edges before were another's, and a FIN among them would be lost.
        """
        known = fd in self._handlers
        self._handlers[fd] = handler
        self._poller.watch(fd, known)

    def unwatch(self, fd: int) -> None:
        """Stop calling back for `fd`, which stays open."""
        if self._handlers.pop(fd, None) is not None:
            self._poller.unwatch(fd)

    def discard(self, sock: socket.socket) -> None:
        """Close `sock` at the end of the batch; no callback for it comes from now on."""
        fd = sock.fileno()
        if self._handlers.pop(fd, None) is not None and self.level is not None:
            self.level.unwatch(fd)
        if self._closed:
            sock.close()  # no batch comes any more
            return
        self._closing.append(sock)
        if not self._in_batch:
            self._ask()

    @property
    def closing(self) -> int:
        """How many descriptors will be closed at the end of this round."""
        return len(self._closing)

    def call_soon(self, callback: Callback) -> None:
        """Call back from the end of the ready queue."""
        self._ready.append(callback)
        if not self._in_batch:
            self._ask()

    def call_soon_charged(self, account: Account, turn: Callback) -> None:
        """Call back when it is the turn of `account`, which is charged for the time that it takes."""
        account.add(turn)
        if not self._in_batch:
            self._ask()

    def run_or_queue(self, account: Account, turn: Callback, queue: Callback) -> None:
        """Run a turn now, or call `queue` if turns of the same party wait already, or a sizeable one ran in this round.

        For turns that events ask for and that may be long: without this, whoever has many connections would get a turn for
        each of them before anybody's queued turn.
        """
        party = account.party or account
        if party.waiting or party.party_round == self.round:
            queue()
            return
        before = self.work.done
        turn()
        if self.work.done - before >= SIZEABLE_WORK:
            party.party_round = self.round

    def at_batch_end(self, flush: Callback) -> None:
        """Call `flush` once, at the end of this round (or of the next, when none runs)."""
        self._flushes.append(flush)
        if not self._in_batch:
            self._ask()

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        """Call back about `delay_s` seconds from now (never earlier, up to 0.1 s later)."""
        if self._in_batch:  # which sets the alarm at its end
            return self._timers.set(self.now, delay_s, callback)
        timer = self._timers.set(self._clock(), delay_s, callback)
        self._set_alarm()
        return timer

    def close(self) -> None:
        """Leave the loop and close the poller. Channels must have been closed before."""
        if self._closed:
            return
        self._closed = True
        if self._alarm is not None:
            self._alarm.cancel()
        self._close_discarded()
        self._poller.close()

    def _ask(self) -> None:
        if not self._asked and not self._closed:
            self._asked = True
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
        self._asked = False
        self._in_batch = True
        started = self._clock()
        enough = self.work.done + BATCH_WORK_MAX
        while True:
            self.now = self._clock()
            self._round()
            # Another round only while somebody stands in a queue; else the kernel wakes us when there is news.
            if not (self._ready or self._charged or self._due) or self.work.done > enough or self._clock() - started > BATCH_S_MAX:
                break
        self._in_batch = False
        self._set_alarm()
        if self._ready or self._charged or self._due or self._flushes or self._closing:
            self._ask()

    def _round(self) -> None:
        """Fire timers, take new events, work in the queues for a bounded time, flush, close."""
        self.round += 1
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
            self._flush()  # what events had to say does not wait for a millisecond of others' work
            self._run_charged()
        if self._flushes:
            self._flush()
        if self._closing:
            self._close_discarded()

    def _run_some(self, queue: deque[Callback], count: int) -> None:
        """Give each of the first `count` one turn, in bounded time."""
        enough = self.work.done + BATCH_WORK_MAX
        until = 0.0
        for number in range(count):
            callback = queue.popleft()
            try:
                callback()
            except Exception:
                log.exception(FAILED, callback)
                self._contain(callback)
            if self.work.done > enough:
                break
            if number % CALLS_BETWEEN_LOOKS == CALLS_BETWEEN_LOOKS - 1:
                now = self._clock()
                until = until or now + READY_S_MAX
                if now >= until:
                    break

    def _run_charged(self) -> None:
        """Run charged turns, in bounded time and at least one, and charge the CPU time that each took."""
        clock, accounts = self._clock, self.accounts
        began = clock()
        until = began + max(CHARGED_S_MAX, (began - self.now) / CHARGED_PART)
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
        """Turn a bug in one callback into the end of one connection: abort what the callback belongs to.

        Whoever listens to an aborted channel is told, as its other half (the other channel of a relay) has to go too.
        """
        while isinstance(callback, partial):
            callback = callback.func
        owner = getattr(callback, "__self__", None)
        if isinstance(owner, Timer):
            self._contain(owner.callback)
            return
        for step in (getattr(owner, "abort", None), getattr(owner, "on_broken", None)):  # abort takes its callbacks off
            if step is not None:
                try:
                    step()
                except Exception:
                    log.exception("abort after a failed callback failed too: %r", callback)

    def _close_discarded(self) -> None:
        discarded, self._closing = self._closing, []
        for sock in discarded:
            sock.close()
