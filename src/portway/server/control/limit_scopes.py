"""Limits of relays: those of a token, shared by all its sessions in this process, and those that an agent requests."""

from weakref import WeakValueDictionary

from portway.engine.limits import Scope, Scopes, scopes_of
from portway.engine.policy import Policy
from portway.engine.reactor import Reactor
from portway.protocol.control.messages import ExchangeLimits
from portway.server.access.tokens import TokenRecord


class LimitScopes:
    """One scope per token, for as long as a lease or a relay refers to it."""

    def __init__(self, reactor: Reactor) -> None:
        """Start empty."""
        self._reactor = reactor
        self._scopes: WeakValueDictionary[str, Scope] = WeakValueDictionary()

    def of(self, token: TokenRecord) -> Scopes:
        """Return the scopes of a token's relays; empty if its policy has no limits."""
        if token.grants.policy.is_unlimited:
            return ()
        scope = self._scopes.get(token.id)
        if scope is None:
            scope = self._scopes[token.id] = Scope(self._reactor, token.grants.policy)
        return (scope,)


def requested_scopes(reactor: Reactor, limits: ExchangeLimits | None) -> Scopes:
    """Return the scopes that an agent requests for a tunnel, in addition to those of its token."""
    if limits is None:
        return ()
    policy = Policy(
        idle_timeout_s=limits.idle_timeout_s or None,
        min_rate_bpm=limits.min_rate_bpm or None,
        max_rate_bps=limits.max_rate_bps or None,
        max_lifetime_s=limits.max_lifetime_s or None,
        max_total_payload=limits.max_total_payload or None,
    )
    return scopes_of(reactor, policy)
