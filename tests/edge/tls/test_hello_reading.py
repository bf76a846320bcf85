"""Reading a ClientHello: in any pieces, a bounded number of bytes per turn, and whatever ends it."""

import socket
from collections.abc import Iterator

import pytest

from portway.edge.tls.hello_reading import READ_BYTES, HelloReading
from portway.protocol.tls_alert import HelloError
from portway.protocol.tls_hello import ClientHello
from tests.kit.loops import EngineLoop
from tests.kit.sockets import reset, tcp_pair
from tests.kit.tls_wire import PADDING, extension, modern, records, server_name


class Read:
    """One reading, with its outcome."""

    def __init__(self, engine: EngineLoop) -> None:
        self.engine = engine
        self.near, self.far = tcp_pair()
        self.near.setblocking(False)
        self.hellos: list[ClientHello] = []
        self.failures: list[HelloError | None] = []
        self.account = engine.reactor.unauthenticated.child(tenant=True)
        self.reading = HelloReading(engine.reactor, self.near, self.account, self.hellos.append, self.failures.append)

    def until_done(self) -> None:
        self.engine.run_until(lambda: bool(self.hellos or self.failures), what="the end of the reading")


@pytest.fixture
def read(engine: EngineLoop) -> Iterator[Read]:
    read = Read(engine)
    yield read
    read.reading.stop()
    engine.reactor.discard(read.near)
    read.far.close()
    engine.settle()


@pytest.mark.parametrize("padding", [0, 20_000, 60_000])
def test_a_hello_of_any_length_is_read_whole(read: Read, padding: int) -> None:
    wire = records(modern(server_name(b"app.localhost"), extension(PADDING, bytes(padding))))
    read.far.sendall(wire)
    read.until_done()
    assert (read.hellos[0].wire, read.hellos[0].server_name) == (wire, "app.localhost")


def test_a_long_hello_is_read_in_turns(read: Read) -> None:
    wire = records(modern(extension(PADDING, bytes(50_000))))
    before = read.engine.reactor.work.done
    read.far.sendall(wire)
    read.until_done()
    assert read.engine.reactor.work.done - before > len(wire)
    assert len(wire) > 3 * READ_BYTES


def test_the_end_before_the_hello_is_a_failure_without_error(read: Read) -> None:
    read.far.sendall(b"\x16\x03")
    read.far.shutdown(socket.SHUT_WR)
    read.until_done()
    assert read.failures == [None]


def test_a_reset_is_a_failure_without_error(read: Read) -> None:
    reset(read.far)
    read.until_done()
    assert read.failures == [None]


def test_other_bytes_are_a_failure_with_its_error(read: Read) -> None:
    read.far.sendall(b"GET / HTTP/1.1\r\n")
    read.until_done()
    assert isinstance(read.failures[0], HelloError)


def test_a_hello_whose_sender_has_ended_is_read(read: Read) -> None:
    read.far.sendall(records(modern(extension(PADDING, bytes(30_000)))))
    read.far.shutdown(socket.SHUT_WR)
    read.until_done()
    assert len(read.hellos) == 1


def test_nothing_is_called_after_stop(read: Read) -> None:
    read.reading.stop()
    read.far.sendall(records(modern()))
    read.engine.settle()
    assert (read.hellos, read.failures) == ([], [])
