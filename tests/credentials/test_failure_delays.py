"""Delays after failures: of sources, not of those that have succeeded there."""

from portway.credentials.failure_delays import FAILURES_WITHOUT_DELAY, FailureDelays


def test_the_first_success_of_a_subject_forgives_its_source_and_later_ones_do_not() -> None:
    delays = FailureDelays(60.0, 10.0, forgiven=FAILURES_WITHOUT_DELAY)
    for _ in range(FAILURES_WITHOUT_DELAY - 1):
        delays.record_failure("office", "new", 0.0)
    delays.record_success("office", "ann", 0.0)
    assert delays.failures("office", "", 0.0) == 0
    for _ in range(FAILURES_WITHOUT_DELAY):
        delays.record_failure("office", "guess", 0.0)
        delays.record_success("office", "ann", 0.0)
    assert delays.failures("office", "", 0.0) == FAILURES_WITHOUT_DELAY
    assert delays.wait_s("office", "guess", 0.0) == 1.0
    assert delays.wait_s("office", "ann", 0.0) == 0.0


def test_a_crowd_that_makes_mistakes_is_never_delayed() -> None:
    delays = FailureDelays(60.0, 10.0, forgiven=FAILURES_WITHOUT_DELAY)
    for number in range(500):
        now = number * 0.1
        assert delays.wait_s("office", f"user {number}", now) == 0.0
        if number % 3 == 0:
            delays.record_failure("office", f"user {number}", now)
        delays.record_success("office", f"user {number}", now)


def test_delays_are_capped_for_sources_and_for_known_subjects() -> None:
    delays = FailureDelays(60.0, 10.0)
    delays.record_success("office", "ann", 0.0)
    for _ in range(30):
        delays.record_failure("office", "guess", 0.0)
        delays.record_failure("office", "ann", 0.0)
    assert (delays.wait_s("office", "guess", 0.0), delays.wait_s("office", "ann", 0.0)) == (60.0, 10.0)
    assert delays.wait_s("home", "ann", 0.0) == 0.0
