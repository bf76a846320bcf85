"""The unit of work."""

from portway.protocol import work
from portway.protocol.http1 import chunked


def test_no_single_step_takes_more_than_a_small_part_of_a_turn() -> None:
    steps = {name: value for name, value in vars(work).items() if name.endswith("_WORK") and name not in ("TURN_WORK", "SIZEABLE_WORK")}
    assert len(steps) >= 8
    assert all(0 < value <= work.SIZEABLE_WORK // 4 for value in steps.values()), steps


def test_one_feed_of_chunks_is_a_turn_at_most() -> None:
    assert chunked.WORK_MAX <= work.TURN_WORK
