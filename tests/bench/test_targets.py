"""Targets name existing figures and systems, and cover every axis of the engine."""

import pytest

from bench.axes.base import Axis
from bench.axes.catalog import AXES, PROXY_AXES, TLS_AXES, figures_of
from bench.systems.base import System
from bench.systems.catalog import PROXY_SYSTEMS, SYSTEMS, TLS_SYSTEMS
from bench.targets import ENGINE, ENGINE_BOUNDS, TARGET_SETS, VISITORS_TLS, VISITORS_TLS_BOUNDS, Bound


@pytest.mark.parametrize("target_set", TARGET_SETS)
def test_a_target_names_an_existing_figure_and_system(target_set: str) -> None:
    all_axes, all_systems = {"tls": (TLS_AXES, TLS_SYSTEMS), "proxies": (PROXY_AXES, PROXY_SYSTEMS)}.get(target_set, (AXES, SYSTEMS))
    keys, systems = {figure.key for figure in figures_of(all_axes)}, {system.name for system in all_systems}
    targets, bounds = TARGET_SETS[target_set]

    assert {each.key for each in targets} | {each.key for each in bounds} <= keys
    assert {each.system for each in targets} | {each.system for each in bounds} <= systems
    assert {peer for target in targets for peer in target.peers} <= systems


def test_every_axis_has_a_target_of_the_engine() -> None:
    judged = {each.key for each in ENGINE} | {each.key for each in ENGINE_BOUNDS}

    for axis in AXES:
        assert judged & {figure.key for figure in axis.figures}, axis.name


def test_every_axis_has_a_target_of_visitors_with_tls() -> None:
    judged = {each.key for each in VISITORS_TLS} | {each.key for each in VISITORS_TLS_BOUNDS}

    for axis in TLS_AXES:
        assert judged & {figure.key for figure in axis.figures}, axis.name


def test_a_bound_is_a_lower_or_an_upper_limit() -> None:
    assert Bound("x", "lost", 0).is_met_by(0)
    assert not Bound("x", "lost", 0).is_met_by(1)
    assert Bound("x", "share", 0.9, at_least=True).is_met_by(0.9)
    assert not Bound("x", "share", 0.9, at_least=True).is_met_by(0.89)


@pytest.mark.parametrize(("axes", "systems"), [(AXES, SYSTEMS), (TLS_AXES, TLS_SYSTEMS)], ids=["plain", "tls"])
def test_keys_of_figures_and_names_of_systems_are_unique(axes: tuple[Axis, ...], systems: tuple[System, ...]) -> None:
    keys, names = [figure.key for figure in figures_of(axes)], [system.name for system in systems]

    assert len(keys) == len(set(keys))
    assert len(names) == len(set(names))
    assert not [name for name in names if "," in name], "--systems splits its words at commas"
