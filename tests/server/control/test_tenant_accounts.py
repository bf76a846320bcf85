"""The accounts of tenants."""

import gc

from portway.server.control.tenant_accounts import TenantAccounts
from tests.kit.loops import EngineLoop


def test_a_token_has_one_account_as_long_as_it_is_referenced(engine: EngineLoop) -> None:
    tenants = TenantAccounts(engine.reactor)
    account = tenants.of("one")
    assert tenants.of("one") is account
    assert tenants.of("another") is not account
    link = account.child()
    assert link.tenant is account
    gc.disable()
    try:
        del account
        assert tenants.of("one") is link.tenant, "a link still belongs to it"
        del link
        assert not tenants._accounts
    finally:
        gc.enable()


def test_tenants_compete_below_the_members(engine: EngineLoop) -> None:
    tenants = TenantAccounts(engine.reactor)
    served: list[str] = []
    for name in ("one", "another"):
        for number in range(3):
            engine.reactor.call_soon_charged(tenants.of(name).child(), lambda told=f"{name} {number}": served.append(told))  # type: ignore[misc]
    engine.settle()
    assert sorted(served) == sorted(f"{name} {number}" for name in ("one", "another") for number in range(3))
