"""What a tally calls a clean end."""

import pytest

from portway.engine.tally import ENDED, READ_BROKE, WRITE_BROKE, Flow, Tally


@pytest.mark.parametrize(
    ("forward", "backward", "clean"),
    [(ENDED, ENDED, True), (ENDED, READ_BROKE, False), (WRITE_BROKE, ENDED, False), (ENDED, "", False), ("aborted: revoked", ENDED, False)],
)
def test_clean_means_that_both_sides_came_to_their_own_end(forward: str, backward: str, clean: bool) -> None:
    assert Tally(Flow(1, 1, forward), Flow(2, 1, backward), 0.0, 1.0).clean is clean
