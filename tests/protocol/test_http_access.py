"""Access rules of an http tunnel."""

import pytest

from portway.errors import RefusedError
from portway.protocol.control.messages import AccessRules
from portway.protocol.http_access import DEFAULT, HttpAccess, check_access, is_local_name, must_be_enforced


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


HASH = "$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"


@pytest.mark.parametrize("rules", [AccessRules(users=[("ann", HASH)]), AccessRules(allow_ip=["10.0.0.0/8"]), AccessRules(deny_ip=["::/0"])])
def test_rules_that_restrict_must_be_enforced(rules: AccessRules) -> None:
    check_access(rules)
    assert must_be_enforced(rules)
    assert HASH not in repr(rules)


@pytest.mark.parametrize(
    ("rules", "reason"),
    [
        (AccessRules(users=[("a:b", HASH)]), "user name 'a:b'"),
        (AccessRules(users=[("", HASH)]), "user name ''"),
        (AccessRules(users=[("a\n", HASH)]), "user name"),
        (AccessRules(users=[("ann", HASH), ("ann", HASH)]), "repeated user name 'ann'"),
        (AccessRules(users=[("ann", "plain")]), "user 'ann': unknown password hash"),
        (AccessRules(allow_ip=["10.0.0.1/8"]), "invalid network '10.0.0.1/8'"),
        (AccessRules(deny_ip=["example.org"]), "invalid network"),
        (AccessRules(allow_ip=["10.0.0.0/8"], deny_ip=["10.0.0.0/8"]), "both allowed and denied"),
    ],
)
def test_invalid_rules_are_refused(rules: AccessRules, reason: str) -> None:
    with pytest.raises(RefusedError) as refused:
        check_access(rules)
    assert refused.value.code == "invalid_access"
    assert reason in refused.value.reason
    assert refused.value.next_step


@pytest.mark.parametrize(
    ("allow", "deny", "address", "allowed"),
    [
        ([], [], "192.0.2.1", True),
        (["192.0.2.0/24"], [], "192.0.2.1", True),
        (["192.0.2.0/24"], [], "198.51.100.1", False),
        (["192.0.2.0/24"], [], "::ffff:192.0.2.1", True),
        (["192.0.2.0/24"], [], "2001:db8::1", False),
        ([], ["192.0.2.0/24"], "192.0.2.1", False),
        ([], ["192.0.2.0/24"], "198.51.100.1", True),
        (["192.0.2.0/24"], ["192.0.2.7/32"], "192.0.2.7", False),
        (["192.0.2.7/32"], ["192.0.2.0/24"], "192.0.2.7", True),
        (["192.0.2.7/32"], ["0.0.0.0/0"], "192.0.2.7", True),
        (["192.0.2.7/32"], ["0.0.0.0/0"], "192.0.2.8", False),
        (["2001:db8::/32"], [], "2001:db8::1%eth0", True),
        ([], ["192.0.2.0/24"], "unknown", False),
    ],
)
def test_the_smallest_network_decides(allow: list[str], deny: list[str], address: str, allowed: bool) -> None:
    access = HttpAccess(AccessRules(allow_ip=allow, deny_ip=deny))
    assert access.restricts_addresses is bool(allow or deny)
    for _ in range(2):
        assert access.allows_address(address) is allowed


def test_remembered_addresses_are_bounded() -> None:
    access = HttpAccess(AccessRules(deny_ip=["10.0.0.0/8"]))
    for number in range(5000):
        access.allows_address(f"192.0.{number // 256}.{number % 256}")
    assert len(access._known_addresses) <= 1024


def test_client_certificates_must_be_enforced_and_have_no_plain_http() -> None:
    rules = AccessRules(client_ca="PEM")
    check_access(rules)
    assert must_be_enforced(rules)
    assert HttpAccess(rules).client_ca == rules.client_ca
    with pytest.raises(RefusedError, match="without TLS"):
        check_access(AccessRules(client_ca=rules.client_ca, plain_http="serve"))
