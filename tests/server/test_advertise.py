"""Addresses that the server advertises."""

from pathlib import Path
from typing import Any

import pytest

from portway.config.values import ListenAddress
from portway.server.advertise import advertised_address, advertised_endpoint, listening_event, public_addresses
from portway.server.identity import Identity
from portway.server.settings import ServerSettings

FILE = Path("identity.pem")


def settings(**changes: Any) -> ServerSettings:
    return ServerSettings(data=Path("data"), **changes)


def test_the_actual_port_is_advertised_where_the_settings_say_0() -> None:
    assert advertised_address(settings(agents=ListenAddress("127.0.0.1", 0)), 4711) == ListenAddress("127.0.0.1", 4711)
    assert advertised_address(settings(advertise=ListenAddress("tunnel.example.org", 443)), 4711) == ListenAddress(
        "tunnel.example.org", 443
    )


@pytest.mark.parametrize(("pin", "plaintext", "shown"), [(b"p", False, "70"), (b"p", True, ""), (None, False, "")])
def test_a_join_string_has_the_pin_when_there_is_one_and_links_are_encrypted(pin: bytes | None, plaintext: bool, shown: str) -> None:
    endpoint = advertised_endpoint(settings(plaintext_links=plaintext), Identity(FILE, FILE, pin), ListenAddress("h", 1))

    assert (endpoint.host, endpoint.port, endpoint.pin, endpoint.plaintext) == ("h", 1, shown, plaintext)


def test_a_data_directory_other_than_the_default_is_in_the_event(monkeypatch: pytest.MonkeyPatch) -> None:
    def shown(data: Path) -> str:
        return listening_event(ServerSettings(data=data), ("h", 1), ("h", 2), ListenAddress("h", 2)).data

    assert shown(Path("data")) == str(Path("data").absolute())
    monkeypatch.setenv("XDG_DATA_HOME", "/home-of-data")
    assert shown(Path("/home-of-data/portway")) == ""


@pytest.mark.parametrize(
    ("host", "own"),
    [("Tunnel.Example.org", {"tunnel.example.org"}), ("127.0.0.1", set()), ("::1", set()), ("no host", set())],
)
def test_the_name_that_agents_dial_is_reserved(host: str, own: set[str]) -> None:
    assert public_addresses(settings(), ListenAddress(host, 1), 80).own_hosts == own


def test_the_start_up_event_has_the_actual_addresses() -> None:
    event = listening_event(settings(), ("127.0.0.1", 8081), ("::1", 4444), ListenAddress("h", 1))

    assert (event.http, event.agents, event.advertised, event.domain) == ("127.0.0.1:8081", "[::1]:4444", "h:1", "localhost")
