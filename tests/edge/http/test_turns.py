"""Fair turns at the edge: expensive work waits in the queue of its tenant, and no turn is long."""

import socket
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise, repeat

import pytest

from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.exchange.body_pumps import PumpResult, ReframingPump, SizedPump
from portway.edge.http.head_cache import ResponseHeadCache
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.http.visitor.connection import VisitorConnection
from portway.edge.http.visitor.head_reading import FIELDS_AT_ONCE, READS_A_TURN
from portway.engine import reactor as reactor_module
from portway.engine.channel import CHANNEL_SLOTS, Channel, nothing
from portway.engine.memory_channel import memory_pair
from portway.engine.reactor import LONG_ROUND_WORK
from portway.protocol.http1.framing import CHUNKED
from portway.protocol.http1.rewriting import HeadRewriter
from portway.protocol.work import READ_WORK, TURN_WORK
from tests.edge.http.kit import Caller, Origin, Stage
from tests.kit.loops import EngineLoop
from tests.kit.origins import RawOrigin

TINY = b"1\r\nx\r\n"
KIB = 1024


class Crumbs(Channel):
    """A sender that always has one more byte when it is read."""

    __slots__ = (*CHANNEL_SLOTS, "_wire", "reads")

    def __init__(self, wire: bytes) -> None:
        self.on_readable = self.on_writable = self.on_broken = nothing
        self.readable = True
        self._wire = wire
        self.reads = 0

    def recv_into(self, buffer: memoryview) -> int:
        buffer[0] = self._wire[self.reads % len(self._wire)]
        self.reads += 1
        return 1

    def room(self) -> int:
        return 1 << 20

    def send(self, data: memoryview | bytes | bytearray) -> int:
        return len(data)

    def shutdown_write(self) -> None:
        self.readable = False

    abort = close = shutdown_write


Make = Callable[[EngineLoop, ChannelReader, ChannelWriter], SizedPump | ReframingPump]
COUNTED: Make = lambda engine, reader, writer: SizedPump(engine.reactor, reader, writer, 1 << 30, b"")  # noqa: E731
CODED: Make = lambda engine, reader, writer: ReframingPump(engine.reactor, reader, writer, (CHUNKED, CHUNKED), b"")  # noqa: E731


@pytest.mark.parametrize("make", [COUNTED, CODED], ids=["counted", "chunked"])
def test_a_body_in_crumbs_ends_its_turn(engine: EngineLoop, make: Make) -> None:
    source = Crumbs(TINY)
    sink, reader = memory_pair(engine.reactor, 1 << 20)
    pump = make(engine, ChannelReader(source, engine.reactor.scratch_body), ChannelWriter(sink))
    for turn in range(1, 5):
        assert pump.run() is PumpResult.TURN_USED_UP
        assert source.reads <= turn * (TURN_WORK // READ_WORK + 2)
    reader.close()


def test_a_head_in_crumbs_ends_its_turn(engine: EngineLoop) -> None:
    stage = Stage(engine, "mux", HttpEdgeSettings())
    source = Crumbs(b"GET /" + b"a" * 100_000)
    visitor = stage.edge.serve(source, ("192.0.2.1", 1))
    seen: list[int] = []

    def look() -> None:
        seen.append(source.reads)
        if len(seen) < 20:
            engine.reactor.call_soon_charged(engine.reactor.unassigned, look)
        else:
            visitor.abort()

    engine.reactor.call_soon_charged(engine.reactor.unassigned, look)
    engine.settle()
    assert max(after - before for before, after in pairwise(seen)) <= READS_A_TURN
    assert seen[-1] > READS_A_TURN
    stage.close()


def swallow(sock: socket.socket) -> None:
    """Be an origin that reads all and answers nothing."""
    while sock.recv(1 << 16):
        pass


class Progress:
    """How much of the bodies for each host was sent on, noted after each turn of a pump."""

    def __init__(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        self._stage = stage
        self.moved: defaultdict[str, int] = defaultdict(int)
        self.notes: list[dict[str, int]] = []
        run = ReframingPump.run

        def noting(pump: ReframingPump) -> PumpResult:
            before = pump.moved
            result = run(pump)
            self.moved[self._host_of(pump)] += pump.moved - before
            self.notes.append(dict(self.moved))
            return result

        monkeypatch.setattr(ReframingPump, "run", noting)

    def _host_of(self, pump: ReframingPump) -> str:
        for visitor in self._stage.connections:
            if visitor._exchange is not None and visitor._exchange._upload is pump:
                return visitor._host
        raise AssertionError

    def at(self, host: str, moved: int) -> dict[str, int]:
        """Return what was recorded once `moved` bytes had been moved for a host."""
        return next(note for note in self.notes if note.get(host, 0) >= moved)


def test_many_expensive_uploads_to_one_tenant_get_one_tenants_share(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each brings a whole kernel buffer of one-byte chunks before the first turn, so that every one always has more."""
    progress = Progress(stage, monkeypatch)
    body_bytes = 50_000
    with RawOrigin(swallow) as origin:
        stage.publish(origin.port, "greedy.localhost")
        stage.publish(origin.port, "modest.localhost")
        visitors = []
        for host in [*["greedy.localhost"] * 16, "modest.localhost"]:
            visitor = socket.create_connection(("127.0.0.1", stage.port))
            visitor.setblocking(False)
            visitor.send(b"POST / HTTP/1.1\r\nHost: %b\r\nTransfer-Encoding: chunked\r\n\r\n" % host.encode() + TINY * body_bytes)
            visitors.append(visitor)
        stage.engine.run_until(lambda: progress.moved["modest.localhost"] == body_bytes, deadline_s=20)
        early, late = progress.at("modest.localhost", 5_000), progress.at("modest.localhost", 45_000)
        ratio = (late["greedy.localhost"] - early["greedy.localhost"]) / (late["modest.localhost"] - early["modest.localhost"])
        assert 0.1 < ratio < 8  # it is 16 when every upload gets the same
        for visitor in visitors:
            visitor.close()


def test_news_of_an_upload_that_waits_for_its_turn_earns_it_none(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = Progress(stage, monkeypatch)
    with RawOrigin(swallow) as origin, socket.socket() as visitor:
        stage.publish(origin.port, "a.localhost")
        visitor.connect(("127.0.0.1", stage.port))
        visitor.setblocking(False)
        visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n" + TINY * 20_000)
        stage.engine.run_until(lambda: progress.moved["a.localhost"] > 0)
        (served,) = stage.connections
        exchange = served._exchange
        assert exchange is not None
        turns = len(progress.notes)
        exchange._queue(1)
        for _ in range(5):
            served._on_readable()
        assert len(progress.notes) == turns
        stage.engine.run_until(lambda: progress.moved["a.localhost"] == 20_000)


def test_a_head_of_very_many_fields_waits_for_its_turn_and_is_answered(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)
    fields = [f"x{number}: y" for number in range(2 * FIELDS_AT_ONCE)]

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(2):
                assert visitor.get("/", "a.localhost", *fields).status == 200
            assert visitor.get().status == 200

    stage.play(story)


def test_requests_in_advance_take_their_turns_and_news_of_more_earns_none(
    stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[bool] = []
    take = VisitorConnection._handle_head

    def noting(visitor: VisitorConnection, head: bytes) -> None:
        taken.append(visitor._queued)
        take(visitor, head)

    monkeypatch.setattr(VisitorConnection, "_handle_head", noting)
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n" * 50)
            for _ in range(50):
                assert visitor.answer().status == 404
            assert visitor.get().status == 200

    stage.play(story)
    assert len(taken) == 51
    assert not any(taken), "none while one was queued"


def test_in_a_long_round_heads_are_read_source_by_source(stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    handle = VisitorConnection._handle_head

    def noting(visitor: VisitorConnection, head: bytes) -> None:
        order.append(visitor.address)
        stage.edge.reactor.work.done += 10 * LONG_ROUND_WORK
        handle(visitor, head)

    monkeypatch.setattr(VisitorConnection, "_handle_head", noting)
    monkeypatch.setattr(reactor_module, "CHARGED_S_MAX", 0.0)
    stage.publish(origin)
    request = b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n"

    def story() -> None:
        with ExitStack() as stack:
            crowd = [stack.enter_context(stage.caller(source="127.0.0.2")) for _ in range(20)]
            other = stack.enter_context(stage.caller(source="127.0.0.3"))
            stage.eventually(lambda: len(stage.connections) == 21)
            stage.on_loop(lambda: deque(map(Caller.send, [*crowd, other], repeat(request)), 0))
            for caller in [*crowd, other]:
                assert caller.answer().status == 200

    stage.play(story)
    assert order.index("127.0.0.3") <= 3, order


def test_many_fields_of_an_answer_end_the_turn_of_its_link(engine: EngineLoop) -> None:
    known = ResponseHeadCache(HeadRewriter("app.localhost", "localhost"), work=engine.reactor.work)
    before = engine.reactor.work.done
    head = b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 300 + b"\r\n"
    known.parse(head, b"GET")
    assert engine.reactor.work.done - before >= TURN_WORK
    short = b"HTTP/1.1 200 OK\r\nDate: now\r\n\r\n"
    known.parse(short, b"GET")
    before = engine.reactor.work.done
    known.parse(short, b"GET")
    assert engine.reactor.work.done == before, "what is known costs nothing"
