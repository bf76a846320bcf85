"""Clean ends and other reasons in a tally."""

from pathlib import Path

import pytest

from portway.engine.tally import ABORTED, BY_POLICY, ENDED, IDLE, PAYLOAD, READ_BROKE, REASONS, WRITE_BROKE, Flow, Tally


def tally(forward: str, backward: str) -> Tally:
    return Tally(Flow(1, 1, forward), Flow(2, 1, backward), 0.0, 1.0)


@pytest.mark.parametrize(
    ("forward", "backward", "clean"),
    [(ENDED, ENDED, True), (ENDED, READ_BROKE, False), (WRITE_BROKE, ENDED, False), (ENDED, "", False), (ABORTED, ENDED, False)],
)
def test_clean_means_that_both_sides_ended_properly(forward: str, backward: str, clean: bool) -> None:
    assert tally(forward, backward).clean is clean


def test_the_limit_is_reported_when_one_direction_had_already_ended() -> None:
    assert tally(ENDED, IDLE).limit == IDLE
    assert tally(PAYLOAD, PAYLOAD).limit == PAYLOAD
    assert tally(ENDED, READ_BROKE).limit == ""


def test_the_reasons_are_those_documented_for_json_lines() -> None:
    assert set(REASONS) == {"ended", "read_broke", "write_broke", "idle", "too_slow", "lifetime", "payload", "aborted"}
    assert set(REASONS) > BY_POLICY


def test_every_reason_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "limits.md").read_text()
    assert [word for word in REASONS if f"`{word}`" not in text] == []
