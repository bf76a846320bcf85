"""Accounts of tenants: all work for one token competes as one tenant (ADR 0018)."""

from weakref import WeakValueDictionary

from portway.engine.accounts import Account
from portway.engine.reactor import Reactor


class TenantAccounts:
    """One account per token with sessions; it lives as long as any of them refers to it."""

    def __init__(self, reactor: Reactor) -> None:
        """Start empty."""
        self._authenticated = reactor.authenticated
        self._accounts: WeakValueDictionary[str, Account] = WeakValueDictionary()

    def of(self, token_id: str) -> Account:
        """Return the account of a token."""
        account = self._accounts.get(token_id)
        if account is None:
            account = self._accounts[token_id] = self._authenticated.child(tenant=True)
        return account
