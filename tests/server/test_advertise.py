"""Addresses that the server advertises."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portway.certificates.contexts import VisitorContext
from portway.config.values import ListenAddress
from portway.engine.listener import listen
from portway.server.advertise import advertised_address, advertised_endpoint, listening_event, public_addresses
from portway.server.identity import Identity
from portway.server.listeners import Listeners
from portway.server.settings import ServerSettings

FILE = Path("identity.pem")


def settings(**changes: Any) -> ServerSettings:
    return ServerSettings(data=Path("data"), **changes)


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    opened = Listeners(listen("127.0.0.1", 0), listen("127.0.0.1", 0), listen("::1", 0))
    yield opened
    opened.close()


def port_of(sock: socket.socket | None) -> int:
    assert sock is not None
    port: int = sock.getsockname()[1]
    return port


class Certificates:
    """A source with a certificate for one name."""

    def context_for(self, name: str) -> VisitorContext | None:
        return None

    def has_trusted(self, name: str) -> bool:
        return name == "app.localhost"

    def is_ordered(self, name: str) -> bool:
        return name == "soon.localhost"


def test_the_actual_port_is_advertised_where_the_settings_say_0(listeners: Listeners) -> None:
    asked = settings(agents=ListenAddress("127.0.0.1", 0))
    assert advertised_address(asked, listeners) == ListenAddress("127.0.0.1", port_of(listeners.agents))
    fixed = settings(advertise=ListenAddress("tunnel.example.org", 443))
    assert advertised_address(fixed, listeners) == ListenAddress("tunnel.example.org", 443)


def test_agents_without_a_listener_of_their_own_dial_the_https_port(listeners: Listeners) -> None:
    alone = replace(listeners, agents=None)
    asked = settings(agents=None, https=ListenAddress("127.0.0.1", 0))
    assert advertised_address(asked, alone) == ListenAddress("127.0.0.1", port_of(listeners.https))
    assert listening_event(asked, alone).agents == ""
    assert settings(agents=None, domain="tunnel.example.org", https=ListenAddress("", 443)).advertised == ListenAddress(
        "tunnel.example.org", 443
    )


@pytest.mark.parametrize(("pin", "plaintext", "shown"), [(b"p", False, "70"), (b"p", True, ""), (None, False, "")])
def test_a_join_string_has_the_pin_when_there_is_one_and_links_are_encrypted(pin: bytes | None, plaintext: bool, shown: str) -> None:
    endpoint = advertised_endpoint(settings(plaintext_links=plaintext), Identity(FILE, FILE, pin), ListenAddress("h", 1))

    assert (endpoint.host, endpoint.port, endpoint.pin, endpoint.plaintext) == ("h", 1, shown, plaintext)


def test_a_data_directory_other_than_the_default_is_in_the_event(monkeypatch: pytest.MonkeyPatch, listeners: Listeners) -> None:
    def shown(data: Path) -> str:
        return listening_event(ServerSettings(data=data), listeners).data

    assert shown(Path("data")) == str(Path("data").absolute())
    monkeypatch.setenv("XDG_DATA_HOME", "/home-of-data")
    assert shown(Path("/home-of-data/portway")) == ""


@pytest.mark.parametrize(
    ("host", "own"),
    [("Tunnel.Example.org", {"tunnel.example.org"}), ("127.0.0.1", set()), ("::1", set()), ("no host", set())],
)
def test_the_name_that_agents_dial_is_reserved(host: str, own: set[str], listeners: Listeners) -> None:
    assert public_addresses(settings(advertise=ListenAddress(host, 1)), listeners, Certificates()).own_hosts == own


def test_names_with_a_trusted_certificate_have_https_urls(listeners: Listeners) -> None:
    addresses = public_addresses(settings(), listeners, Certificates())
    assert addresses.url("http", "app.localhost") == f"https://app.localhost:{port_of(listeners.https)}"
    assert addresses.url("http", "soon.localhost") == f"https://soon.localhost:{port_of(listeners.https)}"
    assert addresses.url("http", "other.localhost") == f"http://other.localhost:{port_of(listeners.http)}"
    without = public_addresses(settings(), replace(listeners, https=None), Certificates())
    assert without.url("http", "app.localhost") == f"http://app.localhost:{port_of(listeners.http)}"


def test_the_start_up_event_has_the_actual_addresses(listeners: Listeners) -> None:
    event = listening_event(settings(advertise=ListenAddress("h", 1)), listeners)

    assert (event.http, event.https) == (f"127.0.0.1:{port_of(listeners.http)}", f"127.0.0.1:{port_of(listeners.https)}")
    assert (event.agents, event.advertised, event.domain) == (f"[::1]:{port_of(listeners.agents)}", "h:1", "localhost")
