"""Shedding of an upgraded connection."""

import socket

import pytest

from portway.edge.connection_state import ConnectionState
from tests.edge.http.kit import Origin, Request, Stage

ASK = b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


def switch(_request: Request, sock: socket.socket) -> bytes | None:
    """Speak another protocol, which echoes."""
    sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
    while data := sock.recv(65536):
        sock.sendall(data)
    return None


def test_it_counts_what_it_moves_and_is_broken_to_free_capacity(stage: Stage) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(ASK)
            assert b"101" in visitor.read_head()
            visitor.send(b"hello")
            assert visitor.read(5) == b"hello"
            [member] = stage.on_loop(lambda: list(stage.edge._connections()))
            assert member.address == "127.0.0.1"
            assert member.holder is agent
            state, _, moved = stage.on_loop(member.state)
            assert (state, moved) == (ConnectionState.QUIET, 10)
            stage.on_loop(lambda: member.shed(ConnectionState.QUIET))
            assert stage.on_loop(lambda: stage.edge.visitors) == 0
            with pytest.raises(ConnectionResetError):
                visitor.rest()

    with Origin(switch) as origin:
        agent = stage.publish(origin)
        stage.play(story)
