"""PROXY headers of a proxy's connections are read exactly, in time, and never guessed."""

import socket
import time
from collections.abc import Iterator

import pytest

from portway.edge import proxy_protocol
from portway.edge.admission import AdmissionControl
from portway.edge.proxy_protocol import ProxyProtocolReader
from portway.engine.listener import Listener, listen
from portway.protocol.networks import Networks
from portway.protocol.proxy_header import ProxyHeader
from tests.kit.loops import EngineLoop
from tests.kit.sockets import DEADLINE_S

LINE = b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 443\r\n"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00"
UNIX = b"\r\n\r\n\0\r\nQUIT\n\x21\x31\x00\xd8" + b"/run/x".ljust(108, b"\0") * 2
PROXY, STRANGER = "127.0.0.1", "127.0.0.9"


class LinkHandler:
    """A listener that reads headers of connections from PROXY, and keeps what it accepts."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.accepted: list[tuple[socket.socket, tuple[str, int], ProxyHeader | None]] = []
        self.admission = AdmissionControl(engine.reactor)
        self.reader = ProxyProtocolReader(engine.reactor, Networks((f"{PROXY}/32",)), self.admission)
        self.listener = Listener(engine.reactor, listen("127.0.0.1", 0), self.reader.wrap(lambda *came: self.accepted.append(came)))
        self.callers: list[socket.socket] = []

    def call(self, address: str = PROXY) -> socket.socket:
        sock = socket.create_connection(self.listener.address, timeout=DEADLINE_S, source_address=(address, 0))
        self.callers.append(sock)
        return sock

    def one(self) -> tuple[socket.socket, tuple[str, int], ProxyHeader | None]:
        self.engine.run_until(lambda: len(self.accepted) == 1, what="a connection is accepted")
        return self.accepted[0]

    def close(self) -> None:
        self.listener.close()
        self.reader.close()
        for sock in (*self.callers, *(came[0] for came in self.accepted)):
            sock.close()
        self.engine.settle()


@pytest.fixture
def door(engine: EngineLoop) -> Iterator[LinkHandler]:
    door = LinkHandler(engine)
    yield door
    door.close()


def read(sock: socket.socket, count: int) -> bytes:
    sock.setblocking(True)
    sock.settimeout(DEADLINE_S)
    return sock.recv(count)


def is_reset(sock: socket.socket) -> bool:
    """Look, without waiting, whether the connection was reset."""
    sock.setblocking(False)
    try:
        sock.recv(1)
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True
    raise AssertionError("it was not reset")


@pytest.mark.parametrize("step", [1, 2, 13, 1000])
@pytest.mark.parametrize("header", [LINE, LOCAL, UNIX])
def test_exactly_the_header_is_consumed_however_it_arrives(door: LinkHandler, header: bytes, step: int) -> None:
    caller = door.call()
    caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    wire = header + b"and more"
    for at in range(0, len(wire), step):
        caller.sendall(wire[at : at + step])
        door.engine.settle()
    sock, address, came = door.one()
    assert address == (("192.0.2.1", 56324) if header is LINE else caller.getsockname())
    assert came is not None
    assert read(sock, 100) == b"and more"
    assert not door.reader.pending


def test_only_trusted_proxies_send_one(door: LinkHandler) -> None:
    caller = door.call(STRANGER)
    caller.sendall(LINE)
    sock, address, came = door.one()
    assert (address, came) == (caller.getsockname(), None)
    assert read(sock, 100) == LINE, "what a stranger sends is its own"


@pytest.mark.parametrize(
    "wire", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 1 2 3 4\r\n", b"PROXY " + b"1" * 200, b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c"]
)
def test_a_proxy_without_a_header_is_reset_and_logged(door: LinkHandler, wire: bytes, caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(3):
        caller = door.call()
        caller.sendall(wire)
        door.engine.run_until(lambda caller=caller: is_reset(caller), what="it is reset")  # type: ignore[misc]
    assert not door.reader.pending
    assert not door.accepted
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "not for every visitor"
    assert "no valid PROXY header" in said[0]


def test_one_that_never_ends_is_reset_in_time(door: LinkHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_protocol, "HEADER_S", 0.2)
    begun = time.monotonic()
    caller = door.call()
    caller.sendall(LINE[:-1])
    door.engine.run_until(lambda: len(door.reader.pending) == 1, what="it is read")
    assert door.admission.connected == 1
    door.engine.run_until(lambda: is_reset(caller), what="it is reset")
    assert time.monotonic() - begun > 0.2
    assert not door.reader.pending


@pytest.mark.parametrize("sent", [b"", LINE[:10]])
def test_one_that_leaves_is_forgotten(door: LinkHandler, sent: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caller = door.call()
    caller.sendall(sent)
    door.engine.run_until(lambda: len(door.reader.pending) == 1, what="it is read")
    caller.close()
    door.engine.run_until(lambda: not door.reader.pending, what="it is gone")
    assert not door.accepted
    assert bool(caplog.records) == bool(sent), "a health check that only connects is no fault"


def test_there_are_never_too_many(door: LinkHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_protocol, "PENDING_MAX", 3)
    for _ in range(3):
        door.call()
    door.engine.run_until(lambda: len(door.reader.pending) == 3, what="three are read")
    late = door.call()
    door.engine.run_until(lambda: is_reset(late), what="the fourth is reset")
    assert len(door.reader.pending) == 3
    door.reader.close()
    assert not door.reader.pending
