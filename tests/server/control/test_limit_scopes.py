"""One scope for all relays of a token, and none without limits."""

import gc

from portway.engine.policy import Policy
from portway.protocol.scram import make_verifier
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.control.limit_scopes import LimitScopes
from tests.kit.loops import EngineLoop

VERIFIER = make_verifier("x" * 22, b"s" * 16)


def token(token_id: str, policy: Policy) -> TokenRecord:
    return TokenRecord(id=token_id, name=token_id, verifier=VERIFIER, grants=Grants(policy=policy))


def test_all_sessions_of_a_token_share_one_scope(engine: EngineLoop) -> None:
    scopes, limits = LimitScopes(engine.reactor), Policy(max_rate_bps=1_000_000)
    first = scopes.of(token("a", limits))

    assert len(first) == 1
    assert scopes.of(token("a", limits)) == first
    assert scopes.of(token("b", limits)) != first


def test_a_token_without_limits_has_no_scope(engine: EngineLoop) -> None:
    assert LimitScopes(engine.reactor).of(token("a", Policy())) == ()


def test_a_scope_is_freed_with_its_last_reference(engine: EngineLoop) -> None:
    scopes, limits = LimitScopes(engine.reactor), Policy(max_rate_bps=1_000_000)
    scopes.of(token("a", limits))
    gc.collect()

    assert not scopes._scopes
