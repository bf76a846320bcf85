"""Grants of tokens, as tables."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.config.values import PortRange
from portway.errors import ConfigError, RefusedError
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import Grants, RequestedAddress, TokenRecord, check_token_name, check_usable, may_claim, new_credentials

NOW = 1000.0
VERIFIER = ScramVerifier(salt=b"s" * 16, iterations=4096, stored_key=b"k" * 32, server_key=b"v" * 32)


def record(grants: Grants | None = None, revoked_at: float | None = None) -> TokenRecord:
    return TokenRecord(id="abc", name="laptop", verifier=VERIFIER, grants=grants or Grants(), created_at=0.0, revoked_at=revoked_at)


def refusal(grants: Grants, requested: RequestedAddress, held: int = 0, now: float = NOW) -> RefusedError:
    with pytest.raises(RefusedError) as found:
        may_claim(record(grants), requested, domain="example.org", held=held, now=now)
    return found.value


@pytest.mark.parametrize(
    ("pattern", "host", "allowed"),
    [
        ("*", "app.example.org", True),
        ("*", "a.b.example.org", False),
        ("*", "app.example.net", False),
        ("*", "example.org", False),
        ("app", "app.example.org", True),
        ("app", "apps.example.org", False),
        ("app", "app", False),
        ("dev-*", "dev-anna.example.org", True),
        ("dev-*", "dev-.example.org", True),
        ("dev-*", "xdev-anna.example.org", False),
        ("*-*-x", "a-b-x.example.org", True),
        ("*-*-x", "a-x.example.org", False),
        ("a*a", "a.example.org", False),
        ("a*b*c", "acb.example.org", False),
        ("*.shop.test", "a.shop.test", True),
        ("*.shop.test", "shop.test", False),
        ("*.shop.test", "a.b.shop.test", False),
        ("*.shop.test", "ashop.test", False),
        ("blog.test", "blog.test", True),
        ("blog.test", "blog.test.example.org", False),
    ],
)
def test_a_host_pattern_matches_only_its_hosts(pattern: str, host: str, allowed: bool) -> None:
    assert Grants(hosts=(pattern,)).allows_host(host, "example.org") is allowed


@given(st.text("ab*", min_size=1, max_size=12), st.text("ab", min_size=1, max_size=12))
def test_patterns_agree_with_regular_expressions(pattern: str, label: str) -> None:
    import re

    expected = re.fullmatch(pattern.replace("*", ".*"), label) is not None

    assert Grants(hosts=(pattern,)).allows_host(f"{label}.example.org", "example.org") is expected


def test_default_grants_allow_every_name_below_the_domain_and_every_port() -> None:
    may_claim(record(), RequestedAddress("http", host="app.example.org"), domain="example.org", held=0, now=NOW)
    may_claim(record(), RequestedAddress("tcp", port=20001), domain="example.org", held=0, now=NOW)
    may_claim(record(), RequestedAddress("tcp"), domain="example.org", held=63, now=NOW)


def test_a_host_beyond_the_grants_is_refused_with_the_next_step() -> None:
    refused = refusal(Grants(hosts=("app", "dev-*")), RequestedAddress("http", host="other.example.org"))

    assert refused.code == "host_not_allowed"
    assert refused.reason == "token laptop does not allow the host other.example.org, only app, dev-*"
    assert "--hosts other.example.org" in refused.next_step


def test_a_port_beyond_the_grants_is_refused() -> None:
    grants = Grants(ports=(PortRange(22000, 22000), PortRange(21000, 21099)))

    may_claim(record(grants), RequestedAddress("tcp", port=21050), domain="example.org", held=0, now=NOW)
    refused = refusal(grants, RequestedAddress("tcp", port=21100))
    assert refused.code == "port_not_allowed"
    assert "only 22000, 21000-21099" in refused.reason


def test_a_protocol_beyond_the_grants_is_refused() -> None:
    refused = refusal(Grants(protocols=("http",)), RequestedAddress("tcp", port=21100))

    assert (refused.code, refused.reason) == ("protocol_not_allowed", "token laptop allows http tunnels only")


def test_a_grant_of_http_covers_tls_and_not_the_reverse() -> None:
    secure, plain = RequestedAddress("tls", host="app.example.org"), RequestedAddress("http", host="app.example.org")

    may_claim(record(), secure, domain="example.org", held=0, now=NOW)
    may_claim(record(Grants(protocols=("http",))), secure, domain="example.org", held=0, now=NOW)
    may_claim(record(Grants(protocols=("tls",))), secure, domain="example.org", held=0, now=NOW)
    assert refusal(Grants(protocols=("tls",)), plain).code == "protocol_not_allowed"
    assert refusal(Grants(protocols=("tcp",)), secure).next_step == "Ask the server's operator for a token with `--protocols tls`."
    assert refusal(Grants(hosts=("other",)), secure).code == "host_not_allowed"


def test_more_tunnels_than_granted_are_refused() -> None:
    grants = Grants(tunnels_max=2)

    may_claim(record(grants), RequestedAddress("tcp"), domain="example.org", held=1, now=NOW)
    assert refusal(grants, RequestedAddress("tcp"), held=2).code == "too_many_tunnels"


def test_a_token_expires_at_its_last_second_and_not_before() -> None:
    grants = Grants(expires_at=NOW)

    check_usable(record(grants), NOW - 0.001)
    with pytest.raises(RefusedError, match="token laptop has expired") as found:
        check_usable(record(grants), NOW)
    assert found.value.code == "token_expired"
    assert refusal(grants, RequestedAddress("tcp")).code == "token_expired"


def test_a_revoked_token_is_refused_whatever_it_allows() -> None:
    with pytest.raises(RefusedError, match="was revoked") as found:
        check_usable(record(revoked_at=1.0), NOW)
    assert found.value.code == "token_revoked"


@pytest.mark.parametrize(
    ("grants", "error"),
    [
        ({"hosts": ("App",)}, "hosts: expected patterns like"),
        ({"hosts": ("",)}, "got ''"),
        ({"hosts": ("a..b",)}, "got 'a..b'"),
        ({"hosts": ("a b",)}, "got 'a b'"),
        ({"hosts": ("a." * 130 + "b",)}, "hosts: expected"),
        ({"protocols": ("udp",)}, "protocols: expected some of http, tcp, tls, got 'udp'"),
        ({"protocols": ()}, "protocols: expected at least one"),
        ({"tunnels_max": 0}, "max tunnels: expected at least 1, got 0"),
    ],
)
def test_invalid_grants_are_rejected(grants: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Grants(**grants)  # type: ignore[arg-type]


def test_token_names_are_printable_words() -> None:
    assert check_token_name("anna@laptop.2") == "anna@laptop.2"
    for name in ("", "-x", "a b", "a\n", "é", "x" * 64):
        with pytest.raises(ConfigError, match="NAME: expected 1 to 63"):
            check_token_name(name)


def test_credentials_contain_all_their_randomness_and_fit_a_join_string() -> None:
    from portway.protocol.join_string import JoinString

    asked: list[int] = []

    def random_bytes(count: int) -> bytes:
        asked.append(count)
        return bytes(range(count))

    token_id, secret = new_credentials(random_bytes)

    assert sorted(asked) == [8, 32]
    assert (len(token_id), len(secret)) == (12, 43)
    assert JoinString(token_id, secret, "example.org", 4443).secret == secret


def test_a_repr_never_contains_the_verifier() -> None:
    assert "kkkk" not in repr(record())


def test_a_listed_host_is_a_pattern_without_a_star() -> None:
    grants = Grants(hosts=("app", "dev-*", "www.example.com", "*.example.net"))

    assert grants.lists_host("app.tunnel.example.org", "tunnel.example.org")
    assert grants.lists_host("www.example.com", "tunnel.example.org")
    for host in ("dev-1.tunnel.example.org", "dev-*.tunnel.example.org", "a.example.net", "app.example.com", "tunnel.example.org"):
        assert not grants.lists_host(host, "tunnel.example.org")
    assert not Grants().lists_host("app.tunnel.example.org", "tunnel.example.org")
