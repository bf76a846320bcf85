"""Which connections give way to newcomers: those of the source that has most, and of these the ones that do least."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from portway.engine.reactor import Reactor
from portway.server.edge.connection_state import (
    CLOSING_S,
    FEW,
    IDLE_S,
    QUIET_S,
    RATE_WINDOW_S,
    SILENT_S,
    ConnectionState,
    SheddableConnection,
)
from portway.server.edge.shedding import FORGET_S, SCAN_STEP, SCAN_VALID_S, Shedder
from portway.server.tunnels.lease import Holder
from tests.kit.loops import EngineLoop

FLOOD, CALM, NEW = "192.0.2.1", "192.0.2.2", "192.0.2.3"


@dataclass(eq=False)
class Connection:
    """A connection that does what the test says."""

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


class Hall:
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

    def room(self, newcomer: str = NEW, *, critical: bool = False) -> Connection | None:
        """Return who gives way to a newcomer."""
        before = len(self.closed)
        made = self.shedder.shed_one(newcomer, critical=critical)
        assert made == (len(self.closed) == before + 1)
        return self.closed[-1] if made else None

    def later(self, seconds: float) -> None:
        self.time += seconds
        self.reactor.refresh_now()


@pytest.fixture
def hall(engine: EngineLoop) -> Iterator[Hall]:
    hall = Hall(engine)
    yield hall
    hall.reactor.close()


def test_the_source_that_has_most_loses_its_oldest_idle_connection(hall: Hall) -> None:
    [calm] = hall.add(CALM, ConnectionState.IDLE, 100)
    young, old = hall.add(FLOOD, ConnectionState.IDLE, 30) + hall.add(FLOOD, ConnectionState.IDLE, 50)
    assert hall.room() is old
    assert {hall.room(), hall.room()} == {young, calm}
    assert hall.room() is None


def test_a_source_in_want_of_room_for_itself_loses_its_own(hall: Hall) -> None:
    flood = hall.add(FLOOD, ConnectionState.SILENT, count=10)
    hall.add(CALM, ConnectionState.SILENT, 100)
    assert hall.room(FLOOD) in flood
    assert hall.room(CALM) in flood


def test_newcomers_that_say_nothing_count_for_their_source_at_once(hall: Hall) -> None:
    hall.add(FLOOD, ConnectionState.IDLE, count=5)
    for _ in range(3):
        assert hall.room() is not None
        hall.shedder.count_admitted(NEW)
    assert hall.room() is None, "it has as many now, and none of its own could go"
    assert hall.shedder.connections_of(NEW) == 3


def test_two_that_have_as_much_leave_each_other_alone(hall: Hall) -> None:
    [own] = hall.add(NEW, ConnectionState.IDLE, 10)
    hall.add(CALM, ConnectionState.IDLE, 100)
    assert hall.room() is own


def test_a_connection_that_served_just_now_is_spared(hall: Hall) -> None:
    hall.add(FLOOD, ConnectionState.IDLE, IDLE_S / 2, count=50)
    assert hall.room() is None


def test_one_that_was_answered_goes_first_unless_its_visitor_still_sends(hall: Hall) -> None:
    hall.add(FLOOD, ConnectionState.IDLE)
    [quiet] = hall.add(FLOOD, ConnectionState.CLOSING, CLOSING_S)
    hall.add(FLOOD, ConnectionState.CLOSING, CLOSING_S / 2)
    assert hall.room() is quiet
    assert hall.room() is hall.there[0]
    assert hall.room() is None


def test_a_silent_one_is_spared_for_a_moment_unless_its_source_has_many(hall: Hall) -> None:
    hall.add(CALM, ConnectionState.SILENT, SILENT_S / 2, count=FEW)
    assert hall.room() is None
    hall.add(FLOOD, ConnectionState.SILENT, 0.0, count=FEW + 1)
    hall.later(SCAN_VALID_S / 4)
    assert hall.room().address == FLOOD  # type: ignore[union-attr]


def test_the_crowd_behind_one_address_that_is_busy_loses_nothing(hall: Hall) -> None:
    crowd = hall.add(CALM, ConnectionState.QUIET, QUIET_S / 2, count=200) + hall.add(
        CALM, ConnectionState.SLOW, 20, count=200, moved=20_000
    )
    flood = hall.add(FLOOD, ConnectionState.SILENT, 5, count=20)
    for newcomer in (NEW, CALM):
        for _ in range(10):
            assert hall.room(newcomer, critical=True) in flood
    assert hall.room(CALM, critical=True) is None
    assert not set(crowd) & set(hall.closed)


def test_of_bodies_the_slowest_go_first_and_those_that_move_stay(hall: Hall) -> None:
    slow = [hall.add(FLOOD, ConnectionState.SLOW, 100, moved=moved)[0] for moved in (4000, 0, 40)]
    hall.add(FLOOD, ConnectionState.SLOW, 100, moved=100_000)
    assert [hall.room() for _ in range(4)] == [slow[1], slow[2], slow[0], None]


def test_a_body_that_was_fast_and_stopped_is_found(hall: Hall) -> None:
    [stopped, goes_on] = hall.add(FLOOD, ConnectionState.SLOW, 100, count=2, moved=10_000_000)
    for _ in range(2):
        assert hall.room() is None
        hall.later(RATE_WINDOW_S / 2)
        goes_on.moved += 1_000_000
    assert hall.room() is stopped
    assert hall.room() is None


def test_a_new_request_on_a_connection_starts_its_measurement_anew(hall: Hall) -> None:
    [one] = hall.add(FLOOD, ConnectionState.SLOW, 0.5, moved=10_000_000)
    for _ in range(3):
        hall.room()
        hall.later(RATE_WINDOW_S)
        one.moved, one.since = 5000, hall.time - 0.5
    assert hall.closed == []


def test_quiet_ones_give_way_only_when_it_is_cramped_to_sources_that_have_few(hall: Hall) -> None:
    flood = hall.add(FLOOD, ConnectionState.QUIET, 100, count=FEW + 2)
    hall.add(CALM, ConnectionState.QUIET, 100, count=FEW - 1)
    assert hall.room() is None
    assert hall.room(critical=True) in flood
    assert hall.room(FLOOD, critical=True) is None, "who is there stays, rather than the next one of the same"
    for _ in range(2):
        assert hall.room(critical=True) in flood
    assert hall.room(critical=True) is None


def test_who_found_something_to_do_since_the_look_stays(hall: Hall) -> None:
    first, second = hall.add(FLOOD, ConnectionState.IDLE, 60) + hall.add(FLOOD, ConnectionState.IDLE, 50)
    hall.add(FLOOD, ConnectionState.IDLE, 70)
    hall.room()
    first.doing = ConnectionState.QUIET
    assert hall.room() is second


def test_a_network_of_one_customer_is_one_source(hall: Hall) -> None:
    for number in range(20):
        hall.add(f"2001:db8:1:2::{number:x}", ConnectionState.IDLE)
    hall.add(CALM, ConnectionState.IDLE, 500, count=10)
    assert hall.room().address.startswith("2001:db8:1:2:")  # type: ignore[union-attr]


def test_looks_are_rare_however_many_newcomers_find_nobody(hall: Hall) -> None:
    hall.add(CALM, ConnectionState.QUIET, 1, count=SCAN_STEP)
    scans = 0
    connections = hall.connections

    def counted() -> Iterator[SheddableConnection]:
        nonlocal scans
        scans += 1
        yield from connections()

    hall.shedder = Shedder(hall.reactor, counted)
    for _ in range(1000):
        assert hall.room() is None
        hall.later(0.001)
    assert scans <= 101, "a second of newcomers, a thousand of them"


def test_after_a_newcomer_that_was_rejected_the_next_one_sees_what_changed(hall: Hall) -> None:
    sources = [f"198.51.100.{number}" for number in range(3)]
    for source in sources:
        hall.add(source, ConnectionState.IDLE, IDLE_S)
    assert hall.room() is not None
    hall.shedder.count_admitted(NEW)
    assert hall.room() is None, "it has one as well now"
    for source in sources:
        hall.add(source, ConnectionState.IDLE, IDLE_S)
    hall.later(0.05)
    assert hall.room() is not None


def test_a_crowd_is_looked_at_in_steps_and_newcomers_find_who_gives_way_after_the_last(hall: Hall, engine: EngineLoop) -> None:
    flood = hall.add(FLOOD, ConnectionState.IDLE, count=SCAN_STEP) + hall.add(FLOOD, ConnectionState.IDLE, 100, count=2 * SCAN_STEP)
    assert hall.room() is None
    engine.run_until(lambda: hall.shedder._scan is None)
    assert hall.room() in flood[SCAN_STEP:], "the oldest of all"


def test_nobody_is_kept_in_memory_for_having_been_looked_at(hall: Hall) -> None:
    [one, *_] = hall.add(FLOOD, ConnectionState.SLOW, 100, count=3)
    gone = weakref.ref(one)
    hall.room()
    del one
    hall.there.clear()
    hall.closed.clear()
    hall.later(FORGET_S + 1)
    for timer in hall.reactor._timers.due(hall.time):
        timer.fire()
    gc.collect()
    assert gone() is None
