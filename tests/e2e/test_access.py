"""Users, addresses and plain HTTP of a tunnel, as real programs: `portway passwd`, an agent, a server, and curl."""

from collections.abc import Iterator

import pytest

from tests.e2e.curl import Curl
from tests.e2e.world import World, event, events
from tests.kit.http_origin import HttpOrigin


@pytest.fixture(params=[(), ("--workers", "2")], ids=["one process", "two workers"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    """A server of one process, or of several: then a visitor often arrives in another one than its agent."""
    with World(server_flags=request.param) as world:
        yield world


@pytest.fixture
def origin() -> Iterator[HttpOrigin]:
    with HttpOrigin() as origin:
        yield origin


def fetch(world: World, name: str, *options: str) -> tuple[int, str]:
    """Return status and Portway-Error of a request by curl."""
    url = f"http://{name}.localhost:{world.http_port}/hello"
    with Curl("-o", "/dev/null", "-w", "%{http_code} %header{portway-error}", *options, url) as curl:
        said = curl.finish()
    assert said.code == 0, said
    status, _, code = said.tail.decode().partition(" ")
    return int(status), code


def test_a_password_is_set_asked_for_changed_and_taken_back(world: World, origin: HttpOrigin) -> None:
    users = world.home / "users.txt"
    world.secrets["the password"] = "open sesame"
    for user in ("ann", "bob"):
        assert world.run("passwd", users, user, stdin="open sesame\n").code == 0
    for line in users.read_text().splitlines()[1:]:
        world.secrets[f"the hash of {line[:3]}"] = line.rpartition("$")[2]
    world.start_server()
    join = world.token()
    words = ("http", str(origin.port), "--name", "blog", "--basic-auth-file", str(users))
    agent = world.agent(join, *words)
    event(agent, "tunnel_up")

    assert fetch(world, "blog") == (401, "unauthorized")
    assert fetch(world, "blog", "-u", "ann:close sesame") == (401, "unauthorized")
    for _ in range(3):
        assert fetch(world, "blog", "-u", "ann:open sesame") == (200, "")
    assert fetch(world, "blog", "-u", "bob:open sesame", "--http1.0") == (200, "")
    assert [line["status"] for line in events(agent, "request_line")][:2] == [401, 401]

    assert world.run("passwd", users, "ann", stdin="another one").code == 0
    assert world.run("passwd", users, "bob", "--delete").code == 0
    agent.stop()
    again = world.agent(join, *words)
    event(again, "tunnel_up")
    assert fetch(world, "blog", "-u", "ann:open sesame") == (401, "unauthorized")
    assert fetch(world, "blog", "-u", "bob:open sesame") == (401, "unauthorized")
    assert fetch(world, "blog", "-u", "ann:another one") == (200, "")


def test_guesses_are_slowed_down(world: World, origin: HttpOrigin) -> None:
    users = world.home / "users.txt"
    assert world.run("passwd", users, "ann", stdin="open sesame").code == 0
    world.start_server()
    agent = world.agent(world.token(), "http", str(origin.port), "--name", "blog", "--basic-auth-file", str(users))
    event(agent, "tunnel_up")
    found = [fetch(world, "blog", "-u", f"ann:{number}") for number in range(12)]
    assert found[:5] == [(401, "unauthorized")] * 5
    assert (429, "too_many_failures") in found
    assert origin.requests == 0


def test_addresses_are_allowed_and_denied(world: World, origin: HttpOrigin) -> None:
    world.start_server()
    agent = world.agent(world.token(), "http", str(origin.port), "--name", "blog", "--allow-ip", "127.0.0.0/29", "--deny-ip", "127.0.0.3")
    event(agent, "tunnel_up")
    for address, expected in (("127.0.0.2", (200, "")), ("127.0.0.3", (403, "address_denied")), ("127.0.0.9", (403, "address_denied"))):
        assert fetch(world, "blog", "--interface", address) == expected
    assert origin.requests == 1


def test_plain_http_is_refused_if_the_tunnel_asks_for_it(world: World, origin: HttpOrigin) -> None:
    world.start_server()
    agent = world.agent(world.token(), "http", str(origin.port), "--name", "blog", "--plain-http", "refuse")
    event(agent, "tunnel_up")
    assert fetch(world, "blog") == (426, "https_required")
    assert origin.requests == 0
