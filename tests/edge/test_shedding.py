"""Which connections are shed: those of the source with the most, the least active first."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portway.edge.connection_state import (
    CLOSING_S,
    FEW,
    IDLE_S,
    QUIET_S,
    RATE_WINDOW_S,
    SILENT_S,
    ConnectionState,
    SheddableConnection,
)
from portway.edge.lease import Holder
from portway.edge.shedding import FORGET_S, SCAN_STEP, SCAN_VALID_S, Shedder
from portway.engine.reactor import Reactor
from tests.kit.loops import EngineLoop

FLOOD, CALM, NEW = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@dataclass(eq=False)
class Connection:
    """A connection in a state that the test sets."""

    address: str
    doing: ConnectionState
    since: float
    moved: int = 0
    closed: list["Connection"] = field(default_factory=list)
    holder: Holder | None = None

    def state(self) -> tuple[ConnectionState, float, int]:
        return self.doing, self.since, self.moved

    def shed(self, state: ConnectionState) -> None:
        assert state is self.doing
        self.doing = ConnectionState.EXEMPT
        self.closed.append(self)


class Connections:
    """Connections, at a time that the test sets."""

    def __init__(self, engine: EngineLoop) -> None:
        self.time = 1000.0
        self.reactor = Reactor(engine.loop, lambda: self.time)
        self.there: list[Connection] = []
        self.closed: list[Connection] = []
        self.shedder = Shedder(self.reactor, self.connections)

    def connections(self) -> Iterator[SheddableConnection]:
        yield from self.there

    def add(self, address: str, doing: ConnectionState, age_s: float = 60.0, *, count: int = 1, moved: int = 0) -> list[Connection]:
        new = [Connection(address, doing, self.time - age_s, moved, self.closed) for _ in range(count)]
        self.there += new
        return new

    def shed(self, newcomer: str = NEW, *, critical: bool = False) -> Connection | None:
        """Return the connection that was shed for a new one."""
        before = len(self.closed)
        made = self.shedder.shed_one(newcomer, critical=critical)
        assert made == (len(self.closed) == before + 1)
        return self.closed[-1] if made else None

    def later(self, seconds: float) -> None:
        self.time += seconds
        self.reactor.refresh_now()


@pytest.fixture
def stage(engine: EngineLoop) -> Iterator[Connections]:
    stage = Connections(engine)
    yield stage
    stage.reactor.close()


def test_the_source_that_has_most_loses_its_oldest_idle_connection(stage: Connections) -> None:
    [calm] = stage.add(CALM, ConnectionState.IDLE, 100)
    young, old = stage.add(FLOOD, ConnectionState.IDLE, 30) + stage.add(FLOOD, ConnectionState.IDLE, 50)
    assert stage.shed() is old
    assert {stage.shed(), stage.shed()} == {young, calm}
    assert stage.shed() is None


def test_a_source_that_is_the_largest_loses_its_own(stage: Connections) -> None:
    flood = stage.add(FLOOD, ConnectionState.SILENT, count=10)
    stage.add(CALM, ConnectionState.SILENT, 100)
    assert stage.shed(FLOOD) in flood
    assert stage.shed(CALM) in flood


def test_silent_newcomers_count_for_their_source_at_once(stage: Connections) -> None:
    stage.add(FLOOD, ConnectionState.IDLE, count=5)
    for _ in range(3):
        assert stage.shed() is not None
        stage.shedder.count_admitted(NEW)
    assert stage.shed() is None, "it has as many now, and none of its own could go"
    assert stage.shedder.connections_of(NEW) == 3


def test_two_that_have_as_much_leave_each_other_alone(stage: Connections) -> None:
    [own] = stage.add(NEW, ConnectionState.IDLE, 10)
    stage.add(CALM, ConnectionState.IDLE, 100)
    assert stage.shed() is own


def test_a_connection_that_served_just_now_is_spared(stage: Connections) -> None:
    stage.add(FLOOD, ConnectionState.IDLE, IDLE_S / 2, count=50)
    assert stage.shed() is None


def test_one_that_was_answered_goes_first_unless_its_visitor_still_sends(stage: Connections) -> None:
    stage.add(FLOOD, ConnectionState.IDLE)
    [quiet] = stage.add(FLOOD, ConnectionState.CLOSING, CLOSING_S)
    stage.add(FLOOD, ConnectionState.CLOSING, CLOSING_S / 2)
    assert stage.shed() is quiet
    assert stage.shed() is stage.there[0]
    assert stage.shed() is None


def test_a_silent_one_is_spared_for_a_moment_unless_its_source_has_many(stage: Connections) -> None:
    stage.add(CALM, ConnectionState.SILENT, SILENT_S / 2, count=FEW)
    assert stage.shed() is None
    stage.add(FLOOD, ConnectionState.SILENT, 0.0, count=FEW + 1)
    stage.later(SCAN_VALID_S / 4)
    assert stage.shed().address == FLOOD  # type: ignore[union-attr]


def test_the_crowd_behind_one_address_that_is_busy_loses_nothing(stage: Connections) -> None:
    many = stage.add(CALM, ConnectionState.QUIET, QUIET_S / 2, count=200) + stage.add(
        CALM, ConnectionState.SLOW, 20, count=200, moved=20_000
    )
    flood = stage.add(FLOOD, ConnectionState.SILENT, 5, count=20)
    for newcomer in (NEW, CALM):
        for _ in range(10):
            assert stage.shed(newcomer, critical=True) in flood
    assert stage.shed(CALM, critical=True) is None
    assert not set(many) & set(stage.closed)


def test_the_slowest_bodies_go_first_and_moving_ones_stay(stage: Connections) -> None:
    slow = [stage.add(FLOOD, ConnectionState.SLOW, 100, moved=moved)[0] for moved in (4000, 0, 40)]
    stage.add(FLOOD, ConnectionState.SLOW, 100, moved=100_000)
    assert [stage.shed() for _ in range(4)] == [slow[1], slow[2], slow[0], None]


def test_a_body_that_was_fast_and_stopped_is_found(stage: Connections) -> None:
    [stopped, goes_on] = stage.add(FLOOD, ConnectionState.SLOW, 100, count=2, moved=10_000_000)
    for _ in range(2):
        assert stage.shed() is None
        stage.later(RATE_WINDOW_S / 2)
        goes_on.moved += 1_000_000
    assert stage.shed() is stopped
    assert stage.shed() is None


def test_a_new_request_on_a_connection_starts_its_measurement_anew(stage: Connections) -> None:
    [one] = stage.add(FLOOD, ConnectionState.SLOW, 0.5, moved=10_000_000)
    for _ in range(3):
        stage.shed()
        stage.later(RATE_WINDOW_S)
        one.moved, one.since = 5000, stage.time - 0.5
    assert stage.closed == []


def test_quiet_connections_are_shed_only_when_critical_for_sources_with_few(stage: Connections) -> None:
    flood = stage.add(FLOOD, ConnectionState.QUIET, 100, count=FEW + 2)
    stage.add(CALM, ConnectionState.QUIET, 100, count=FEW - 1)
    assert stage.shed() is None
    assert stage.shed(critical=True) in flood
    assert stage.shed(FLOOD, critical=True) is None, "who is there stays, rather than the next one of the same"
    for _ in range(2):
        assert stage.shed(critical=True) in flood
    assert stage.shed(critical=True) is None


def test_a_connection_that_became_active_since_the_scan_stays(stage: Connections) -> None:
    first, second = stage.add(FLOOD, ConnectionState.IDLE, 60) + stage.add(FLOOD, ConnectionState.IDLE, 50)
    stage.add(FLOOD, ConnectionState.IDLE, 70)
    stage.shed()
    first.doing = ConnectionState.QUIET
    assert stage.shed() is second


def test_a_network_of_one_customer_is_one_source(stage: Connections) -> None:
    for number in range(20):
        stage.add(f"2001:db8:1:2::{number:x}", ConnectionState.IDLE)
    stage.add(CALM, ConnectionState.IDLE, 500, count=10)
    assert stage.shed().address.startswith("2001:db8:1:2:")  # type: ignore[union-attr]


def test_scans_are_rare_however_many_visitors_are_rejected(stage: Connections) -> None:
    stage.add(CALM, ConnectionState.QUIET, 1, count=SCAN_STEP)
    scans = 0
    connections = stage.connections

    def counted() -> Iterator[SheddableConnection]:
        nonlocal scans
        scans += 1
        yield from connections()

    stage.shedder = Shedder(stage.reactor, counted)
    for _ in range(1000):
        assert stage.shed() is None
        stage.later(0.001)
    assert scans <= 101, "a second of newcomers, a thousand of them"


def test_after_a_newcomer_that_was_rejected_the_next_one_sees_what_changed(stage: Connections) -> None:
    sources = [f"198.51.100.{number}" for number in range(3)]
    for source in sources:
        stage.add(source, ConnectionState.IDLE, IDLE_S)
    assert stage.shed() is not None
    stage.shedder.count_admitted(NEW)
    assert stage.shed() is None, "it has one as well now"
    for source in sources:
        stage.add(source, ConnectionState.IDLE, IDLE_S)
    stage.later(0.05)
    assert stage.shed() is not None


def test_a_crowd_is_scanned_in_steps_and_shedding_begins_after_the_last(stage: Connections, engine: EngineLoop) -> None:
    flood = stage.add(FLOOD, ConnectionState.IDLE, count=SCAN_STEP) + stage.add(FLOOD, ConnectionState.IDLE, 100, count=2 * SCAN_STEP)
    assert stage.shed() is None
    engine.run_until(lambda: stage.shedder._scan is None)
    assert stage.shed() in flood[SCAN_STEP:], "the oldest of all"


def test_a_scan_keeps_no_connection_in_memory(stage: Connections) -> None:
    [one, *_] = stage.add(FLOOD, ConnectionState.SLOW, 100, count=3)
    gone = weakref.ref(one)
    stage.shed()
    del one
    stage.there.clear()
    stage.closed.clear()
    stage.later(FORGET_S + 1)
    for timer in stage.reactor._timers.due(stage.time):
        timer.fire()
    gc.collect()
    assert gone() is None
