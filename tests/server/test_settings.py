"""The server's default settings, and the combinations that it rejects."""

import dataclasses
from pathlib import Path

import pytest

from portway.config.fields import settings_of
from portway.config.values import ListenAddress, PortRange
from portway.errors import ConfigError
from portway.server.settings import ServerSettings, defaults_for


def test_the_defaults_serve_only_this_machine() -> None:
    settings = ServerSettings()

    assert settings.domain == "localhost"
    assert str(settings.http) == "127.0.0.1:8080"
    assert str(settings.agents) == "127.0.0.1:4443"
    assert str(settings.tcp_ports) == "20000-20999"
    assert settings.tcp_host == "127.0.0.1"
    assert str(settings.advertised) == "127.0.0.1:4443"
    assert not settings.plaintext_links


def test_a_public_domain_listens_on_all_interfaces_and_well_known_ports() -> None:
    settings = ServerSettings(domain="example.org", **defaults_for({"domain": "example.org"}))  # type: ignore[arg-type]

    assert str(settings.http) == ":80"
    assert str(settings.agents) == ":4443"
    assert settings.tcp_host == ""
    assert str(settings.advertised) == "example.org:4443"
    assert defaults_for({"domain": "dev.localhost"}) == {}
    assert defaults_for({}) == {}


def test_the_advertised_address_is_the_given_one_or_one_that_can_be_dialled() -> None:
    given = ListenAddress("tunnel.example.org", 443)

    assert ServerSettings(advertise=given).advertised == given
    assert str(ServerSettings(agents=ListenAddress("0.0.0.0", 9), domain="example.org").advertised) == "example.org:9"
    assert str(ServerSettings(agents=ListenAddress("10.0.0.1", 9)).advertised) == "10.0.0.1:9"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"hold_s": -1.0}, "hold: expected 0s to 60s, got -1s"),
        ({"hold_s": 61.0}, "hold: expected 0s to 60s"),
        ({"grace_s": 90000.0}, "grace: expected 0s to 24h"),
        ({"agents": ListenAddress("127.0.0.1", 8080)}, "http, agents: expected two addresses, got 127.0.0.1:8080 for both"),
        ({"tcp_ports": PortRange(8000, 9000)}, "tcp_ports: 8000-9000 contains port 8080, which the http listener uses"),
        ({"tcp_ports": PortRange(4443, 4443)}, "tcp_ports: 4443 contains port 4443, which the agents listener uses"),
        (
            {"trusted_header": ("x-mine",)},
            r"trusted_header: requires the networks of the proxies in --trusted-proxies \(trusted_proxies in a file\)",
        ),
        (
            {"proxy_protocol": ("tcp",)},
            r"proxy_protocol: requires the networks of the proxies in --trusted-proxies \(trusted_proxies in a file\)",
        ),
        ({"public_url": "https://other.example"}, "public_url, domain: expected the same host, got https://other.example and localhost"),
        ({"max_request_head": 8191}, "max_request_head: expected 8192 to 131072 bytes, got 8191"),
        ({"max_request_head": 131073}, "max_request_head: expected 8192 to 131072 bytes"),
        ({"max_answer_head": 2**21}, "max_answer_head: expected 8192 to 1048576 bytes"),
        ({"max_fields": 49}, "max_fields: expected 50 to 10000, got 49"),
        ({"agents_key": Path("/k")}, "agents_certificate, agents_key: expected both or neither"),
    ],
)
def test_impossible_settings_are_rejected(changes: dict[str, object], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        dataclasses.replace(ServerSettings(), **changes)  # type: ignore[arg-type]


def test_a_tcp_range_may_contain_a_port_that_is_used_on_another_interface() -> None:
    settings = ServerSettings(http=ListenAddress("10.0.0.1", 20005))

    assert settings.http.port in settings.tcp_ports


def test_two_listeners_may_both_use_port_0() -> None:
    free = ListenAddress("127.0.0.1", 0)

    assert ServerSettings(http=free, agents=free).http == free


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://tunnel.example.org", "https://tunnel.example.org"),
        ("https://Tunnel.Example.org./", "https://tunnel.example.org"),
        ("http://tunnel.example.org:80", "http://tunnel.example.org"),
        ("https://tunnel.example.org:80", "https://tunnel.example.org:80"),
    ],
)
def test_a_public_url_has_one_spelling(text: str, url: str) -> None:
    assert settings_of(ServerSettings)["public_url"].read(text) == url
