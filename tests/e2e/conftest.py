"""Servers and agents for end-to-end tests: cheap ones that many tests share, and fresh ones for those that kill."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack
from tests.kit.http_origin import HttpOrigin

LINKS = ["TLS links", "plain links"]

TWICE_IS_LONG = [
    "test_a_gigabyte_in_each_direction",
    "test_a_path_of_10_megabits",
    "test_a_hundred_megabytes_in_each_direction",
    "test_half_heads_and_bodies_that_stop",
    "test_an_origin_that_does_not_read_its_uploads",
    "test_a_held_visitor_is_handed_off",
]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave to `-m long` what moves gigabytes or waits long a second time: over plain links."""
    for item in items:
        if any(name in item.name for name in TWICE_IS_LONG) and "plain links" in item.name:
            item.add_marker(pytest.mark.long)


@pytest.fixture(scope="session", params=LINKS)
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A server that all tests of one kind of link share; none may end it."""
    with Stack(plaintext=request.param == "plain links") as stack:
        yield stack


@pytest.fixture(params=LINKS)
def fresh_stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A server of a test's own, over each kind of link."""
    with Stack(plaintext=request.param == "plain links") as stack:
        yield stack


@pytest.fixture(scope="session")
def http_origin() -> Iterator[HttpOrigin]:
    """An origin that pours and swallows without storing anything."""
    with HttpOrigin() as origin:
        yield origin
