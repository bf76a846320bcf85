"""The listening sockets of a server: which are opened, and what happens where another program has the port."""

from pathlib import Path

import pytest

from portway.config.values import ListenAddress
from portway.engine.listener import listen
from portway.errors import ConfigError, UnavailableError
from portway.server.listeners import open_listeners
from portway.server.setting_values import AUTO, OFF
from portway.server.settings import ServerSettings

ANY = ListenAddress("127.0.0.1", 0)


def settings(**changes: object) -> ServerSettings:
    return ServerSettings(data=Path("data"), http=ANY, **{"agents": ANY, **changes})  # type: ignore[arg-type]


def test_each_listener_is_opened() -> None:
    listeners = open_listeners(settings(https=ANY))
    assert listeners.https is not None
    assert listeners.agents is not None
    assert len({sock.getsockname() for sock in (listeners.http, listeners.https, listeners.agents)}) == 3
    listeners.close()


def test_https_and_agents_may_be_off() -> None:
    listeners = open_listeners(settings(https=OFF))
    assert (listeners.https, listeners.https_failure) == (None, "")
    listeners.close()
    listeners = open_listeners(settings(https=ANY, agents=None))
    assert listeners.agents is None
    listeners.close()
    with pytest.raises(ConfigError, match="off requires an https port"):
        settings(https=OFF, agents=None)
    with pytest.raises(ConfigError, match="agents with TLS only"):
        settings(https=ANY, agents=None, plaintext_links=True)


def test_the_usual_https_port_may_be_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    with listen("127.0.0.1", 0) as other:
        taken = ListenAddress(*other.getsockname()[:2])
        monkeypatch.setattr(ServerSettings, "https_address", property(lambda _: taken))
        listeners = open_listeners(settings(https=AUTO))
        assert (listeners.https, listeners.https_failure) == (None, f"{taken}: in use by another program")
        listeners.close()
        with pytest.raises(UnavailableError, match="--https"):
            open_listeners(settings(https=taken))
        with pytest.raises(UnavailableError, match="--https"):
            open_listeners(settings(https=AUTO, agents=None))


def test_a_public_server_without_certificates_opens_no_https_port() -> None:
    assert settings(domain="tunnel.example.org").https_address is None
    assert settings(domain="localhost").https_address == ListenAddress("127.0.0.1", 8443)
