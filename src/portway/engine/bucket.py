"""A token bucket that many relays draw from in equal parts, with two timers for all of them, and none while nobody sends."""

import heapq
from collections.abc import Callable
from typing import Protocol

from portway.engine.timers import Timer

BURST_S = 0.1
"""What a rate may make up for after a pause, in seconds of itself. While somebody waits nothing is lost: a wake-up that comes late
brings all that was due meanwhile."""
DEBT_S_MAX = 1.0
"""How far a wake-up may be late without loss: a process that stood still does not owe minutes to its visitors."""
GRANT_BYTES_MAX = 64 * 1024
"""What is granted at a time, at most: enough for a large read, little enough that the others come soon."""
GRANT_BYTES_MIN = 1024
"""Below this a system call carries too little, unless the rate itself is lower than twenty times as much a second."""
GRANT_S = 0.025
"""What is granted at a time, in seconds of the rate, between these bounds."""
LAPSE_S = 0.25
"""How long a grant may lie unused: else everybody who ever sent a little would keep some for a day when all of them send."""
ARREARS_GRANTS = 4
"""How far a relay that was busy elsewhere (in another bucket, with a slow peer) may catch up with the others, in grants."""
SLICES = 4
"""Into how many parts a round is cut, so that who is behind gets more of them."""
SLICES_A_TURN = 1024
"""Then the reactor's others get their turn."""


class Scheduler(Protocol):
    """What a bucket needs of the reactor."""

    @property
    def now(self) -> float:
        """Monotonic seconds."""

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call back from the end of the ready queue."""

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back about `delay_s` seconds from now, never earlier."""


class Share:
    """One relay's part in a bucket, for one direction."""

    __slots__ = ("bucket", "credit", "granted_at", "tag", "waiting", "wake")

    def __init__(self, bucket: "Bucket", wake: Callable[[], None]) -> None:
        """`wake` is called from the ready queue when there is credit again, after `ask` gave none."""
        self.bucket = bucket
        self.credit = 0
        """Bytes that may pass; whoever passes them takes them off. Taken from the bucket already."""
        self.tag = bucket.tag
        """How far it was served, in bytes on the bucket's own scale: the lowest comes first."""
        self.granted_at = 0.0
        """When it was granted something the last time."""
        self.waiting = False
        self.wake = wake

    def ask(self) -> int:
        """Return the credit, after asking for more when there is none; 0 is a promise to call `wake`."""
        if not self.credit:
            self.credit = self.bucket.grant(self)
        return self.credit

    def leave(self) -> None:
        """Wait no more, and give back what was not used."""
        self.bucket.forget(self)
        self.credit = 0


class Bucket:
    """So many bytes a second, for all shares in it.

    Who finds the bucket empty waits, and is served by start-time fair queueing (Goyal, Vin, Cheng 1996): each share has a tag that
    grows with what it was granted, and the lowest tag comes first. So relays that want more than their part get equal parts, those
    that want less get what they want, and whoever was held up by another bucket catches up, within bounds. A grant stays with
    its share until it is used, or taken back after a while.
    """

    __slots__ = (
        *("_arrears", "_at", "_clock", "_grant", "_grant_min", "_lapse", "_lent", "_level", "_number", "_queue", "_timer"),
        *("rate_bps", "tag", "waiting"),
    )

    def __init__(self, clock: Scheduler, rate_bps: int) -> None:
        """Let `rate_bps` bytes a second through, from now on."""
        self.rate_bps = rate_bps
        self.tag = 0
        """Where the share stood that was served last."""
        self.waiting = 0
        """How many shares wait."""
        self._clock = clock
        self._grant_min = max(1, min(GRANT_BYTES_MIN, rate_bps // 20))
        self._grant = max(self._grant_min, min(GRANT_BYTES_MAX, int(rate_bps * GRANT_S)))
        self._arrears = ARREARS_GRANTS * self._grant
        self._level = max(float(self._grant_min), rate_bps * BURST_S / 2)
        self._at = clock.now
        self._queue: list[tuple[int, int, Share]] = []
        """A heap by tag, then by order of arrival; with shares that wait no more, for a while."""
        self._number = 0
        self._timer: Timer | None = None
        self._lent: dict[Share, int] = {}
        """Who was granted something lately, with its credit when it was last looked at and what it was granted since."""
        self._lapse: Timer | None = None

    def grant(self, share: Share) -> int:
        """Return bytes for `share`, or 0 and let it wait."""
        if share.waiting:
            return 0
        share.tag = max(share.tag, self.tag - self._arrears)
        if not self.waiting:
            self._fill()
            if self._level >= self._grant_min:
                granted = min(int(self._level), self._grant)
                self._level -= granted
                self.tag = share.tag
                share.tag += granted
                self._note(share, granted)
                return granted
        share.waiting = True
        self.waiting += 1
        self._push(share)
        self._sleep()
        return 0

    def forget(self, share: Share) -> None:
        """Let `share` wait no more, and take its unused credit back."""
        self._level += share.credit
        self._lent.pop(share, None)
        if not self._lent and self._lapse is not None:
            self._lapse.cancel()
            self._lapse = None
        if share.waiting:
            share.waiting = False
            self.waiting -= 1
            if not self.waiting:
                self._queue.clear()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None

    def _push(self, share: Share) -> None:
        self._number += 1
        heapq.heappush(self._queue, (share.tag, self._number, share))

    def _note(self, share: Share, granted: int) -> None:
        """See later what becomes of what is granted now, to a share without credit."""
        share.granted_at = self._at
        self._lent[share] = self._lent.get(share, 0) + granted
        if self._lapse is None:
            self._lapse = self._clock.call_later(LAPSE_S, self._take_back)

    def _take_back(self) -> None:
        """Take back what was granted and is not used: of each credit more than twice what it was used for meanwhile."""
        self._lapse = None
        self._fill()
        unused = 0
        for share, lent in list(self._lent.items()):
            if self._at - share.granted_at >= LAPSE_S:
                kept = min(share.credit, 2 * (lent - share.credit))
                unused += share.credit - kept
                share.tag -= share.credit - kept
                share.credit = self._lent[share] = kept
                if not kept:
                    del self._lent[share]
        self._level = max(self._level, min(self._full, self._level + unused))
        if self._lent:
            self._lapse = self._clock.call_later(LAPSE_S, self._take_back)

    @property
    def _full(self) -> float:
        return max(self.rate_bps * (DEBT_S_MAX if self.waiting else BURST_S), self._grant_min)

    def _fill(self) -> None:
        """Add what came due since the last time."""
        now = self._clock.now
        passed_s, self._at = now - self._at, now
        full = self._full
        if self._level < full and passed_s > 0:
            self._level = min(full, self._level + passed_s * self.rate_bps)

    def _sleep(self) -> None:
        if self._timer is None:
            self._timer = self._clock.call_later((self._grant_min - self._level) / self.rate_bps, self._serve)

    def _serve(self) -> None:
        """Give out what there is, slice by slice, each to whoever is furthest behind; then wake those who got some."""
        self._timer = None
        self._fill()
        if not self.waiting:
            return
        queue = self._queue
        piece = max(self._grant_min, min(int(self._level) // (SLICES * self.waiting), self._grant))
        served: list[Share] = []
        for _ in range(SLICES_A_TURN):
            if not queue or self._level < piece:
                break
            _, _, share = heapq.heappop(queue)
            if share.waiting:
                self._level -= piece
                self.tag = share.tag
                share.tag += piece
                if not share.credit:
                    served.append(share)
                share.credit += piece
                if share.credit < self._grant:
                    self._push(share)
        for share in served:
            self._note(share, share.credit)
            share.waiting = False
            self._clock.call_soon(share.wake)
        self.waiting -= len(served)
        self._queue = [entry for entry in queue if entry[2].waiting]
        heapq.heapify(self._queue)
        if self.waiting:
            self._sleep()
