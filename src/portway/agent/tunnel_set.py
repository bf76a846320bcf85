"""The tunnels of a running agent: opened, closed and replaced without touching the others."""

import dataclasses
import hmac
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from portway.agent.events import EventSink, TunnelsChanged
from portway.agent.settings import TunnelRequest
from portway.session.claims import Claims, TunnelClaim

AgentClaim = TunnelClaim[TunnelRequest]


@dataclass(frozen=True, slots=True)
class TunnelChanges:
    """What leads from one list of tunnels to another. Tunnels are matched by label."""

    added: tuple[TunnelRequest, ...]
    changed: tuple[TunnelRequest, ...]
    """The new requests of tunnels that differ."""
    removed: tuple[TunnelRequest, ...]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)


def changes_between(old: Iterable[TunnelRequest], new: Iterable[TunnelRequest]) -> TunnelChanges:
    """Return the changes from `old` to `new`, in the order of `new`. Labels are unique in each."""
    before, after = {request.label: request for request in old}, {request.label: request for request in new}
    return TunnelChanges(
        added=tuple(request for label, request in after.items() if label not in before),
        changed=tuple(request for label, request in after.items() if label in before and not _equal(before[label], request)),
        removed=tuple(request for label, request in before.items() if label not in after),
    )


class TunnelSet:
    """The tunnels of one agent, over all its sessions. Call it from the loop."""

    def __init__(
        self, claims: Claims[TunnelRequest], identity: bytes, on_event: EventSink, on_changed: Callable[[TunnelChanges], None]
    ) -> None:
        """`on_changed` is called after each change, when the claims are as they should be."""
        self._claims = claims
        self._identity = identity
        self._on_event = on_event
        self._on_changed = on_changed

    @property
    def requests(self) -> list[TunnelRequest]:
        """The tunnels that the agent offers, or would offer if it were online."""
        return [claim.subject for claim in self._claims]

    def replace(self, requests: Iterable[TunnelRequest]) -> TunnelChanges:
        """Offer exactly `requests`. Tunnels that stay the same keep their visitors; those of a closed or changed one may finish.

        A changed tunnel is closed and claimed again; the server holds its address for this agent meanwhile.
        """
        changes = changes_between(self.requests, requests)
        by_label = {claim.subject.label: claim for claim in self._claims}
        for request in (*changes.removed, *changes.changed):
            self._claims.withdraw(by_label[request.label], keep=request in changes.changed)
        for request in (*changes.added, *changes.changed):
            claim = claim_for(request, self._identity)
            if request.label in by_label:
                claim.take_address_of(by_label[request.label])
            self._claims.add(claim)
        if changes:
            self._on_event(
                TunnelsChanged(*(tuple(one.label for one in part) for part in (changes.added, changes.changed, changes.removed)))
            )
            self._on_changed(changes)
        return changes


def claim_for(tunnel: TunnelRequest, identity: bytes) -> AgentClaim:
    """Return a new claim for a tunnel."""
    any_address = not (tunnel.name or tunnel.host or tunnel.port)
    # A name that the server chooses stays with this agent and this target, and no other party can compute it.
    seed = hmac.digest(identity, f"portway address {tunnel.kind} {tunnel.target.text}".encode(), "sha256") if any_address else b""
    ends_here = tunnel.termination is not None  # for the server it is a tls tunnel, and all rules are the agent's
    return TunnelClaim(
        "tls" if ends_here else tunnel.kind,
        tunnel,
        name=tunnel.name,
        host=tunnel.host,
        port=tunnel.port,
        takeover=tunnel.takeover,
        seed=seed,
        limits=tunnel.server_limits,
        rewrite=None if ends_here else tunnel.rewrite,
        access=None if ends_here else tunnel.access,
    )


def _equal(one: TunnelRequest, other: TunnelRequest) -> bool:
    """Return whether two requests ask for the same; requests themselves compare by identity."""
    return all(getattr(one, field.name) == getattr(other, field.name) for field in dataclasses.fields(TunnelRequest))
