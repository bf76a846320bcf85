"""Whether a service is there, found out without connecting to it."""

import socket
from pathlib import Path

import pytest

from portway.agent.listening import TABLES, is_listening
from portway.agent.target import Target
from tests.kit.sockets import free_port

needs_tables = pytest.mark.skipif(not TABLES[0].exists(), reason="no /proc/net/tcp on this system")


@needs_tables
@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_listener_is_found_on_either_family_and_not_used_up(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, 0), family=family) as listener:
        assert is_listening(Target("localhost", listener.getsockname()[1])) is True
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


@needs_tables
def test_a_free_port_and_a_connected_one_do_not_listen() -> None:
    assert is_listening(Target("127.0.0.1", free_port())) is False
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(listener.getsockname()) as connected:
        assert is_listening(Target("127.0.0.1", connected.getsockname()[1])) is False


def test_a_unix_socket_listens_if_it_exists(tmp_path: Path) -> None:
    assert is_listening(Target(path=str(tmp_path / "none.sock"))) is False
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "some.sock"))
        assert is_listening(Target(path=str(tmp_path / "some.sock"))) is True


def test_an_unknown_state_is_none(tmp_path: Path) -> None:
    assert is_listening(Target("service.internal", 80)) is None
    assert is_listening(Target("192.0.2.1", 80)) is None
    assert is_listening(Target("127.0.0.1", 80), (tmp_path / "missing",)) is None
