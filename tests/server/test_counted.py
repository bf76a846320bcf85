"""News that come by the thousand: one at once, then sums."""

from portway.server.counted import Counted
from tests.kit.loops import EngineLoop


def test_the_first_is_told_at_once_and_the_others_as_a_sum(engine: EngineLoop) -> None:
    told: list[int] = []
    counted = Counted(engine.reactor, told.append, every_s=0.05)
    counted.note()
    assert told == [1]
    for _ in range(1000):
        counted.note()
    assert told == [1]
    engine.run_until(lambda: len(told) > 1)
    assert told == [1, 1000]


def test_quiet_times_are_not_told_and_the_next_one_is_told_at_once(engine: EngineLoop) -> None:
    told: list[int] = []
    counted = Counted(engine.reactor, told.append, every_s=0.05)
    counted.note()
    over: list[int] = []
    engine.reactor.call_later(0.3, lambda: over.append(1))
    engine.run_until(lambda: bool(over))
    assert told == [1]
    counted.note()
    assert told == [1, 1]
