"""Servers and agents for end-to-end tests: cheap ones that many tests share, and fresh ones for those that kill."""

from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack
from tests.kit.http_origin import HttpOrigin

LINKS = ["TLS links", "plain links"]


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
