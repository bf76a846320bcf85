"""Targets name existing figures and systems, and cover every axis of the engine."""

import pytest

from bench.axes.catalog import AXES, figures_of
from bench.systems.catalog import SYSTEMS
from bench.targets import ENGINE, ENGINE_BOUNDS, TARGET_SETS, Bound


@pytest.mark.parametrize("target_set", TARGET_SETS)
def test_a_target_names_an_existing_figure_and_system(target_set: str) -> None:
    keys, systems = {figure.key for figure in figures_of(AXES)}, {system.name for system in SYSTEMS}
    targets, bounds = TARGET_SETS[target_set]

    assert {each.key for each in targets} | {each.key for each in bounds} <= keys
    assert {each.system for each in targets} | {each.system for each in bounds} <= systems
    assert {peer for target in targets for peer in target.peers} <= systems


def test_every_axis_has_a_target_of_the_engine() -> None:
    judged = {each.key for each in ENGINE} | {each.key for each in ENGINE_BOUNDS}

    for axis in AXES:
        assert judged & {figure.key for figure in axis.figures}, axis.name


def test_a_bound_is_a_lower_or_an_upper_limit() -> None:
    assert Bound("x", "lost", 0).is_met_by(0)
    assert not Bound("x", "lost", 0).is_met_by(1)
    assert Bound("x", "share", 0.9, at_least=True).is_met_by(0.9)
    assert not Bound("x", "share", 0.9, at_least=True).is_met_by(0.89)


def test_figure_keys_are_unique() -> None:
    keys = [figure.key for figure in figures_of(AXES)]

    assert len(keys) == len(set(keys))
