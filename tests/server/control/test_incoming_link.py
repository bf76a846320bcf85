"""One agent link: a control stream in time, no second one, and one report of its loss."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portway.engine.memory_channel import memory_pair
from portway.errors import BrokenChannel
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from portway.server.control import incoming_link as incoming_link_module
from portway.server.control.incoming_link import IncomingLink, UnauthenticatedPeer
from portway.session.control_stream import ControlStream
from tests.kit.loops import EngineLoop


@dataclass
class FakeHandler:
    """Records the events of links."""

    engine: EngineLoop
    opened: list[ControlStream] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def on_control_stream(self, incoming: IncomingLink, stream: ControlStream) -> None:
        self.opened.append(stream)

    def on_link_lost(self, incoming: IncomingLink, reason: str) -> None:
        self.lost.append(reason)

    def accept(self) -> tuple[IncomingLink, Mux, list[MuxChannel]]:
        near, far = memory_pair(self.engine.reactor)
        streams: list[MuxChannel] = []
        incoming = IncomingLink(self, self.engine.reactor, near, UnauthenticatedPeer("192.0.2.1", "192.0.2.1:5"), MuxSettings())
        agent = Mux(self.engine.reactor, far, client=False, on_stream=streams.append, on_lost=lambda _: None)
        self.engine.settle()
        return incoming, agent, streams


@pytest.fixture
def handler(engine: EngineLoop) -> Iterator[FakeHandler]:
    yield FakeHandler(engine)
    engine.settle()


def test_the_first_stream_is_the_control_stream_and_a_second_one_is_reset(handler: FakeHandler) -> None:
    incoming, agent, _ = handler.accept()
    agent.open()
    extra = agent.open(b"hello?")
    handler.engine.settle()
    assert len(handler.opened) == 1
    with pytest.raises(BrokenChannel):
        extra.send(b"x")
    incoming.mux.close("over")
    assert handler.lost == ["over"]
    incoming.mux.close("again")
    assert handler.lost == ["over"]


def test_a_link_without_a_control_stream_is_closed_at_the_deadline(handler: FakeHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_link_module, "LOGIN_S_MAX", 0.1)
    _, agent, _ = handler.accept()
    handler.engine.run_until(lambda: bool(handler.lost))
    assert handler.lost == ["no control stream within 0.1 s"]
    handler.engine.run_until(lambda: agent.lost)


def test_a_control_stream_in_time_cancels_the_deadline(handler: FakeHandler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_link_module, "LOGIN_S_MAX", 0.1)
    incoming, agent, _ = handler.accept()
    agent.open()
    late = False

    def set_late() -> None:
        nonlocal late
        late = True

    handler.engine.reactor.call_later(0.3, set_late)
    handler.engine.run_until(lambda: late)
    assert handler.lost == []
    incoming.mux.close("over")
