"""Names that a token allows, chosen by a seed or at random."""

import os
import re
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.errors import RefusedError
from portway.protocol.names import LABEL_CHARS_MAX, check_label
from portway.server.access.tokens import Grants
from portway.server.tunnels.naming import RANDOM_MAX, SEEDED_MAX, chosen_hosts

WORD = r"[a-z]+-[a-z]+-[a-z0-9]{8}"


def hosts(*patterns: str, seed: bytes = b"seed", domain: str = "tun.test") -> list[str]:
    return list(chosen_hosts(patterns, domain, seed, os.urandom))


def test_a_seed_determines_the_names_and_their_order() -> None:
    first, again, other = hosts("*"), hosts("*"), hosts("*", seed=b"other")

    assert first[:SEEDED_MAX] == again[:SEEDED_MAX]
    assert len(set(first)) == SEEDED_MAX + RANDOM_MAX
    assert not set(first[SEEDED_MAX:]) & set(again)
    assert not set(first) & set(other)


def test_without_a_seed_names_are_random() -> None:
    first, again = hosts("*", seed=b""), hosts("*", seed=b"")

    assert len(first) == len(again) == RANDOM_MAX
    assert not set(first) & set(again)


@pytest.mark.parametrize(
    ("patterns", "shape"),
    [
        (("*",), rf"{WORD}\.tun\.test"),
        (("dev-*",), rf"dev-{WORD}\.tun\.test"),
        (("*-dev",), rf"{WORD}-dev\.tun\.test"),
        (("app", "dev-*"), rf"dev-{WORD}\.tun\.test"),
        (("*.shop.test",), rf"{WORD}\.shop\.test"),
        (("a*.b.*.test",), rf"a{WORD}\.b\.{WORD}\.test"),
        (("x*y*z*",), rf"x{WORD}y[a-z0-9]{{2}}z[a-z0-9]{{2}}\.tun\.test"),
        (("d" * 50 + "*",), r"d{50}[a-z0-9]{8}\.tun\.test"),
        (("d" * 60 + "*", "e-*"), rf"e-{WORD}\.tun\.test"),
    ],
)
def test_patterns_are_completed_to_names_that_the_token_allows(patterns: tuple[str, ...], shape: str) -> None:
    for host in hosts(*patterns):
        assert re.fullmatch(shape, host)
        assert Grants(hosts=patterns).allows_host(host, "tun.test")
        assert max(map(len, host.split("."))) <= LABEL_CHARS_MAX


def test_without_patterns_the_listed_names_are_tried_in_order() -> None:
    assert hosts("app", "api", "www.shop.test") == ["app.tun.test", "api.tun.test", "www.shop.test"]


def test_patterns_that_cannot_be_completed_yield_nothing() -> None:
    assert hosts("d" * 60 + "*") == []
    assert hosts() == []


@given(pattern=st.from_regex(r"\A[a-z0-9*-]{1,63}(\.[a-z0-9*-]{1,20}){0,2}\Z"), seed=st.binary(max_size=32))
def test_every_chosen_name_is_allowed(pattern: str, seed: bytes) -> None:
    for host in islice(chosen_hosts([pattern], "tun.test", seed, os.urandom), 3):
        assert Grants(hosts=(pattern,)).allows_host(host, "tun.test")


def test_a_chosen_name_may_be_claimed() -> None:
    for pattern in ("*", "dev-*", "*-dev", "a*b"):
        for host in hosts(pattern):
            try:
                check_label(host.partition(".")[0])
            except RefusedError as refused:
                raise AssertionError(host) from refused
