"""An agent that never gets online reports after ten seconds what is wrong, and goes on; with --connect-timeout it gives up."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from portway.protocol.join_string import JoinString
from tests.e2e.world import World, altered, event, web
from tests.kit.certificates import make_identity
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin

GIVE_UP = ("--connect-timeout", "2s")
TLS = JoinString("abc", "s" * 43, "127.0.0.1", 1, b"p" * 32)
PLAIN = JoinString("abc", "s" * 43, "127.0.0.1", 1, None, plaintext=True)


@pytest.fixture
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def https_port(tmp_path: Path) -> Iterator[int]:
    """The port of a web server with TLS, but without links."""
    identity = make_identity(tmp_path, "localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity.cert_file, identity.key_file)

    def serve(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True) as tls:
            tls.recv(1000)

    with RawOrigin(serve) as origin:
        yield origin.port


def says(world: World, join: JoinString, number: int = 0) -> str:
    """Return the last line of an agent that has to give up."""
    flags = ("--plaintext-links",) if join.plaintext else ()
    agent = world.agent(join, *web(), *flags, *GIVE_UP, data=f"agent{number}", as_json=False)
    ended = agent.wait(20)
    assert (ended.code, ended.out) == (1, "")
    assert "not online within 2 s: " in ended.err.splitlines()[-1], ended.err
    return ended.err.splitlines()[-1]


def listen(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass


@pytest.mark.parametrize("join", [TLS, PLAIN], ids=["TLS links", "plain links"])
def test_the_error_at_the_end_says_what_is_wrong(world: World, join: JoinString, https_port: int) -> None:
    server = world.start_server()
    assert server.running
    with HttpOrigin() as web_server, RawOrigin(listen) as silent, RawOrigin(lambda sock: sock.close()) as rude:
        cases: list[tuple[Callable[[JoinString], JoinString], str]] = [
            (lambda one: altered(one, port=world.http_port), "is where this Portway server accepts HTTP visitors; agents use another port"),
            (lambda one: altered(one, port=web_server.port), "is a web server; check host and port"),
            (lambda one: altered(one, port=1), "connection refused). Check that the server is running"),
            (lambda one: altered(one, host="no-such-host.invalid"), "cannot resolve the name"),
            (lambda one: altered(one, port=silent.port), f"127.0.0.1:{silent.port}"),
            (lambda one: altered(one, port=rude.port), "may not be a Portway server" if join.plaintext else "cannot establish TLS"),
        ]
        if not join.plaintext:
            cases.append((lambda one: altered(one, port=https_port), "is not a Portway server"))
        with ThreadPoolExecutor(len(cases)) as agents:
            ends = agents.map(lambda numbered: says(world, numbered[1][0](join), numbered[0]), enumerate(cases))
            for (_, words), last in zip(cases, ends, strict=True):
                assert words in last, (words, last)


def test_links_with_and_without_tls_are_distinguished(world: World) -> None:
    world.start_server()
    join = world.token()
    plain = altered(join, pin=None, plaintext=True)
    assert "one of the two ends" in says(world, plain)


def test_without_a_limit_there_is_a_notice_after_ten_seconds_and_retries_continue(world: World) -> None:
    world.start_server().stop()
    agent = world.agent(world.token(), *web(), as_json=False)
    told = agent.expect("not online after 10 s: ", 20, stream="err").string
    assert "Check that the server is running" in told
    assert "Retrying without limit" in told
    world.start_server()
    agent.expect("http://blog.localhost", 40)


def test_an_agent_that_is_online_is_not_ended_by_the_limit(world: World) -> None:
    server = world.start_server()
    agent = world.agent(world.token(), *web(), "--connect-timeout", "1s")
    event(agent, "tunnel_up")
    server.kill()
    event(agent, "offline")
    with pytest.raises(AssertionError, match="still runs"):
        agent.wait(3)
    world.start_server()
    event(agent, "tunnel_up", 2)


def test_the_notice_is_a_json_event_too(world: World) -> None:
    agent = world.agent(altered(TLS, port=1), *web(), "--connect-timeout", "12s")
    agent.expect(r'"text":"not online after 10 s: cannot connect to 127\.0\.0\.1:1 .*Retrying for 12 s in total"', 20)
    assert agent.wait(10).code == 1
