"""Ways out through other proxies: our own in chains, and real ones; every failure names the proxy that failed."""

import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import pytest

from portway.forward.connect.via import read_routes
from portway.forward.interfaces import User
from portway.forward.outcomes import Outcome
from portway.forward.policy.policy import RulePolicy, RuleSet
from portway.forward.policy.rules import TargetRules
from tests.forward.stage import OneUser, Stage
from tests.kit.origins import RawOrigin
from tests.kit.proxy_programs import PROXIES, RunningProxy
from tests.kit.sockets import free_port

Start = Callable[..., AbstractContextManager[RunningProxy]]


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    def serve(visitor: socket.socket) -> None:
        visitor.sendall(b"hello ")
        while data := visitor.recv(65536):
            visitor.sendall(data)

    with RawOrigin(serve) as one:
        yield one


def connect(stage: Stage, target: str) -> tuple[bytes, bytes]:
    """Return the head of the response to CONNECT, and what follows it once an echo has come back."""
    with stage.dial() as client:
        client.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\necho".encode())
        data = b""
        while b"\r\n\r\n" not in data or (b" 200 " in data and not data.endswith(b"echo")):
            piece = client.recv(65536)
            if not piece:
                break
            data += piece
    head, _, rest = data.partition(b"\r\n\r\n")
    return head, rest


@pytest.mark.parametrize("hops", [1, 2, 3])
@pytest.mark.parametrize("scheme", ["http", "socks5"])
def test_a_chain_of_proxies_leads_to_the_target(origin: RawOrigin, scheme: str, hops: int) -> None:
    with ExitStack() as stack:
        near = stack.enter_context(Stage())
        for _ in range(hops):
            near = stack.enter_context(Stage(via=read_routes(f"{scheme}://127.0.0.1:{near.port}")))
        head, rest = connect(near, f"here.test:{origin.port}")
        assert head == b"HTTP/1.1 200 Connection established"
        assert rest == b"hello echo"


def test_the_proxy_that_failed_is_named_by_each_hop() -> None:
    port = free_port()
    with (
        Stage() as far,
        Stage(via=read_routes(f"http://127.0.0.1:{far.port}")) as middle,
        Stage(via=read_routes(f"http://127.0.0.1:{middle.port}")) as near,
    ):
        head, body = connect(near, f"here.test:{port}")
        assert head.startswith(b"HTTP/1.1 502 ")
        status = next(line for line in head.split(b"\r\n") if line.startswith(b"Proxy-Status: ")).decode()
        entries = [
            f'"127.0.0.1:{far.port}"; error=connection_refused',
            f'"127.0.0.1:{middle.port}"; error=connection_refused',
            "portway; error=",
        ]
        assert [status.index(entry) for entry in entries] == sorted(status.index(entry) for entry in entries)
        assert f"(127.0.0.1:{far.port}: here.test:{port} refuses connections".encode() in body
        assert near.last().result is Outcome.REFUSED


def test_a_dead_proxy_is_named_and_never_left_out(origin: RawOrigin) -> None:
    port = free_port()
    with Stage(via=read_routes(f"http://127.0.0.1:{port}")) as stage:
        head, body = connect(stage, f"here.test:{origin.port}")
        assert head.startswith(b"HTTP/1.1 502 ")
        assert f"Cannot connect to the proxy http://127.0.0.1:{port}".encode() in body
    assert origin.accepted == 0


def test_a_silent_proxy_ends_at_the_deadline() -> None:
    def swallow(visitor: socket.socket) -> None:
        while visitor.recv(4096):
            pass

    with RawOrigin(swallow) as silent, Stage(via=read_routes(f"http://127.0.0.1:{silent.port}"), connect_timeout_s=0.3) as stage:
        head, body = connect(stage, "here.test:1")
        assert head.startswith(b"HTTP/1.1 504 ")
        assert b"did not connect to here.test:1 in time" in body


def test_credentials_are_sent_and_their_absence_is_the_operators_problem(origin: RawOrigin) -> None:
    with Stage(users=OneUser(User("ann"))) as far:
        for scheme in ("http", "socks5"):
            with Stage(via=read_routes(f"{scheme}://ann:secret@127.0.0.1:{far.port}")) as stage:
                assert connect(stage, f"here.test:{origin.port}")[1] == b"hello echo"
            with Stage(via=read_routes(f"{scheme}://ann:wrong-word@127.0.0.1:{far.port}")) as stage:
                head, body = connect(stage, f"here.test:{origin.port}")
                assert head.startswith(b"HTTP/1.1 502 ")
                assert b"must correct its credentials" in body
                assert b"wrong-word" not in head + body


def test_private_targets_are_judged_here_and_never_sent(origin: RawOrigin) -> None:
    with Stage() as far, Stage(via=read_routes(f"http://127.0.0.1:{far.port}"), policy=RulePolicy(RuleSet(TargetRules()))) as stage:
        for host in (
            "127.0.0.1",
            "2130706433",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "localhost",
            "a.localhost",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "10.0.0.1",
        ):
            head, _ = connect(stage, f"{host}:{origin.port}")
            assert head[:12] in {b"HTTP/1.1 403", b"HTTP/1.1 400"}, (host, head)
        assert far.events == []


@pytest.mark.parametrize("start", PROXIES, ids=lambda start: start.__name__)
def test_real_proxies_are_ways_out(origin: RawOrigin, tmp_path: Path, start: Start) -> None:
    with start(tmp_path, authenticates=False) as running, Stage(via=read_routes(running.url)) as stage:
        assert connect(stage, f"127.0.0.1:{origin.port}")[1] == b"hello echo"
