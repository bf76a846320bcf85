"""Holds one relay to the policies that it is under: a look now and then, a gate before each sink where bytes count."""

from typing import Protocol

from portway.engine.bucket import Bucket, Scheduler
from portway.engine.channel import Channel
from portway.engine.gate import Gate, Quota
from portway.engine.policy import Policy, PolicyMonitor, strictest
from portway.engine.tally import ABORTED, PAYLOAD, Flow
from portway.engine.timers import Timer

FAREWELL_S = 2.0
"""How long nothing may have moved before a relay that used up its payload breaks, where nobody can tell what the peer has. A mux stream
tells of a quarter of its window at a time: 64 KiB, 256 KiB in full flow. So whoever reads that in two seconds gets all of it."""
STUCK_S = 10.0
"""How long it waits for a peer that takes nothing of what is on its way to it."""
FAREWELL_S_MAX = 60.0
"""And for one that takes it in crumbs."""
CHECK_S = 0.05

PHASES = 64
"""Relays that come in a crowd are not looked at in one: their first looks are spread over half of the time until then."""


class Scope:
    """The policy of one tunnel or token at work, with the bandwidth that its relays share."""

    __slots__ = ("__weakref__", "backward", "forward", "joined", "policy")

    def __init__(self, clock: Scheduler, policy: Policy) -> None:
        """Begin with a full bandwidth."""
        self.policy = policy
        self.joined = 0
        """Relays that came so far."""
        self.forward: tuple[Bucket, ...] = ()
        self.backward: tuple[Bucket, ...] = ()
        if policy.bandwidth_bps is not None:
            self.forward = (Bucket(clock, policy.bandwidth_bps),)
            self.backward = (Bucket(clock, policy.bandwidth_bps),)


Scopes = tuple[Scope, ...]
"""Everything that a relay is under: its tunnel's scope, its token's. Empty: no limits, and no cost."""


def scopes_of(clock: Scheduler, policy: Policy) -> Scopes:
    """Return the scope of a policy, or nothing when it limits nothing."""
    return () if policy.limits_nothing else (Scope(clock, policy),)


def buckets_of(clock: Scheduler, scopes: Scopes, policy: Policy) -> tuple[tuple[Bucket, ...], tuple[Bucket, ...]]:
    """Return what bytes have to pass forward and backward: the shared bandwidths, and a rate of one's own (`policy` is the strictest)."""
    forward = [bucket for scope in scopes for bucket in scope.forward]
    backward = [bucket for scope in scopes for bucket in scope.backward]
    if policy.max_rate_bps is not None:
        forward.append(Bucket(clock, policy.max_rate_bps))
        backward.append(Bucket(clock, policy.max_rate_bps))
    return tuple(forward), tuple(backward)


class Limited(Protocol):
    """A relay, or an HTTP exchange, as its limits see it."""

    @property
    def moved_bytes(self) -> int:
        """Bytes that went either way so far."""

    def outgoing_channels(self) -> tuple[Channel, ...]:
        """Return the channels on which bytes may still be on their way."""

    def stop(self, reason: str) -> None:
        """Read nothing more, either way; both channels live on."""

    def end(self, reason: str) -> None:
        """Break both sides."""


class LimitEnforcer:
    """What a relay with limits has more than one without: one timer in the wheel, and two gates where bytes count."""

    __slots__ = ("_began_at", "_clock", "_gates", "_relay", "_scopes", "_stuck_since", "_timer", "_unread", "_watch", "policy")

    def __init__(self, clock: Scheduler, relay: Limited, scopes: Scopes) -> None:
        """Begin to look; the gates come into being with `gates`."""
        self._clock = clock
        self._relay: Limited | None = relay
        self._scopes = scopes
        self.policy = strictest(scope.policy for scope in scopes)
        """Of each limit the strictest."""
        self._gates: tuple[Gate, ...] = ()
        self._timer: Timer | None = None
        self._began_at = self._stuck_since = 0.0
        self._unread: tuple[object, ...] = ()
        self._watch: PolicyMonitor | None = None
        if self.policy.times:
            self._watch = PolicyMonitor(self.policy, clock.now)
            _, look_at = self._watch.look(clock.now, 0)
            scopes[0].joined += 1
            early = scopes[0].joined % PHASES / (2 * PHASES)
            self._timer = clock.call_later((look_at - clock.now) * (1 - early), self._look)

    def gates(self, left: Channel, right: Channel) -> tuple[Channel | Gate, Channel | Gate]:
        """Return what the forward and the backward pump shall send to: the channels themselves where bytes do not count."""
        forward, backward = buckets_of(self._clock, self._scopes, self.policy)
        quota = self.quota()
        if quota is None and not forward:
            return right, left
        to_right, to_left = Gate(right, forward, quota), Gate(left, backward, quota)
        self._gates = (to_right, to_left)
        return to_right, to_left

    def quota(self) -> Quota | None:
        """Return what may still pass, both ways together, or None where that is not limited."""
        return None if self.policy.max_total_payload is None else Quota(self.policy.max_total_payload, self._spent)

    def counted(self, forward: Flow, backward: Flow) -> tuple[Flow, Flow]:
        """Return both flows with the bytes that were let through, where those were counted."""
        if not self._gates:
            return forward, backward
        there, back = (
            Flow(gate.bytes, flow.event_count, flow.shutdown_reason, flow.duration)
            for gate, flow in zip(self._gates, (forward, backward), strict=True)
        )
        return there, back

    def over(self) -> None:
        """Let go of a relay that has ended, and of whatever leads back to it."""
        self._cancel()
        self._relay = None
        for gate in self._gates:
            gate.let_go()

    def abort(self) -> None:
        """End the relay, as the reactor asks after a failed callback."""
        if self._relay is not None:
            self._relay.end(ABORTED)

    def _look(self) -> None:
        """Judge, and come back when the watch says so."""
        self._timer = None
        watch, relay = self._watch, self._relay
        if watch is None or relay is None:
            return
        now = self._clock.now
        reason, again_at = watch.look(now, relay.moved_bytes)
        if reason:
            relay.end(reason)
        else:
            self._timer = self._clock.call_later(again_at - now, self._look)

    def _spent(self) -> None:
        """Stop at the last byte that may go, and break both sides as soon as it has arrived: a reset overtakes what is on its way."""
        if self._relay is None:
            return
        for gate in self._gates:
            gate.shut()
        self._relay.stop(PAYLOAD)
        self._cancel()
        self._began_at = self._stuck_since = self._clock.now
        self._timer = self._clock.call_later(CHECK_S, self._end_when_delivered)

    def _end_when_delivered(self) -> None:
        self._timer = None
        relay = self._relay
        if relay is None:
            return
        now = self._clock.now
        ways = relay.outgoing_channels()
        unsent = [channel.unsent_bytes() for channel in ways]
        unread = (*unsent, *(channel.send_window for channel in ways))
        if unread != self._unread:
            self._unread, self._stuck_since = unread, now
        known = sum(count for count in unsent if count is not None)
        arrived = not known and (None not in unsent or now - self._stuck_since >= FAREWELL_S)
        if arrived or now - self._stuck_since >= STUCK_S or now - self._began_at >= FAREWELL_S_MAX:
            relay.end(PAYLOAD)
        else:
            self._timer = self._clock.call_later(CHECK_S, self._end_when_delivered)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
