"""A stall counts for every request that was due during it."""

from bench.load.open_loop import OpenLoop
from bench.percentiles import percentile


def serve_one_by_one(loop: OpenLoop, service_s: float, stall_at_s: float, stall_s: float) -> None:
    """A server of one request at a time that stalls once, for `stall_s`."""
    free_at, stalled = 0.0, False
    while (due := loop.next_due()) is not None:
        begin = max(due, free_at)
        if not stalled and begin >= stall_at_s:
            begin, stalled = begin + stall_s, True
        taken = loop.take(begin)
        assert taken == due
        free_at = begin + service_s
        loop.record_response(taken, free_at)


def test_every_request_due_in_a_stall_counts_its_wait() -> None:
    loop = OpenLoop(start=0.0, rate_per_s=100, count=1000)

    serve_one_by_one(loop, service_s=0.001, stall_at_s=2.0, stall_s=1.0)

    assert len(loop.latencies_s) == 1000
    late = [each for each in loop.latencies_s if each > 0.01]
    assert 100 <= len(late) <= 115  # a second of a hundred a second, and the few that queued behind them
    assert percentile(loop.latencies_s, 50) < 0.0011
    assert percentile(loop.latencies_s, 99) > 0.85


def test_nothing_is_due_before_its_time() -> None:
    loop = OpenLoop(start=10.0, rate_per_s=10, count=2)

    assert loop.take(9.99) is None
    assert loop.take(10.05) == 10.0
    assert loop.take(10.05) is None
    assert loop.next_due() == 10.1
    assert loop.take(11.0) == 10.1
    assert loop.next_due() is None
    assert loop.take(99.0) is None


def test_requests_without_a_response_count_with_their_waiting_time() -> None:
    loop = OpenLoop(start=0.0, rate_per_s=1, count=3)
    first = loop.take(0.0)
    assert first == 0.0

    count_lost = loop.count_lost(5.0, in_flight=[first])

    assert count_lost == 3
    assert sorted(loop.latencies_s) == [3.0, 4.0, 5.0]
