"""Fixtures for all tests, and profiles of hypothesis."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.kit.certificates import Identity, make_identity
from tests.kit.descriptors import raise_descriptors

if TYPE_CHECKING:
    from tests.kit.loops import EngineLoop

_RELAXED = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture]
settings.register_profile("fast", max_examples=50, deadline=None, suppress_health_check=_RELAXED)
settings.register_profile("deep", max_examples=5000, deadline=None, suppress_health_check=_RELAXED)
settings.load_profile(os.environ.get("PORTWAY_HYPOTHESIS", "fast"))


@pytest.fixture(scope="session", autouse=True)
def descriptors() -> int:
    """Raise the descriptor limit of this process to thousands, where allowed; return it."""
    return raise_descriptors()


@pytest.fixture
def report_measurement(record_property: Callable[[str, object], None]) -> Callable[[str], None]:
    """Return a function that records a measurement, which is printed at the end of the run."""
    return lambda text: record_property(MEASURED, text)


MEASURED = "measured"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the measurements that tests recorded."""
    emitted = [
        str(text)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, text in report.user_properties
        if name == MEASURED and report.when == "call"
    ]
    if emitted:
        terminalreporter.section("measurements")
        for text in emitted:
            terminalreporter.write_line(text)


@pytest.fixture
def engine() -> Iterator["EngineLoop"]:
    """A loop with a reactor; errors raised in callbacks fail the test."""
    from tests.kit.loops import EngineLoop  # here, so that tests of pure packages need no engine

    engine = EngineLoop()
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Identity:
    """A self-signed certificate for localhost and 127.0.0.1."""
    folder: Path = tmp_path_factory.mktemp("identity")
    return make_identity(folder, "localhost", "127.0.0.1")
