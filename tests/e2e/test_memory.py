"""Connections that come and go leave a real server as large as it was (`make memory` does the same with 20,000 of each kind)."""

import pytest

from tests.attacks.site import Site
from tests.memory.flat import GROWTH_MAX_MB, KINDS, grown_mb

CONNECTS = {"connect": 2000, "visitor": 2000, "half_head": 1000}
OTHERS = 300
"""Those over TLS; a second or a few."""


@pytest.mark.parametrize("kind", KINDS)
def test_a_servers_memory_does_not_grow_over_many_connections(kind: str) -> None:
    with Site() as site:
        assert grown_mb(site, kind, CONNECTS.get(kind, OTHERS)) < GROWTH_MAX_MB
        assert site.logged_errors() == []


@pytest.mark.parametrize("kind", ["connect", "session"])
def test_the_memory_of_workers_does_not_grow_over_many_connections(kind: str) -> None:
    with Site(flags=["--workers", "2"]) as site:
        assert grown_mb(site, kind, CONNECTS.get(kind, OTHERS)) < 3 * GROWTH_MAX_MB, "three processes"
        assert site.logged_errors() == []
