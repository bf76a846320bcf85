"""One link of an agent: a control stream in time, no second one, and its end told once."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portway.engine.memory_channel import memory_pair
from portway.errors import BrokenChannel
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from portway.server.control import incoming_link as guest_module
from portway.server.control.incoming_link import IncomingLink, UnauthenticatedPeer
from portway.session.control_stream import ControlStream
from tests.kit.loops import EngineLoop


@dataclass
class FakeDoor:
    """Keeps what guests tell."""

    engine: EngineLoop
    spoke: list[ControlStream] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    places: int = 0

    def on_control_stream(self, guest: IncomingLink, stream: ControlStream) -> None:
        self.spoke.append(stream)

    def on_link_lost(self, guest: IncomingLink, reason: str) -> None:
        self.left.append(reason)

    def bring(self) -> tuple[IncomingLink, Mux, list[MuxChannel]]:
        near, far = memory_pair(self.engine.reactor)
        streams: list[MuxChannel] = []
        guest = IncomingLink(self, self.engine.reactor, near, UnauthenticatedPeer("192.0.2.1", "192.0.2.1:5"), MuxSettings())
        agent = Mux(self.engine.reactor, far, client=False, on_stream=streams.append, on_lost=lambda _: None)
        self.engine.settle()
        return guest, agent, streams


@pytest.fixture
def door(engine: EngineLoop) -> Iterator[FakeDoor]:
    yield FakeDoor(engine)
    engine.settle()


def test_the_first_stream_is_the_control_stream_and_there_is_no_second(door: FakeDoor) -> None:
    guest, agent, _ = door.bring()
    agent.open()
    extra = agent.open(b"hello?")
    door.engine.settle()
    assert len(door.spoke) == 1
    with pytest.raises(BrokenChannel):
        extra.send(b"x")
    guest.mux.close("over")
    assert door.left == ["over"]
    guest.mux.close("again")
    assert door.left == ["over"]


def test_who_opens_no_control_stream_is_put_out(door: FakeDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "LOGIN_S_MAX", 0.1)
    _, agent, _ = door.bring()
    door.engine.run_until(lambda: bool(door.left))
    assert door.left == ["no control stream within 0.1 s"]
    door.engine.run_until(lambda: agent.lost)


def test_a_control_stream_in_time_stops_the_clock(door: FakeDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guest_module, "LOGIN_S_MAX", 0.1)
    guest, agent, _ = door.bring()
    agent.open()
    late = False

    def note() -> None:
        nonlocal late
        late = True

    door.engine.reactor.call_later(0.3, note)
    door.engine.run_until(lambda: late)
    assert door.left == []
    guest.mux.close("over")
