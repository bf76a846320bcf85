"""Both programs on the portable engine: what goes through arrives, ends and breaks as on the other."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Stack
from tests.kit.http_origin import HttpOrigin
from tests.kit.origins import RawOrigin
from tests.kit.programs import portway
from tests.kit.sockets import read_to_end, reset

MIB = 1 << 20


@pytest.fixture(scope="module", params=["TLS links", "plain links"])
def portable(request: pytest.FixtureRequest) -> Iterator[Stack]:
    with Stack(plaintext=request.param == "plain links", engine="portable") as stack:
        yield stack


def echo_after_the_end(sock: socket.socket) -> None:
    """Read to the visitor's end, then send it all back."""
    sock.sendall(read_to_end(sock))


def edge_triggered(fdinfo: Path) -> bool:
    """Return whether an epoll set holds a descriptor with EPOLLET, the highest bit of its events."""
    masks = [line.split()[3] for line in fdinfo.read_text().splitlines() if line.startswith("tfd:")]
    return any(int(mask, 16) & 1 << 31 for mask in masks)


def test_both_programs_use_the_requested_engine(portable: Stack, http_origin: HttpOrigin) -> None:
    agent = portable.tunnel("http", http_origin.port).program
    for program in (portable.server, agent):
        assert not any(edge_triggered(fdinfo) for fdinfo in Path(f"/proc/{program.pid}/fdinfo").iterdir())
    portable.healthy()


def test_many_megabytes_come_back_after_a_half_close(portable: Stack) -> None:
    with RawOrigin(echo_after_the_end) as origin, portable.tunnel("tcp", origin.port).connect() as visitor:
        sent = os.urandom(MIB) * 32
        visitor.sendall(sent)
        visitor.shutdown(socket.SHUT_WR)
        assert read_to_end(visitor) == sent
    portable.healthy()


def test_a_visitor_over_http_gets_the_whole_response(portable: Stack, http_origin: HttpOrigin) -> None:
    tunnel = portable.tunnel("http", http_origin.port)
    with tunnel.connect() as visitor:
        visitor.sendall(b"GET /bytes?n=20000000&seed=1 HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % tunnel.host.encode())
        answer = read_to_end(visitor)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert len(body) == 20_000_000
    portable.healthy()


def test_a_broken_origin_is_a_break_for_the_visitor(portable: Stack) -> None:
    def break_off(sock: socket.socket) -> None:
        sock.sendall(b"half of the ans")
        reset(sock)

    with RawOrigin(break_off) as origin, portable.tunnel("tcp", origin.port).connect() as visitor, pytest.raises(ConnectionResetError):
        read_to_end(visitor)
    portable.healthy()


def test_an_unknown_engine_is_an_error() -> None:
    with portway("server", "--http", "127.0.0.1:0", env={"PORTWAY_ENGINE": "warp"}) as program:
        ended = program.wait()
    assert ended.code == 2
    assert "PORTWAY_ENGINE: unknown engine 'warp': expected 'epoll' or 'portable'" in ended.err
    assert "Traceback" not in ended.err
