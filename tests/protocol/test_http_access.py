"""Access rules of an http tunnel."""

import pytest

from portway.protocol.control.messages import AccessRules
from portway.protocol.http_access import DEFAULT, HttpAccess, is_local_name, must_be_enforced


def test_rules_without_restrictions_need_not_be_enforced() -> None:
    assert not must_be_enforced(None)
    assert not must_be_enforced(AccessRules(plain_http="serve", hsts_s=1))
    assert must_be_enforced(AccessRules(plain_http="refuse"))


def test_hsts_is_a_max_age() -> None:
    assert (DEFAULT.plain_http, DEFAULT.hsts) == ("redirect", b"")
    assert HttpAccess(AccessRules(hsts_s=31_536_000)).hsts == b"max-age=31536000"
    assert HttpAccess(AccessRules(hsts_s=0)).hsts == b"max-age=0"


@pytest.mark.parametrize(
    ("host", "local"), [("localhost", True), ("a.localhost", True), ("mylocalhost", False), ("localhost.example.org", False)]
)
def test_local_names_are_those_at_and_below_localhost(host: str, local: bool) -> None:
    assert is_local_name(host) is local
