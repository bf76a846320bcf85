"""The bound for buffered bytes of slow readers: exact sums, and the longest-stalled stream is evicted first."""

from hypothesis import given
from hypothesis import strategies as st

from portway.mux.buffer_budget import ProcessBufferBudget, SessionBufferBudget


class Reader:
    """A stream with buffered bytes."""

    def __init__(self) -> None:
        self.given_up = 0

    def fail(self) -> None:
        self.given_up += 1


def test_the_longest_stalled_stream_is_evicted_first() -> None:
    buffers = SessionBufferBudget(100)
    first, second, third = Reader(), Reader(), Reader()
    buffers.add(first, 40)
    buffers.add(second, 40)
    buffers.add(first, 10)
    buffers.add(third, 20)
    assert (first.given_up, second.given_up, third.given_up) == (1, 0, 0)
    assert buffers.bytes == 60


def test_a_reader_that_consumed_everything_counts_as_new() -> None:
    buffers = SessionBufferBudget(100)
    first, second = Reader(), Reader()
    buffers.add(first, 40)
    buffers.add(second, 40)
    buffers.consume(first, 40)
    buffers.add(first, 40)
    buffers.add(first, 10)
    buffers.add(first, 50)
    assert (first.given_up, second.given_up) == (0, 1)


def test_a_slow_reader_is_not_a_stalled_one() -> None:
    buffers = SessionBufferBudget(100)
    slow, stalled = Reader(), Reader()
    buffers.add(slow, 60)
    buffers.add(stalled, 40)
    buffers.consume(slow, 1)
    buffers.add(slow, 2)
    assert (slow.given_up, stalled.given_up) == (0, 1)
    assert buffers.bytes == 61


def test_a_stream_above_the_bound_alone_is_evicted_itself() -> None:
    buffers = SessionBufferBudget(100)
    only = Reader()
    buffers.add(only, 101)
    assert only.given_up == 1
    assert buffers.bytes == 0


def test_the_link_with_the_most_buffered_bytes_is_evicted_from() -> None:
    total = ProcessBufferBudget(100)
    modest, greedy = SessionBufferBudget(90, total), SessionBufferBudget(90, total)
    old, first, second = Reader(), Reader(), Reader()
    modest.add(old, 30)
    greedy.add(first, 40)
    greedy.add(second, 31)
    assert (old.given_up, first.given_up, second.given_up) == (0, 1, 0)
    assert (modest.bytes, greedy.bytes, total.bytes) == (30, 31, 61)
    greedy.release(second)
    modest.consume(old, 30)
    assert total.bytes == 0
    assert not total._holders, "a link that is gone must not be remembered"


@given(st.lists(st.tuples(st.sampled_from(["keep", "consume", "release"]), st.integers(0, 5), st.integers(1, 60)), max_size=200))
def test_the_sum_is_always_correct(steps: list[tuple[str, int, int]]) -> None:
    total = ProcessBufferBudget(180)
    buffers, readers, held = SessionBufferBudget(200, total), [Reader() for _ in range(6)], [0] * 6
    for what, number, count in steps:
        if what == "keep":
            held[number] += count
            buffers.add(readers[number], count)
        elif what == "consume" and held[number]:
            taken = min(count, held[number])
            held[number] -= taken
            buffers.consume(readers[number], taken)
        elif what == "release":
            held[number] = 0
            buffers.release(readers[number])
        for other, reader in enumerate(readers):
            if reader.given_up:
                held[other], reader.given_up = 0, 0
        assert buffers.bytes == total.bytes == sum(held) <= 180
