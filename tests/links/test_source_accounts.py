"""Accounts of visitors by source."""

import gc

from portway.links.source_accounts import SourceAccounts
from tests.kit.loops import EngineLoop


def test_a_source_has_one_account_for_as_long_as_it_is_used(engine: EngineLoop) -> None:
    accounts = SourceAccounts(engine.reactor.authenticated)
    first = accounts.of("192.0.2.1")
    assert accounts.of("192.0.2.1") is first
    assert accounts.of("192.0.2.2") is not first
    assert accounts.of("2001:db8::1") is accounts.of("2001:db8::2"), "a network of one customer is one source"
    assert first.parent is engine.reactor.authenticated
    number = id(first)
    del first
    gc.collect()
    assert len(accounts._accounts) == 0
    assert number


def test_sources_may_have_weights(engine: EngineLoop) -> None:
    accounts = SourceAccounts(engine.reactor.unauthenticated, lambda source: 8.0 if source == "192.0.2.1" else 1.0)
    assert (accounts.of("192.0.2.1").weight, accounts.of("192.0.2.2").weight) == (8.0, 1.0)
