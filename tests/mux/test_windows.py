"""Windows follow the path (ADR 0004), measured by the link's own pings over a path that is really long."""

import socket

import pytest

from portway.engine.socket_channel import SocketChannel
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.yamux.window import PROVEN_BYTES, WINDOW_BYTES_MAX
from tests.kit.bad_network_proxy import BadNetworkProxy
from tests.kit.loops import EngineLoop
from tests.kit.probe import Probe
from tests.kit.sockets import tcp_listener
from tests.kit.streams import blocks

MIB = 1024 * 1024


@pytest.mark.parametrize(("latency_s", "grows"), [(0.0, False), (0.04, True)], ids=["near", "far"])
def test_a_far_reader_grants_more_than_a_near_one(engine: EngineLoop, latency_s: float, grows: bool) -> None:
    with tcp_listener() as listener, BadNetworkProxy(listener.getsockname(), latency_s=latency_s, rate_bytes_per_s=60e6) as relay:
        dialled = socket.create_connection(relay.address, 5)
        accepted, _ = listener.accept()
        for sock in (dialled, accepted):
            sock.settimeout(0)
        arrived: list[MuxChannel] = []
        lost: list[str] = []
        ends = [SocketChannel(engine.reactor, sock) for sock in (dialled, accepted)]
        near = Mux(engine.reactor, ends[0], client=True, on_stream=arrived.append, on_lost=lost.append)
        far = Mux(engine.reactor, ends[1], client=False, on_stream=arrived.append, on_lost=lost.append)
        writer = Probe(near.open())
        engine.run_until(lambda: bool(arrived) and far.rtt_s is not None)
        reader = Probe(arrived[0]).read()
        reader.keep_received = False
        size = 40 * MIB if grows else 20 * MIB
        writer.feed(blocks(size), end=True)
        engine.run_until(lambda: reader.ended, deadline_s=60)
        assert reader.received_bytes == size
        window = arrived[0].receive_window.size
        assert far.rtt_s is not None
        assert far.rtt_s >= 2 * latency_s
        if grows:
            assert 2 * PROVEN_BYTES < window <= WINDOW_BYTES_MAX
        else:
            assert window >= PROVEN_BYTES
        assert not lost
        near.close("over")
        engine.run_until(lambda: len(lost) == 2)
        engine.settle()
