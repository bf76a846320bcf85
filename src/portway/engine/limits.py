"""Enforces the policies of one relay: periodic checks for time limits, a gate before each sink for byte limits (ADR 0012)."""

from typing import Protocol

from portway.engine.bucket import Bucket, Scheduler
from portway.engine.channel import Channel
from portway.engine.gate import Gate, Quota
from portway.engine.policy import Policy, PolicyMonitor, strictest
from portway.engine.tally import ABORTED, PAYLOAD, Flow
from portway.engine.timers import Timer

PAYLOAD_QUIET_S = 2.0
"""How long nothing may move before a relay at its payload limit is reset, where delivery to the peer cannot be observed. A mux stream
reports a quarter of its window at a time: 64 KiB, 256 KiB in full flow. So a peer that reads that much in two seconds gets all of it."""
STUCK_S = 10.0
"""How long it waits for a peer that accepts none of the remaining bytes."""
PAYLOAD_END_S_MAX = 60.0
"""Upper bound for a peer that accepts them in small pieces."""
CHECK_S = 0.05

STAGGER_STEPS = 64
"""Staggers the first check of relays that start together over half of the interval."""


class Scope:
    """The policy of one tunnel or token in use, with the bandwidth that its relays share."""

    __slots__ = ("__weakref__", "backward", "forward", "joined", "policy")

    def __init__(self, scheduler: Scheduler, policy: Policy) -> None:
        """Start with the full bandwidth."""
        self.policy = policy
        self.joined = 0
        """Relays started so far."""
        self.forward: tuple[Bucket, ...] = ()
        self.backward: tuple[Bucket, ...] = ()
        if policy.bandwidth_bps is not None:
            self.forward = (Bucket(scheduler, policy.bandwidth_bps),)
            self.backward = (Bucket(scheduler, policy.bandwidth_bps),)


Scopes = tuple[Scope, ...]
"""All scopes that apply to a relay: those of its tunnel and of its token. Empty: no limits, and no cost."""


def scopes_of(scheduler: Scheduler, policy: Policy) -> Scopes:
    """Return the scope of a policy, or none when the policy is unlimited."""
    return () if policy.is_unlimited else (Scope(scheduler, policy),)


def buckets_of(scheduler: Scheduler, scopes: Scopes, policy: Policy) -> tuple[tuple[Bucket, ...], tuple[Bucket, ...]]:
    """Return the buckets of both directions: the shared bandwidths, and the relay's own rate (`policy` is the strictest)."""
    forward = [bucket for scope in scopes for bucket in scope.forward]
    backward = [bucket for scope in scopes for bucket in scope.backward]
    if policy.max_rate_bps is not None:
        forward.append(Bucket(scheduler, policy.max_rate_bps))
        backward.append(Bucket(scheduler, policy.max_rate_bps))
    return tuple(forward), tuple(backward)


class Limited(Protocol):
    """A relay or an HTTP exchange, as seen by its limits."""

    @property
    def moved_bytes(self) -> int:
        """Bytes moved so far, both directions combined."""

    def outgoing_channels(self) -> tuple[Channel, ...]:
        """Return the channels that may still have undelivered bytes."""

    def stop(self, reason: str) -> None:
        """Stop reading in both directions; both channels stay open."""

    def end(self, reason: str) -> None:
        """Reset both sides."""


class LimitEnforcer:
    """Enforces the limits of one relay: one timer in the wheel, and two gates if bytes are limited."""

    __slots__ = ("_ending_since", "_gates", "_monitor", "_relay", "_scheduler", "_scopes", "_stuck_since", "_timer", "_unread", "policy")

    def __init__(self, scheduler: Scheduler, relay: Limited, scopes: Scopes) -> None:
        """Start the periodic checks; `gates` creates the gates."""
        self._scheduler = scheduler
        self._relay: Limited | None = relay
        self._scopes = scopes
        self.policy = strictest(scope.policy for scope in scopes)
        """The strictest value of each limit."""
        self._gates: tuple[Gate, ...] = ()
        self._timer: Timer | None = None
        self._ending_since = self._stuck_since = 0.0
        self._unread: tuple[object, ...] = ()
        self._monitor: PolicyMonitor | None = None
        if self.policy.has_time_limits:
            self._monitor = PolicyMonitor(self.policy, scheduler.now)
            _, check_at = self._monitor.check(scheduler.now, 0)
            scopes[0].joined += 1
            early = scopes[0].joined % STAGGER_STEPS / (2 * STAGGER_STEPS)
            self._timer = scheduler.call_later((check_at - scheduler.now) * (1 - early), self._check)

    def gates(self, left: Channel, right: Channel) -> tuple[Channel | Gate, Channel | Gate]:
        """Return the sinks of the forward and the backward pump: the channels themselves if bytes are not limited."""
        forward, backward = buckets_of(self._scheduler, self._scopes, self.policy)
        quota = self.quota()
        if quota is None and not forward:
            return right, left
        to_right, to_left = Gate(right, forward, quota), Gate(left, backward, quota)
        self._gates = (to_right, to_left)
        return to_right, to_left

    def quota(self) -> Quota | None:
        """Return the payload quota of both directions combined, or None without such a limit."""
        return None if self.policy.max_total_payload is None else Quota(self.policy.max_total_payload, self._spent)

    def passed_flows(self, forward: Flow, backward: Flow) -> tuple[Flow, Flow]:
        """Return both flows with the bytes that passed the gates, if there are gates."""
        if not self._gates:
            return forward, backward
        there, back = (
            Flow(gate.bytes, flow.event_count, flow.shutdown_reason, flow.duration)
            for gate, flow in zip(self._gates, (forward, backward), strict=True)
        )
        return there, back

    def close(self) -> None:
        """Release a relay that has ended, and everything that refers to it."""
        self._cancel()
        self._relay = None
        for gate in self._gates:
            gate.release()

    def abort(self) -> None:
        """End the relay; called by the reactor after a failed callback."""
        if self._relay is not None:
            self._relay.end(ABORTED)

    def _check(self) -> None:
        """Check the relay, and schedule the next check."""
        self._timer = None
        monitor, relay = self._monitor, self._relay
        if monitor is None or relay is None:
            return
        now = self._scheduler.now
        reason, again_at = monitor.check(now, relay.moved_bytes)
        if reason:
            relay.end(reason)
        else:
            self._timer = self._scheduler.call_later(again_at - now, self._check)

    def _spent(self) -> None:
        """Stop at the last allowed byte, and reset both sides once it was delivered, because a reset overtakes undelivered data."""
        if self._relay is None:
            return
        for gate in self._gates:
            gate.shut()
        self._relay.stop(PAYLOAD)
        self._cancel()
        self._ending_since = self._stuck_since = self._scheduler.now
        self._timer = self._scheduler.call_later(CHECK_S, self._end_when_delivered)

    def _end_when_delivered(self) -> None:
        self._timer = None
        relay = self._relay
        if relay is None:
            return
        now = self._scheduler.now
        channels = relay.outgoing_channels()
        unsent = [channel.unsent_bytes() for channel in channels]
        unread = (*unsent, *(channel.send_window for channel in channels))
        if unread != self._unread:
            self._unread, self._stuck_since = unread, now
        known = sum(count for count in unsent if count is not None)
        arrived = not known and (None not in unsent or now - self._stuck_since >= PAYLOAD_QUIET_S)
        if arrived or now - self._stuck_since >= STUCK_S or now - self._ending_since >= PAYLOAD_END_S_MAX:
            relay.end(PAYLOAD)
        else:
            self._timer = self._scheduler.call_later(CHECK_S, self._end_when_delivered)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
