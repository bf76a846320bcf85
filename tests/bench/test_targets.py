"""The targets name figures and systems that exist, and cover every row of the engine's table."""

import pytest

from bench.axes.catalog import AXES, figures_of
from bench.systems.catalog import SYSTEMS
from bench.targets import ENGINE, ENGINE_BOUNDS, GOALS, Bound


@pytest.mark.parametrize("goals", GOALS)
def test_a_target_speaks_of_what_can_be_measured(goals: str) -> None:
    keys, systems = {figure.key for figure in figures_of(AXES)}, {system.name for system in SYSTEMS}
    targets, bounds = GOALS[goals]

    assert {each.key for each in targets} | {each.key for each in bounds} <= keys
    assert {each.system for each in targets} | {each.system for each in bounds} <= systems
    assert {peer for target in targets for peer in target.peers} <= systems


def test_every_axis_has_a_target_of_the_engine() -> None:
    judged = {each.key for each in ENGINE} | {each.key for each in ENGINE_BOUNDS}

    for axis in AXES:
        assert judged & {figure.key for figure in axis.figures}, axis.name


def test_a_bound_holds_from_its_own_side() -> None:
    assert Bound("x", "lost", 0).kept_by(0)
    assert not Bound("x", "lost", 0).kept_by(1)
    assert Bound("x", "share", 0.9, at_least=True).kept_by(0.9)
    assert not Bound("x", "share", 0.9, at_least=True).kept_by(0.89)


def test_no_two_figures_have_one_key() -> None:
    keys = [figure.key for figure in figures_of(AXES)]

    assert len(keys) == len(set(keys))
