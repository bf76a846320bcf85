"""Runs every test of a folder on each engine: import `each_engine` into its conftest."""

import pytest

from portway.engine.poller_factory import EPOLL, PORTABLE, VARIABLE


@pytest.fixture(autouse=True, params=[EPOLL, PORTABLE])
def each_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let every reactor that is made in this test, or in a program that it starts, have one engine, then the other."""
    name: str = request.param
    monkeypatch.setenv(VARIABLE, name)
    return name
