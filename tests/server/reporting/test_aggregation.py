"""News that come by the thousand: some at once, then sums."""

from portway.server.reporting.aggregation import EventAggregator
from tests.kit.loops import EngineLoop

News = list[tuple[str, int]]


def counted(engine: EngineLoop, told: News, singles_max: int = 1) -> EventAggregator[str]:
    return EventAggregator[str](engine.reactor, lambda last, count: told.append((last, count)), singles_max=singles_max, every_s=0.1)


def pass_by(engine: EngineLoop, seconds: float) -> None:
    over: list[int] = []
    engine.reactor.call_later(seconds, lambda: over.append(1))
    engine.run_until(lambda: bool(over))


def test_the_first_is_told_at_once_and_the_others_as_a_sum(engine: EngineLoop) -> None:
    told: News = []
    news = counted(engine, told)
    for number in range(1000):
        news.record(str(number))
    assert told == [("0", 1)]
    engine.run_until(lambda: len(told) > 1)
    assert told == [("0", 1), ("999", 999)]


def test_some_are_told_one_by_one_where_a_few_are_usual(engine: EngineLoop) -> None:
    told: News = []
    news = counted(engine, told, singles_max=3)
    for number in range(10):
        news.record(str(number))
    engine.run_until(lambda: len(told) > 3)
    assert told == [("0", 1), ("1", 1), ("2", 1), ("9", 7)]


def test_a_flood_without_end_is_one_sum_each_time(engine: EngineLoop) -> None:
    told: News = []
    news = counted(engine, told, singles_max=3)

    def pour() -> None:
        for _ in range(10):
            news.record("x")
        if len(told) < 6:
            engine.reactor.call_later(0.01, pour)

    pour()
    engine.run_until(lambda: len(told) == 6)
    assert [count for _, count in told[:3]] == [1, 1, 1]
    assert all(count > 10 for _, count in told[3:])


def test_quiet_times_are_not_told_and_the_next_one_is_told_at_once(engine: EngineLoop) -> None:
    told: News = []
    news = counted(engine, told)
    news.record("one")
    pass_by(engine, 0.4)
    assert told == [("one", 1)]
    news.record("two")
    assert told == [("one", 1), ("two", 1)]
