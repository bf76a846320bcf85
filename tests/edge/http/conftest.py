"""Fixtures of the HTTP edge's tests."""

from collections.abc import Iterator

import pytest

from portway.edge.http.settings import HttpEdgeSettings
from portway.protocol.http1.trusted_proxies import TrustedProxies
from tests.edge.http.kit import MakeStage, Origin, Stage
from tests.kit.loops import EngineLoop


@pytest.fixture(params=["mux", "socket"])
def stage(engine: EngineLoop, request: pytest.FixtureRequest) -> Iterator[Stage]:
    """An edge with ordinary settings, once over a mux, as ever, and once with streams that are sockets."""
    stage = Stage(engine, request.param, HttpEdgeSettings())
    yield stage
    stage.close()


@pytest.fixture
def stage_with(engine: EngineLoop) -> Iterator[MakeStage]:
    """A function that makes an edge with settings of the test's own, and with proxies in front."""
    stages: list[Stage] = []

    def make(settings: HttpEdgeSettings, proxies: TrustedProxies | None = None) -> Stage:
        stages.append(Stage(engine, "mux", settings, proxies))
        return stages[-1]

    yield make
    for stage in stages:
        stage.close()


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin that answers with the target."""
    with Origin() as origin:
        yield origin
        assert not origin.faults, origin.faults
