"""Sockets as channels: what the peer sees when this process is killed or ends the connection, and bytes on their way."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from portway.engine.socket_channel import SocketChannel, kernel_unsent_bytes
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import read_exactly, read_to_end, tcp_pair

KILLED_IN_MID_ANSWER = """
import asyncio, os, signal, socket, sys
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel

channel = SocketChannel(Reactor(asyncio.new_event_loop()), socket.socket(fileno=int(sys.argv[1])))
channel.send(b"half of the ans")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_in_mid_answer_resets_its_connections() -> None:
    near, far = tcp_pair()
    with far:
        with near:
            near.setblocking(False)
            sources = Path(__file__).resolve().parents[2] / "src"
            command = [sys.executable, "-c", KILLED_IN_MID_ANSWER, str(near.fileno())]
            child = subprocess.Popen(command, pass_fds=[near.fileno()], env={"PYTHONPATH": str(sources)})
        assert child.wait(20) == -9
        with pytest.raises(ConnectionResetError):
            read_to_end(far)


def test_a_closed_channel_ends_and_its_accepted_bytes_arrive(engine: EngineLoop) -> None:
    near, far = tcp_pair()
    near.setblocking(False)
    channel = SocketChannel(engine.reactor, near)
    channel.send(b"the whole answer")
    channel.close()
    engine.settle()
    with far:
        assert read_to_end(far) == b"the whole answer"


def test_bytes_behind_urgent_data_are_read(engine: EngineLoop) -> None:
    """Telnet and FTP's ABOR send urgent data: a read stops short before it although more is there."""
    near, far = tcp_pair()
    near.setblocking(False)
    probe = Probe(SocketChannel(engine.reactor, near)).read()
    engine.settle()
    with far:
        far.sendall(b"before ")
        far.send(b"!", socket.MSG_OOB)
        far.sendall(b"and after")
        engine.settle()
        assert probe.received == b"before and after"
    probe.close()
    engine.settle()


def test_a_detached_socket_is_released_and_stays_open(engine: EngineLoop) -> None:
    left, right = tcp_pair()
    right.setblocking(False)
    channel = SocketChannel(engine.reactor, right)
    calls: list[str] = []
    channel.on_readable = lambda: calls.append("readable")
    engine.settle()
    calls.clear()
    given: list[socket.socket] = []

    def take(sock: socket.socket) -> bool:
        given.append(sock)
        return True

    assert channel.detach(take)
    left.sendall(b"for somebody else")
    engine.settle()
    assert given == [right]
    assert calls == []
    channel.close()
    assert not channel.detach(lambda sock: True)
    engine.settle()
    assert right.recv(99) == b"for somebody else"
    left.close()
    right.close()


def test_a_channel_continues_when_its_socket_is_not_accepted(engine: EngineLoop) -> None:
    left, right = tcp_pair()
    right.setblocking(False)
    channel = SocketChannel(engine.reactor, right)
    heard: list[bytes] = []

    def read() -> None:
        while channel.readable and (count := channel.recv_into(engine.reactor.scratch_body)) > 0:
            heard.append(bytes(engine.reactor.scratch_body[:count]))

    channel.on_readable = read
    engine.settle()
    assert not channel.detach(lambda sock: False)
    left.sendall(b"still mine")
    engine.run_until(lambda: heard == [b"still mine"])
    channel.close()
    left.close()
    engine.settle()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not report it")
def test_unsent_bytes_are_counted_until_the_peer_has_read_them() -> None:
    near, far = tcp_pair(16 * 1024)
    near.setblocking(False)
    sent = 0
    try:
        while True:
            sent += near.send(bytes(64 * 1024))
    except BlockingIOError:
        pass
    unsent = kernel_unsent_bytes(near)
    assert unsent is not None
    assert 0 < unsent <= sent
    assert len(read_exactly(far, sent)) == sent
    assert kernel_unsent_bytes(near) == 0
    near.close()
    far.close()


def test_unsent_bytes_of_a_closed_socket_raise_an_error() -> None:
    near, far = tcp_pair()
    near.close()
    far.close()
    with pytest.raises(ValueError, match="file descriptor"):
        kernel_unsent_bytes(near)
