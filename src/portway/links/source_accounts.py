"""Accounts of unauthenticated peers and visitors by source: queued turns are shared by sources, not by connections."""

from collections.abc import Callable
from weakref import WeakValueDictionary

from portway.engine.accounts import Account
from portway.protocol.source_key import source_key


def _equal(_source: str) -> float:
    """Return the same weight for every source."""
    return 1.0


class SourceAccounts:
    """One account per source; the reactor's queue, or a channel, keeps it alive."""

    def __init__(self, parent: Account, weight: Callable[[str], float] = _equal) -> None:
        """Create accounts below `parent`, each a tenant of its own with the `weight` of its source."""
        self._parent = parent
        self._weight = weight
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    def of(self, address: str) -> Account:
        """Return the account of the source that `address` belongs to."""
        source = source_key(address)
        account = self._accounts.get(source)
        if account is None:
            account = self._accounts[source] = self._parent.child(self._weight(source), tenant=True)
        return account
