"""A token bucket that many relays share equally, with two timers for all of them and none while nothing is sent."""

import heapq
from collections.abc import Callable
from typing import Protocol

from portway.engine.timers import Timer

BURST_S = 0.1
"""Burst after a pause, in seconds of the rate. While shares wait, nothing is lost: a late wake-up brings all that was due meanwhile."""
LATE_S_MAX = 1.0
"""Credit that a late wake-up may bring, in seconds of the rate: after a suspended process resumes, the bound prevents a long burst."""
GRANT_BYTES_MAX = 64 * 1024
"""Largest grant: enough for a large read, and small enough that other shares are served soon."""
GRANT_BYTES_MIN = 1024
"""Smallest grant, because a system call should carry more; rates below twenty times this per second get smaller ones."""
GRANT_S = 0.025
"""Size of a grant in seconds of the rate, between these bounds."""
UNUSED_S_MAX = 0.25
"""How long a grant may stay unused: otherwise shares that send little could save up credit and later use it all at once."""
CATCH_UP_GRANTS = 4
"""How far a relay that was limited elsewhere (by another bucket, or a slow peer) may catch up with the others, in grants."""
SLICES = 4
"""Parts of a round, so that shares that are behind get more of them."""
SLICES_PER_TURN = 1024
"""Slices served before other work of the reactor gets its turn."""


class Scheduler(Protocol):
    """The part of the reactor that a bucket uses."""

    @property
    def now(self) -> float:
        """Monotonic seconds."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the end of the ready queue."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back about `delay_s` seconds from now, never earlier."""


class Share:
    """One relay's share of a bucket, for one direction."""

    __slots__ = ("bucket", "credit", "granted_at", "start_tag", "waiting", "wake")

    def __init__(self, bucket: "Bucket", wake: Callable[[], None]) -> None:
        """`wake` is called from the ready queue when there is credit again, after `request` returned 0."""
        self.bucket = bucket
        self.credit = 0
        """Bytes that may pass, already taken from the bucket; the caller that passes them subtracts them."""
        self.start_tag = bucket.virtual_time
        """Start tag in bytes of the bucket's virtual time; the lowest is served first."""
        self.granted_at = 0.0
        """Time of the last grant."""
        self.waiting = False
        self.wake = wake

    def request(self) -> int:
        """Return the credit, requesting more when there is none; 0 guarantees a later call of `wake`."""
        if not self.credit:
            self.credit = self.bucket.grant(self)
        return self.credit

    def release(self) -> None:
        """Stop waiting and return unused credit."""
        self.bucket.remove(self)
        self.credit = 0


class Bucket:
    """A rate in bytes per second, divided among its shares.

    Shares that find the bucket empty wait and are served by start-time fair queueing (Goyal, Vin, Cheng 1996): the start tag of a share
    grows with its grants, and the lowest tag is served first. So relays with more traffic than their share get equal parts, those with
    less get all they need, and a relay delayed by another bucket catches up, within bounds. A grant stays with its share until it is
    used, or reclaimed after a while.
    """

    __slots__ = (
        *("_at", "_catch_up_bytes", "_grant_bytes", "_grant_bytes_min", "_level", "_outstanding", "_queue", "_reclaim_timer"),
        *("_scheduler", "_sequence", "_timer", "rate_bps", "virtual_time", "waiting"),
    )

    def __init__(self, scheduler: Scheduler, rate_bps: int) -> None:
        """Start to grant `rate_bps` bytes per second."""
        self.rate_bps = rate_bps
        self.virtual_time = 0
        """Start tag of the share that was served last."""
        self.waiting = 0
        """Number of waiting shares."""
        self._scheduler = scheduler
        self._grant_bytes_min = max(1, min(GRANT_BYTES_MIN, rate_bps // 20))
        self._grant_bytes = max(self._grant_bytes_min, min(GRANT_BYTES_MAX, int(rate_bps * GRANT_S)))
        self._catch_up_bytes = CATCH_UP_GRANTS * self._grant_bytes
        self._level = max(float(self._grant_bytes_min), rate_bps * BURST_S / 2)
        self._at = scheduler.now
        self._queue: list[tuple[int, int, Share]] = []
        """A heap by start tag, then by order of arrival; it may contain shares that no longer wait."""
        self._sequence = 0
        self._timer: Timer | None = None
        self._outstanding: dict[Share, int] = {}
        """Shares with recent grants: their credit at the last check plus what they were granted since."""
        self._reclaim_timer: Timer | None = None

    def grant(self, share: Share) -> int:
        """Return bytes for `share`, or queue it and return 0."""
        if share.waiting:
            return 0
        share.start_tag = max(share.start_tag, self.virtual_time - self._catch_up_bytes)
        if not self.waiting:
            self._fill()
            if self._level >= self._grant_bytes_min:
                granted = min(int(self._level), self._grant_bytes)
                self._level -= granted
                self.virtual_time = share.start_tag
                share.start_tag += granted
                self._record_grant(share, granted)
                return granted
        share.waiting = True
        self.waiting += 1
        self._push(share)
        self._set_timer()
        return 0

    def remove(self, share: Share) -> None:
        """Remove `share` from the waiting ones and take back its unused credit."""
        self._level += share.credit
        self._outstanding.pop(share, None)
        if not self._outstanding and self._reclaim_timer is not None:
            self._reclaim_timer.cancel()
            self._reclaim_timer = None
        if share.waiting:
            share.waiting = False
            self.waiting -= 1
            if not self.waiting:
                self._queue.clear()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None

    def _push(self, share: Share) -> None:
        self._sequence += 1
        heapq.heappush(self._queue, (share.start_tag, self._sequence, share))

    def _record_grant(self, share: Share, granted: int) -> None:
        """Record a grant to a share without credit, so that the unused part is reclaimed later."""
        share.granted_at = self._at
        self._outstanding[share] = self._outstanding.get(share, 0) + granted
        if self._reclaim_timer is None:
            self._reclaim_timer = self._scheduler.call_later(UNUSED_S_MAX, self._reclaim)

    def _reclaim(self) -> None:
        """Reclaim unused credit: what exceeds twice the amount that the share used meanwhile."""
        self._reclaim_timer = None
        self._fill()
        unused = 0
        for share, granted in list(self._outstanding.items()):
            if self._at - share.granted_at >= UNUSED_S_MAX:
                left = min(share.credit, 2 * (granted - share.credit))
                unused += share.credit - left
                share.start_tag -= share.credit - left
                share.credit = self._outstanding[share] = left
                if not left:
                    del self._outstanding[share]
        self._level = max(self._level, min(self._full, self._level + unused))
        if self._outstanding:
            self._reclaim_timer = self._scheduler.call_later(UNUSED_S_MAX, self._reclaim)

    @property
    def _full(self) -> float:
        return max(self.rate_bps * (LATE_S_MAX if self.waiting else BURST_S), self._grant_bytes_min)

    def _fill(self) -> None:
        """Add what became due since the last call."""
        now = self._scheduler.now
        passed_s, self._at = now - self._at, now
        full = self._full
        if self._level < full and passed_s > 0:
            self._level = min(full, self._level + passed_s * self.rate_bps)

    def _set_timer(self) -> None:
        if self._timer is None:
            self._timer = self._scheduler.call_later((self._grant_bytes_min - self._level) / self.rate_bps, self._serve)

    def _serve(self) -> None:
        """Grant the available bytes slice by slice, each to the share that is furthest behind; then wake the shares that got some."""
        self._timer = None
        self._fill()
        if not self.waiting:
            return
        queue = self._queue
        piece = max(self._grant_bytes_min, min(int(self._level) // (SLICES * self.waiting), self._grant_bytes))
        served: list[Share] = []
        for _ in range(SLICES_PER_TURN):
            if not queue or self._level < piece:
                break
            _, _, share = heapq.heappop(queue)
            if share.waiting:
                self._level -= piece
                self.virtual_time = share.start_tag
                share.start_tag += piece
                if not share.credit:
                    served.append(share)
                share.credit += piece
                if share.credit < self._grant_bytes:
                    self._push(share)
        for share in served:
            self._record_grant(share, share.credit)
            share.waiting = False
            self._scheduler.call_soon(share.wake)
        self.waiting -= len(served)
        self._queue = [entry for entry in queue if entry[2].waiting]
        heapq.heapify(self._queue)
        if self.waiting:
            self._set_timer()
