"""Conclusions from an origin's behaviour."""

from portway.edge.http.origin.habits import FORGIVE_S, IMMEDIATE_CLOSE_S, VERDICT_S, OriginHabits


def test_without_evidence_an_origin_serves_one_at_a_time_and_keeps_nothing_for_sure() -> None:
    habits = OriginHabits(60.0, 1.0)
    assert (habits.concurrency, habits.keep_s, habits.survived_s) == (1, 1.0, 0.0)
    habits.on_first_response()
    assert (habits.concurrency, habits.keep_s) == (1, 1.0)


def test_one_that_has_served_two_at_once_is_kept_for_longer() -> None:
    habits = OriginHabits(60.0, 1.0)
    habits.on_first_response()
    habits.on_first_response()
    assert (habits.concurrency, habits.active, habits.keep_s) == (2, 2, 60.0)
    habits.active -= 2
    assert habits.concurrency == 2
    habits.reset_concurrency()
    assert (habits.concurrency, habits.keep_s) == (1, 1.0)


def test_one_that_closes_after_its_answers_is_not_kept_for_a_while() -> None:
    habits = OriginHabits(60.0, 1.0)
    habits.on_closed(IMMEDIATE_CLOSE_S / 2, 100.0)
    assert habits.keep_s == 0.0
    habits.expire_verdict(100.0 + VERDICT_S / 2)
    assert habits.keep_s == 0.0
    habits.expire_verdict(100.0 + VERDICT_S)
    assert habits.keep_s == 1.0


def test_an_idle_timeout_is_learned_and_kept_away_from() -> None:
    habits = OriginHabits(60.0, 1.0)
    habits.on_first_response()
    habits.on_first_response()
    habits.survived_s = 4.9
    habits.on_closed(5.0, 100.0)
    assert (habits.keep_s, habits.survived_s) == (2.5, 2.5)
    habits.expire_verdict(100.0 + VERDICT_S)
    assert habits.keep_s == 60.0


def test_a_restart_of_one_that_keeps_connections_is_forgiven() -> None:
    habits = OriginHabits(60.0, 1.0)
    habits.survived_s = 0.2
    for _ in range(5):
        habits.on_closed(0.1, 100.0)
    assert (habits.keep_s, habits.survived_s) == (1.0, 0.0)
    habits.on_closed(0.1, 100.0 + FORGIVE_S)
    assert habits.keep_s == 0.0


def test_never_longer_than_the_settings_say() -> None:
    assert OriginHabits(0.3, 1.0).keep_s == 0.3
