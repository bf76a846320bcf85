"""Streams of the agent's own edge."""

from portway.agent.events import RequestLine
from portway.agent.termination.local_holder import LocalHolder
from portway.engine.channel import Channel
from portway.protocol.stream_status import StreamStatus
from portway.session.stream_handshake import send_status
from tests.kit.loops import EngineLoop


def test_a_stream_begins_with_its_preamble_and_ends_with_a_status(engine: EngineLoop) -> None:
    accepted: list[Channel] = []
    statuses: list[StreamStatus | None] = []
    holder = LocalHolder(engine.reactor, accepted.append, lambda _: None)

    near = holder.open(7, b"preamble", statuses.append)
    near.send(b" and more")

    (far,) = accepted
    buffer = memoryview(bytearray(100))
    assert bytes(buffer[: far.recv_into(buffer)]) == b"preamble and more"
    send_status(far, StreamStatus.CONNECTED)
    far.send(b"answer")
    engine.run_until(lambda: bool(statuses))
    assert statuses == [StreamStatus.CONNECTED]
    assert bytes(buffer[: near.recv_into(buffer)]) == b"answer"
    near.abort()
    far.abort()


def test_requests_are_lines_of_the_agents_console(engine: EngineLoop) -> None:
    events: list[object] = []
    LocalHolder(engine.reactor, lambda _: None, events.append).record_request(7, "GET", "/", 200, 0.1, "cut")
    assert events == [RequestLine("GET", "/", 200, 0.1, 7, "cut")]
