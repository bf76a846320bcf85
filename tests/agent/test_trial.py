"""What is found out about a join string before it is kept."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from portway.agent.settings import AgentSettings
from portway.agent.trial import try_login
from portway.clock import wall
from portway.errors import ConfigError, RefusedError, UnavailableError
from portway.links.tls import WrongServerError
from portway.protocol.join_string import JoinString
from portway.server.events import LeaseUp, SessionDown, SessionUp
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.pair import RunningServer, running_server
from tests.kit.sockets import free_port

LINKS = pytest.mark.parametrize("plaintext", [False, True], ids=["TLS links", "plain links"])


async def fault_of(join: JoinString, data: Path) -> Exception:
    """Return why a join string is of no use."""
    with pytest.raises((ConfigError, RefusedError, UnavailableError)) as found:
        await try_login(AgentSettings(join=join, tunnels=(), data_dir=data / "agent", plaintext_links=join.plaintext))
    return found.value


def play(tmp_path: Path, scene: Callable[[RunningServer], object], **settings: bool) -> None:
    async def whole() -> None:
        async with running_server(tmp_path, **settings) as server:
            await scene(server)  # type: ignore[misc]

    asyncio.run(whole())


@LINKS
def test_a_trial_logs_in_claims_nothing_and_closes_gracefully(plaintext: bool, tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join = server.token()
        online = await try_login(AgentSettings(join=join, tunnels=(), data_dir=tmp_path / "agent", plaintext_links=plaintext))
        assert online.server
        assert (await server.events.wait(SessionDown)).reason
        assert len(server.events.of(SessionUp)) == 1
        assert server.events.of(LeaseUp) == []
        assert not (tmp_path / "agent").exists(), "nothing was kept, no identity either"

    play(tmp_path, scene, plaintext_links=plaintext)


@LINKS
def test_a_refusal_is_raised_with_its_code(plaintext: bool, tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        join, expired = server.token("laptop"), server.token("old", expires_at=wall() - 1)
        server.revoke("laptop")
        wrong = {"token_revoked": join, "token_expired": expired, "bad_credentials": replace(expired, secret="A" * 43)}
        if not plaintext:
            wrong |= {"wrong_pin": replace(join, pin=b"p" * 32), "wrong_certificate": replace(join, host="localhost", pin=None)}
        for code, one in wrong.items():
            refused = await fault_of(one, tmp_path)
            assert isinstance(refused, RefusedError), code
            assert refused.code == code

    play(tmp_path, scene, plaintext_links=plaintext)


@LINKS
def test_the_port_for_visitors_is_named(plaintext: bool, tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        said = str(await fault_of(replace(server.token(), port=server.http_port), tmp_path))
        assert f"127.0.0.1:{server.http_port} is where this Portway server accepts HTTP visitors; agents use another port" in said

    play(tmp_path, scene, plaintext_links=plaintext)


@LINKS
def test_a_web_server_is_named(plaintext: bool, tmp_path: Path) -> None:
    with HttpOrigin() as origin:
        join = JoinString("abc", "s" * 43, "127.0.0.1", origin.port, None if plaintext else b"p" * 32, plaintext)
        fault = asyncio.run(fault_of(join, tmp_path))

    assert isinstance(fault, ConfigError)
    assert f"127.0.0.1:{origin.port} is a web server" in str(fault)


def test_a_server_with_or_without_tls_is_not_one_of_the_other_kind(tmp_path: Path) -> None:
    async def scene(server: RunningServer) -> None:
        fault = await fault_of(replace(server.token(), plaintext=False, pin=b"p" * 32), tmp_path)
        assert isinstance(fault, ConfigError)
        assert "only one of the two ends has --plaintext-links" in str(fault)

    play(tmp_path, scene, plaintext_links=True)


@LINKS
def test_an_unreachable_server_is_unavailable(plaintext: bool, tmp_path: Path) -> None:
    for host in ("127.0.0.1", "portway.invalid"):
        join = JoinString("abc", "s" * 43, host, free_port(), None if plaintext else b"p" * 32, plaintext)
        fault = asyncio.run(fault_of(join, tmp_path))
        assert isinstance(fault, UnavailableError)
        assert not isinstance(fault, WrongServerError)


def test_a_load_balancer_without_a_server_is_unavailable(tmp_path: Path) -> None:
    with RawOrigin(lambda sock: sock.close()) as origin:
        fault = asyncio.run(fault_of(JoinString("abc", "s" * 43, "127.0.0.1", origin.port, b"p" * 32), tmp_path))

    assert isinstance(fault, UnavailableError)
