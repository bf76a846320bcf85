"""Runs every test of a folder on each engine; import `each_engine` into its conftest."""

import pytest

from portway.engine.poller_factory import EPOLL, PORTABLE, VARIABLE


@pytest.fixture(autouse=True, params=[EPOLL, PORTABLE])
def each_engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test once per engine, which all its reactors and programs use."""
    name: str = request.param
    monkeypatch.setenv(VARIABLE, name)
    return name
