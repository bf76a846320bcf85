"""Every test here runs on epoll and on the portable poller."""

import gc
import warnings

import pytest

from tests.kit.engines import each_engine

__all__ = ["each_engine"]


@pytest.fixture(autouse=True)
def earlier_garbage() -> None:
    """Free what earlier tests of this process left in cycles: their unclosed sockets are not these tests' fault."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
