"""Public addresses of claims, and names that are refused."""

from dataclasses import replace

import pytest

from portway.errors import RefusedError
from portway.protocol.control.messages import Claim
from portway.server.tunnels.addresses import PublicAddresses

PUBLIC = PublicAddresses("tun.example.org", frozenset({"join.example.org", "agents.tun.example.org"}), 80, "tun.example.org")
LOCAL = PublicAddresses("localhost", frozenset(), 8080, "127.0.0.1")


def host(claim: Claim, addresses: PublicAddresses = PUBLIC) -> str:
    return addresses.host_of(claim)


def test_a_name_is_a_label_below_the_domain() -> None:
    assert host(Claim(id=1, kind="http", name="app")) == "app.tun.example.org"
    assert PUBLIC.name_of("app.tun.example.org") == "app"
    assert PUBLIC.url("http", "app.tun.example.org") == "http://app.tun.example.org"
    assert LOCAL.url("http", "app.localhost") == "http://app.localhost:8080"


def test_tls_tunnels_have_https_urls_on_the_tls_port() -> None:
    assert replace(PUBLIC, https_port=443).url("tls", "app.tun.example.org") == "https://app.tun.example.org"
    assert replace(LOCAL, https_port=8443).url("tls", "app.localhost") == "https://app.localhost:8443"
    proxied = replace(PUBLIC, https_port=8443, public_url="https://tun.example.org")
    assert proxied.url("tls", "app.tun.example.org") == "https://app.tun.example.org:8443", "a proxy that decrypts is not in between"


def test_a_claim_without_name_accepts_any() -> None:
    assert host(Claim(id=1, kind="http")) == ""


def test_a_full_host_is_normalised_and_claimed_as_such_again() -> None:
    assert host(Claim(id=1, kind="http", host="WWW.Example.COM.")) == "www.example.com"
    assert PUBLIC.name_of("www.example.com") == "www.example.com"
    assert host(Claim(id=1, kind="http", host="App.tun.example.org")) == "app.tun.example.org"
    assert PUBLIC.name_of("nottun.example.org") == "nottun.example.org"


@pytest.mark.parametrize(
    ("name", "whole", "code"),
    [
        ("admin", "", "reserved_name"),
        ("_acme-challenge", "", "reserved_name"),
        ("App", "", "invalid_name"),
        ("a.b", "", "invalid_name"),
        ("agents", "", "reserved_name"),
        ("", "agents.tun.example.org", "reserved_name"),
        ("", "join.example.org", "reserved_name"),
        ("", "JOIN.example.org.", "reserved_name"),
        ("", "tun.example.org", "reserved_name"),
        ("", "www.tun.example.org", "reserved_name"),
        ("", "a.b.tun.example.org", "invalid_name"),
        ("", "app", "invalid_name"),
        ("", "192.0.2.1", "invalid_name"),
        ("", "[::1]", "invalid_name"),
        ("", "ex ample.org", "invalid_name"),
        ("", "example.org/x", "invalid_name"),
    ],
)
def test_invalid_names_are_refused_with_a_reason(name: str, whole: str, code: str) -> None:
    with pytest.raises(RefusedError) as refusal:
        host(Claim(id=1, kind="http", name=name, host=whole))
    assert refusal.value.code == code
    assert refusal.value.reason
    assert refusal.value.next_step


def test_the_servers_own_names_cannot_be_claimed_by_label_either() -> None:
    own = PublicAddresses("tun.example.org", {"gateway.tun.example.org"}, 80, "tun.example.org")
    for claim in (Claim(id=1, kind="http", name="gateway"), Claim(id=1, kind="http", host="gateway.tun.example.org")):
        with pytest.raises(RefusedError) as refusal:
            host(claim, own)
        assert refusal.value.code == "reserved_name"
        assert refusal.value.reason == "gateway.tun.example.org is the server's own name"


def test_a_refusal_of_two_levels_suggests_a_valid_name() -> None:
    with pytest.raises(RefusedError, match=r"two levels below tun\.example\.org .* like a-b\."):
        host(Claim(id=1, kind="http", host="a.b.tun.example.org"))
    assert PUBLIC.name_of("a.b.tun.example.org") == "a.b.tun.example.org"


def test_tcp_urls_name_the_port() -> None:
    assert PUBLIC.url("tcp", "20001") == "tcp://tun.example.org:20001"
    assert PublicAddresses("x.org", (), 80, "::1").url("tcp", "22") == "tcp://[::1]:22"


@pytest.mark.parametrize(
    ("public_url", "url"),
    [("https://tun.example.org", "https://app.tun.example.org"), ("http://tun.example.org:8000", "http://app.tun.example.org:8000")],
)
def test_a_public_url_replaces_scheme_domain_and_port(public_url: str, url: str) -> None:
    behind = replace(PUBLIC, http_port=8080, public_url=public_url)
    assert behind.url("http", "app.tun.example.org") == url
    assert behind.url("tcp", "20000") == "tcp://tun.example.org:20000"
