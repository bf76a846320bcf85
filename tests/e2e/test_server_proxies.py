"""Agents behind real proxies, as their users start them; no output contains the credentials."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.world import World
from tests.kit.http_origin import HttpOrigin
from tests.kit.proxy_programs import PASSWORD, USER, RunningProxy, microsocks, squid, tinyproxy
from tests.kit.sockets import free_port

Start = Callable[..., AbstractContextManager[RunningProxy]]


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        world.secrets["the proxy's password"] = PASSWORD
        world.start_server()
        yield world


@pytest.mark.parametrize("start", [tinyproxy, squid, microsocks], ids=lambda start: start.__name__)
def test_a_tunnel_through_a_proxy_that_wants_a_password(world: World, start: Start, tmp_path: Path) -> None:
    auth = tmp_path / "auth"
    auth.touch(mode=0o600)
    auth.write_text(f"{USER}:{PASSWORD}\n")
    with HttpOrigin() as origin, start(tmp_path, authenticates=True) as proxy:
        words = ("--name", "app", "--proxy", proxy.url, "--proxy-auth-file", str(auth))
        agent = world.agent(world.token(), "http", str(origin.port), *words, as_json=False)
        agent.expect(rf"connecting to 127.0.0.1:\d+ through {proxy.url}$", stream="err")
        agent.first_line()
        assert world.visit("app").status == 200


def test_a_proxy_that_refuses_the_password_is_named(world: World, tmp_path: Path) -> None:
    with tinyproxy(tmp_path, authenticates=True) as proxy:
        agent = world.agent(world.token(), "http", "1", "--proxy", proxy.url, "--connect-timeout", "1s", as_json=False)
        assert agent.wait().code == 1
        agent.expect(
            r"the proxy http://\S+ did not connect to 127.0.0.1:\d+: (401|407) .*Check the credentials|did not connect", stream="err"
        )


def test_a_dead_proxy_of_the_environment_is_left_out(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    name = socket.gethostname()
    try:
        found = {str(address[0]) for _, _, _, _, address in socket.getaddrinfo(name, 1, type=socket.SOCK_STREAM)}
    except OSError:
        found = set()
    if found != {"127.0.0.1"} or name == "localhost":
        pytest.skip(
            f"{name}, the name of this machine, does not resolve to 127.0.0.1 alone: a server by another name than localhost is needed"
        )
    join = replace(world.token(), host=name)
    file = world.home / "join"
    file.touch(mode=0o600)
    file.write_text(f"{join}\n")
    env = {"HTTPS_PROXY": f"http://{USER}:{PASSWORD}@127.0.0.1:{free_port()}"}
    with HttpOrigin() as origin:
        agent = world.start("http", str(origin.port), "--name", "app", "--join-file", file, "--data", world.home / "agent", env=env)
        agent.expect(r"cannot connect to the proxy http://127.0.0.1:\d+ .* \(from HTTPS_PROXY\); connected directly instead", stream="err")
        agent.first_line()
        assert world.visit("app").status == 200
