"""Origins without a port: when they start and end."""

import gc
import stat
from pathlib import Path

import pytest

from portway.agent.static_origin.static_origins import StaticOrigins
from portway.agent.target import Target
from portway.errors import ConfigError
from tests.agent.static_origin.conftest import Stage, request_for


def test_a_target_with_a_port_stays_what_it_is(stage: Stage) -> None:
    target = Target("localhost", 3000)
    assert stage.origins.target_of(request_for(target)) is target
    assert list(stage.sockets.iterdir()) == []


def test_each_tunnel_has_one_origin_which_ends_with_it(stage: Stage, site: Path) -> None:
    first, second = request_for(Target(directory=str(site))), request_for(Target(status=503))
    paths = [Path(stage.origins.target_of(request).path) for request in (first, second, first)]
    assert paths[0] == paths[2] != paths[1]
    assert all(stat.S_ISSOCK(path.stat().st_mode) for path in paths)
    assert (stage.ask(first, "/page.html").status, stage.ask(second).status) == (200, 503)

    del first
    gc.collect()

    assert [path.exists() for path in paths[:2]] == [False, True]
    assert stage.ask(second).status == 503


def test_a_socket_that_cannot_be_created_is_an_error_with_its_path(tmp_path: Path) -> None:
    origins = StaticOrigins(lambda: tmp_path / ("long" * 40))
    with pytest.raises(ConfigError, match="cannot create the socket of a static origin"):
        origins.target_of(request_for(Target(status=503)))
