"""The handshake of one visitor: its slot and its deadline end with it, whatever the outcome."""

import pytest

from portway.edge.tls.port import HandshakeLimits
from tests.edge.tls.kit import open_port
from tests.kit.certificates import Identity
from tests.kit.loops import EngineLoop
from tests.kit.sockets import reset
from tests.kit.tls_wire import modern, records, server_name

HELLO = records(modern(server_name(b"localhost")))


def test_a_visitor_that_rejects_the_certificate_frees_its_slot(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        opened.to.tunnel("other.localhost")
        opened.to.names.add("other.localhost")
        channel, failure = opened.dial("other.localhost")
        assert "certificate" in failure
        engine.run_until(lambda: not opened.port.under_way, what="a free slot")
        assert not opened.to.served
        channel.close()


@pytest.mark.parametrize("sent", [b"", HELLO[:100], HELLO], ids=["nothing", "part of a hello", "a hello"])
def test_a_visitor_that_resets_frees_its_slot(engine: EngineLoop, identity: Identity, sent: bytes) -> None:
    with open_port(engine, identity) as opened:
        sock = opened.connect(sent)
        engine.run_until(lambda: opened.port.under_way == 1, what="a connection")
        engine.settle()
        opened.visitors.remove(sock)
        reset(sock)
        engine.run_until(lambda: not opened.port.under_way, what="a free slot")


def test_the_deadline_ends_with_the_handshake(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity, HandshakeLimits(seconds_max=0.3)) as opened:
        channel, failure = opened.dial()
        assert failure == ""
        fired: list[bool] = []
        engine.reactor.call_later(0.5, lambda: fired.append(True))
        engine.run_until(lambda: bool(fired), what="a time after the deadline")
        assert channel.send(b"still here") == 10
        channel.abort()


def test_turns_after_the_handshake_are_those_of_a_visitor(engine: EngineLoop, identity: Identity) -> None:
    with open_port(engine, identity) as opened:
        channel, _ = opened.dial()
        engine.run_until(lambda: bool(opened.to.served), what="a served visitor")
        assert opened.to.served[0][0].account is opened.to.sources.of("127.0.0.1")
        assert opened.to.served[0][0].account is not opened.port.accounts.of("127.0.0.1")
        channel.abort()
