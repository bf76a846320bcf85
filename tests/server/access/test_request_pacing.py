"""The rate of one agent's requests."""

from portway.server.access.request_pacing import BURST, PER_S, RequestPacer


def test_a_burst_has_no_delay_and_then_requests_are_paced() -> None:
    pacer = RequestPacer(100.0)
    assert [pacer.delay_s(100.0) for _ in range(BURST)] == [0.0] * BURST
    now, began = 100.0, 100.0
    for _ in range(200):
        now += pacer.delay_s(now)
    assert abs((now - began) - 200 / PER_S) < 0.001


def test_quiet_time_restores_at_most_one_burst() -> None:
    pacer = RequestPacer(0.0)
    for _ in range(BURST):
        pacer.delay_s(0.0)
    assert [pacer.delay_s(10.0) for _ in range(int(10 * PER_S))] == [0.0] * int(10 * PER_S)
    assert pacer.delay_s(10.0) > 0
    assert [pacer.delay_s(1e6) for _ in range(BURST)] == [0.0] * BURST
    assert pacer.delay_s(1e6) > 0
