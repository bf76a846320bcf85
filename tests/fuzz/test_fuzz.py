"""Each parser against its corpus, and for a moment against new inputs; `make fuzz` takes longer."""

import random

import pytest

from tests.fuzz.campaign import Campaign
from tests.fuzz.costs import costs, growth
from tests.fuzz.mutate import mutated
from tests.fuzz.target import CORPUS, TARGETS, Target, add, all_targets, corpus_of

SECONDS = 0.7
"""For each parser; with all of them below twenty seconds."""

NUMBER = 20261
"""The same inputs each time: what a test run finds, the next one finds again."""

GROWTH_MAX = 2.5
"""How many times dearer a byte may be in an input four times as long: 1 is linear, 4 quadratic; caches cost something, too."""

NAMES = sorted(all_targets())


@pytest.mark.parametrize("name", NAMES)
def test_the_corpus_does_not_break_any_parser(name: str) -> None:
    target = TARGETS[name]
    for data in (*target.seeds, *corpus_of(name)):
        target.check(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_parser_withstands_some_new_inputs(name: str) -> None:
    found = Campaign(TARGETS[name], NUMBER).run(SECONDS)
    assert found.failures == []
    assert found.cases > len(TARGETS[name].seeds)


@pytest.mark.parametrize("name", [name for name in NAMES if TARGETS[name].by_byte and TARGETS[name].bytes_max >= 4096])
def test_the_cost_of_an_input_grows_no_faster_than_its_length(name: str) -> None:
    found = costs(TARGETS[name], (4096, 16_384), 5)
    assert growth(found) < GROWTH_MAX, found


def test_every_corpus_belongs_to_a_parser_and_is_small() -> None:
    for folder in CORPUS.iterdir():
        assert folder.name in TARGETS
        assert sum(path.stat().st_size for path in folder.iterdir()) < 100_000


def test_a_parser_that_fails_is_found() -> None:
    def check(data: bytes) -> None:
        if data.count(b"!") > 1:
            raise ValueError("two of them")

    target = Target("a parser that fails", lambda data: None, check, (b"one! ",), (b"!",))
    found = Campaign(target, NUMBER).run(2.0)
    [(data, why)] = found.failures
    assert data.count(b"!") > 1
    assert why == "ValueError: two of them"


def test_a_cost_that_grows_with_the_square_is_found() -> None:
    def quadratic(data: bytes) -> object:
        return [data.count(b"\0", at) for at in range(0, len(data), 16)]

    target = Target("a dear parser", quadratic, lambda data: None, (b"x",))
    assert growth(costs(target, (4096, 16_384), 3)) > GROWTH_MAX


def test_mutations_depend_on_the_dice_alone() -> None:
    def several(number: int) -> list[bytes]:
        dice = random.Random(number)
        return [mutated(dice, b"some input", (b"word",), (b"other",), 40) for _ in range(100)]

    assert several(1) == several(1)
    assert several(1) != several(2)
    assert all(len(data) <= 40 for data in several(1))


def test_target_names_are_unique() -> None:
    with pytest.raises(AssertionError):
        add(TARGETS[NAMES[0]])
