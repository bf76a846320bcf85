"""Accounts of visitors by source: queued request heads are read in turns of sources, not of connections."""

from weakref import WeakValueDictionary

from portway.engine.accounts import Account
from portway.engine.reactor import Reactor
from portway.protocol.source_key import source_key


class SourceAccounts:
    """One account per source with a queued turn; the reactor's queue keeps it alive."""

    def __init__(self, reactor: Reactor) -> None:
        """Start without accounts."""
        self._parent = reactor.authenticated
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    def of(self, address: str) -> Account:
        """Return the account of the source that `address` belongs to."""
        source = source_key(address)
        account = self._accounts.get(source)
        if account is None:
            account = self._accounts[source] = self._parent.child(tenant=True)
        return account
