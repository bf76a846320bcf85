"""What limits relays: a token's limits, one and the same for all its sessions within this process, and what an agent asks for."""

from weakref import WeakValueDictionary

from portway.engine.limits import Scope, Scopes, scopes_of
from portway.engine.policy import Policy
from portway.engine.reactor import Reactor
from portway.protocol.control.messages import ExchangeLimits
from portway.server.access.tokens import TokenRecord


class LimitScopes:
    """Keeps a token's scope for as long as a lease or a relay is in it."""

    def __init__(self, reactor: Reactor) -> None:
        """Know no token yet."""
        self._reactor = reactor
        self._scopes: WeakValueDictionary[str, Scope] = WeakValueDictionary()

    def of(self, token: TokenRecord) -> Scopes:
        """Return what limits a token's relays; nothing when its policy does not."""
        if token.grants.policy.is_unlimited:
            return ()
        scope = self._scopes.get(token.id)
        if scope is None:
            scope = self._scopes[token.id] = Scope(self._reactor, token.grants.policy)
        return (scope,)


def requested_scopes(reactor: Reactor, limits: ExchangeLimits | None) -> Scopes:
    """Return what limits the requests of a tunnel as its agent asked for, beside its token."""
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
