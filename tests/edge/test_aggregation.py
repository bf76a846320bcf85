"""Events that occur by the thousand: some are emitted individually, the rest as counts."""

from portway.edge.aggregation import EventAggregator
from tests.kit.loops import EngineLoop

Emitted = list[tuple[str, int]]


def aggregator(engine: EngineLoop, emitted: Emitted, singles_max: int = 1) -> EventAggregator[str]:
    return EventAggregator[str](engine.reactor, lambda last, count: emitted.append((last, count)), singles_max=singles_max, every_s=0.1)


def wait(engine: EngineLoop, seconds: float) -> None:
    over: list[int] = []
    engine.reactor.call_later(seconds, lambda: over.append(1))
    engine.run_until(lambda: bool(over))


def test_the_first_item_is_emitted_at_once_and_the_others_as_a_count(engine: EngineLoop) -> None:
    emitted: Emitted = []
    events = aggregator(engine, emitted)
    for number in range(1000):
        events.record(str(number))
    assert emitted == [("0", 1)]
    engine.run_until(lambda: len(emitted) > 1)
    assert emitted == [("0", 1), ("999", 999)]


def test_several_items_are_emitted_individually_where_a_few_are_usual(engine: EngineLoop) -> None:
    emitted: Emitted = []
    events = aggregator(engine, emitted, singles_max=3)
    for number in range(10):
        events.record(str(number))
    engine.run_until(lambda: len(emitted) > 3)
    assert emitted == [("0", 1), ("1", 1), ("2", 1), ("9", 7)]


def test_a_long_flood_is_one_count_per_interval(engine: EngineLoop) -> None:
    emitted: Emitted = []
    events = aggregator(engine, emitted, singles_max=3)

    def pour() -> None:
        for _ in range(10):
            events.record("x")
        if len(emitted) < 6:
            engine.reactor.call_later(0.01, pour)

    pour()
    engine.run_until(lambda: len(emitted) == 6)
    assert [count for _, count in emitted[:3]] == [1, 1, 1]
    assert all(count > 10 for _, count in emitted[3:])


def test_a_quiet_interval_emits_nothing_and_the_next_item_is_emitted_at_once(engine: EngineLoop) -> None:
    emitted: Emitted = []
    events = aggregator(engine, emitted)
    events.record("one")
    wait(engine, 0.4)
    assert emitted == [("one", 1)]
    events.record("two")
    assert emitted == [("one", 1), ("two", 1)]
