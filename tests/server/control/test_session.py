"""A session: its links, the choice among them, and whether its agent responds."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portway.edge.lease import Owner
from portway.engine.memory_channel import memory_pair
from portway.errors import UnavailableError
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control.messages import Activity, Drain
from portway.protocol.proxy_header import encode_local
from portway.protocol.scram import make_verifier
from portway.protocol.stream_status import StreamStatus
from portway.protocol.yamux import session as yamux_module
from portway.protocol.yamux.limits import YamuxLimits
from portway.server.access.tokens import TokenRecord
from portway.server.control import session as session_module
from portway.server.control.session import Session, SessionLink
from portway.session.control_stream import ControlStream
from tests.kit.loops import EngineLoop

TOKEN = TokenRecord(id="t", name="laptop", verifier=make_verifier("x" * 22, b"s" * 16))
HEADER = encode_local(1)


@dataclass
class Far:
    """The agent's end of one link."""

    engine: EngineLoop
    session: Session
    streams: list[MuxChannel] = field(default_factory=list)

    def __post_init__(self) -> None:
        near, far = memory_pair(self.engine.reactor, 1 << 20)
        controls: list[MuxChannel] = []
        near_mux = Mux(self.engine.reactor, near, client=True, on_stream=controls.append, on_lost=lambda _: None)
        self.mux = Mux(self.engine.reactor, far, client=False, on_stream=self.streams.append, on_lost=lambda _: None)
        self.control = ControlStream(self.mux.open(), self.engine.reactor)
        self.engine.settle()
        self.link = SessionLink(near_mux, ControlStream(controls[0], self.engine.reactor), self.engine.reactor.now)
        self.session.add_link(self.link)


@pytest.fixture
def session(engine: EngineLoop) -> Iterator[Session]:
    session = Session(engine.reactor, "s1", Owner("t", b"i" * 32), TOKEN, b"k" * 32)
    yield session
    for link in session.links:
        link.mux.close("over")
    engine.settle()


def test_a_session_without_links_has_no_streams(session: Session) -> None:
    with pytest.raises(UnavailableError, match="no live link"):
        session.open(1, HEADER, lambda _: None)
    assert not session.send(Drain(reason="x"))
    assert session.rtt_s is None


def test_streams_go_to_the_link_with_the_fewest(engine: EngineLoop, session: Session) -> None:
    first, second = Far(engine, session), Far(engine, session)
    for _ in range(6):
        session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert (len(first.streams), len(second.streams)) == (3, 3)
    assert session.streams_open == 6


def test_a_link_with_a_bulk_transfer_is_avoided(engine: EngineLoop, session: Session) -> None:
    first, second = Far(engine, session), Far(engine, session)
    for _ in range(3):
        session.open(1, HEADER, lambda _: None)  # two of them on the first link
    engine.settle()
    second.link.mux.bytes_out += 10_000_000
    later(engine, 0.15)
    for _ in range(4):
        session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert (len(first.streams), len(second.streams)) == (6, 1)


def test_a_link_that_is_going_away_gets_no_streams(engine: EngineLoop, session: Session) -> None:
    first, second = Far(engine, session), Far(engine, session)
    first.mux.go_away()
    engine.settle()
    for _ in range(4):
        session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert (len(first.streams), len(second.streams)) == (0, 4)
    second.mux.go_away()
    engine.settle()
    with pytest.raises(UnavailableError, match="going away"):
        session.open(1, HEADER, lambda _: None)


def test_among_links_of_similar_load_the_number_of_streams_decides(engine: EngineLoop, session: Session) -> None:
    links = [Far(engine, session) for _ in range(4)]
    for number, far in enumerate(links):
        far.link.mux.bytes_in += 9_000_000 + 500_000 * number
    later(engine, 0.1)
    for _ in range(40):
        session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert [len(far.streams) for far in links] == [10] * 4


def test_links_are_sampled_also_without_visitors(engine: EngineLoop, session: Session) -> None:
    first, second = Far(engine, session), Far(engine, session)
    engine.run_until(lambda: session._sampled_at > 0 and first.link._mark_bytes > 0, what="sampled without a visitor")
    first.link.mux.bytes_out += 10_000_000
    engine.run_until(lambda: first.link.load_step > 0)
    session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert (len(first.streams), len(second.streams)) == (0, 1)
    session.drop_link(second.link)
    second.link.mux.close("gone")
    engine.run_until(lambda: not session._sampling, what="one link needs no samples")


def test_a_link_that_drains_or_is_lost_or_full_gets_no_visitors(engine: EngineLoop, session: Session) -> None:
    draining, lost, full, fine = [Far(engine, session) for _ in range(4)]
    draining.mux.yamux.drain()
    engine.settle()
    lost.link.mux.abort("cut")
    full.link.mux.yamux.limits = YamuxLimits(streams_max=1)
    for _ in range(5):
        session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert [len(far.streams) for far in (draining, lost, full, fine)] == [0, 0, 0, 5]
    fine.link.mux.abort("cut")
    with pytest.raises(UnavailableError, match="going away"):
        session.open(1, HEADER, lambda _: None)


@pytest.fixture
def few_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A link has stream ids for four visitors."""
    monkeypatch.setattr(yamux_module, "STREAM_ID_LAST", 7)
    monkeypatch.setattr(yamux_module, "SPARE_IDS", 2)


@pytest.mark.usefixtures("few_ids")
def test_a_link_without_stream_ids_that_is_not_replaced_is_closed_after_its_visitors(
    engine: EngineLoop, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "EXHAUSTED_S_MAX", 0.3)
    far = Far(engine, session)
    visits = [session.open(1, HEADER, lambda _: None) for _ in range(4)]
    engine.settle()
    assert not far.mux.lost, "four fit"
    for _ in range(3):
        with pytest.raises(UnavailableError, match="no stream ids left"):
            session.open(1, HEADER, lambda _: None)
    engine.settle()
    assert not far.mux.lost, "open streams may finish"
    visits[0].send(b"still here")
    engine.settle()
    assert far.streams[0].peek() is not None
    engine.run_until(lambda: far.mux.lost, deadline_s=3)


@pytest.mark.usefixtures("few_ids")
def test_a_link_without_stream_ids_and_visitors_is_closed_at_once_unless_it_drains(engine: EngineLoop, session: Session) -> None:
    for drains in (False, True):
        far = Far(engine, session)
        for _ in range(4):
            session.open(1, HEADER, lambda _: None).abort()
        if drains:
            far.mux.yamux.drain()
        engine.settle()
        with pytest.raises(UnavailableError):
            session.open(1, HEADER, lambda _: None)
        engine.settle()
        assert far.mux.lost is not drains
        session.drop_link(far.link)
        far.link.mux.close("over")
        engine.settle()


def test_links_of_a_session_share_their_budgets(engine: EngineLoop, session: Session) -> None:
    first, second = Far(engine, session), Far(engine, session)
    assert second.link.mux.buffers is first.link.mux.buffers
    assert second.link.mux.yamux.growth is first.link.mux.yamux.growth


def later(engine: EngineLoop, seconds: float) -> None:
    """Advance the reactor's clock."""
    now = engine.reactor.now + seconds
    engine.reactor._clock = lambda: now
    engine.reactor.refresh_now()


def test_the_status_of_a_stream_is_reported(engine: EngineLoop, session: Session) -> None:
    far = Far(engine, session)
    statuses: list[StreamStatus | None] = []
    session.open(1, HEADER, statuses.append)
    engine.settle()
    far.streams[0].send(bytes((StreamStatus.TIMED_OUT,)))
    engine.settle()
    assert statuses == [StreamStatus.TIMED_OUT]


def test_a_live_agent_is_responsive_and_a_silent_one_is_not(engine: EngineLoop, session: Session) -> None:
    far = Far(engine, session)
    assert engine.run(session.is_responsive(1.0))
    far.mux._link.on_readable = lambda: None
    assert not engine.run(session.is_responsive(0.1))


def test_bytes_received_while_the_pong_is_late_count_as_responsive(engine: EngineLoop, session: Session) -> None:
    far = Far(engine, session)
    far.link.mux.ping = lambda on_pong: None  # type: ignore[method-assign]

    async def busy() -> bool:
        asked = asyncio.ensure_future(session.is_responsive(0.5))
        await asyncio.sleep(0.02)
        far.control.send(Drain(reason="any bytes"))
        return await asked

    assert engine.run(busy())


def test_messages_use_the_oldest_live_link(engine: EngineLoop, session: Session) -> None:
    first, second = Far(engine, session), Far(engine, session)
    assert session.send(Drain(reason="one"))
    assert engine.run(first.control.receive(1.0)) == Drain(reason="one")
    first.link.stream.abort()
    assert session.send(Drain(reason="two"))
    assert engine.run(second.control.receive(1.0)) == Drain(reason="two")
    assert not session.drop_link(first.link)
    first.link.mux.close("gone")
    assert session.drop_link(second.link)
    assert not session.drop_link(second.link)
    second.link.mux.close("gone")


def test_request_lines_are_dropped_while_control_bytes_are_unsent(
    engine: EngineLoop, session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = Far(engine, session)
    session.record_request(1, "GET", "/", 200, 0.1)
    message = engine.run(far.control.receive(2.0))
    assert message == Activity(tunnel=1, requests=[("GET", "/", 200, 0.1)])
    monkeypatch.setattr(session_module, "ACTIVITY_BACKLOG_BYTES_MAX", -1)
    session.record_request(1, "GET", "/", 200, 0.1)
    with pytest.raises(UnavailableError):
        engine.run(far.control.receive(0.3))


def test_a_session_repr_has_its_token(session: Session) -> None:
    assert "laptop" in repr(session)
