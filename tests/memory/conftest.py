"""Every test here runs on epoll, and with `-m long` on the portable poller."""

import gc
import warnings

import pytest

from tests.kit.engines import each_engine

__all__ = ["each_engine"]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave the portable poller to `-m long`: pollers keep no references that differ, and every test takes seconds."""
    for item in items:
        if "/memory/" in item.path.as_posix() and "portable" in item.name:
            item.add_marker(pytest.mark.long)


@pytest.fixture(autouse=True)
def earlier_garbage() -> None:
    """Free what earlier tests of this process left in cycles: their unclosed sockets are not these tests' fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
