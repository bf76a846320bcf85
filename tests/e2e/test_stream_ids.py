"""Links whose stream ids run out are replaced ahead of it; with real programs, and constants that make it a matter of seconds."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.world import World, event, events
from tests.kit.altered import altered
from tests.kit.origins import RawOrigin, echo

FEW_IDS = altered(portway__protocol__yamux__session__STREAM_ID_LAST=4001, portway__protocol__yamux__session__SPARE_IDS=3800)
"""A link carries 2,000 visitors, and is to be replaced after 100: with a pause and a dial, at 1,000 a second."""

CALLS = 2500
"""More than a link's worth."""


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    with RawOrigin(echo) as origin:
        yield origin


@pytest.mark.parametrize("links", ["1", "4"])
@pytest.mark.parametrize(
    ("server", "agent"),
    [
        pytest.param(FEW_IDS, FEW_IDS, id="both know"),
        pytest.param(FEW_IDS, (), id="server knows", marks=pytest.mark.long),
        pytest.param((), FEW_IDS, id="agent knows", marks=pytest.mark.long),
    ],
)
def test_visitors_never_notice_the_end_of_a_links_stream_ids(
    origin: RawOrigin, links: str, server: tuple[str, ...], agent: tuple[str, ...]
) -> None:
    with World(server_before=server) as world:
        world.start_server()
        running = world.agent(world.token(), "tcp", str(origin.port), "--max-links", links, before=agent)
        port = event(running, "tunnel_up")["port"]
        with socket.create_connection(("127.0.0.1", port), timeout=20) as stays, ThreadPoolExecutor(2) as visitors:
            stays.sendall(b"first")
            assert stays.recv(9) == b"first"

            answers = visitors.map(lambda number: world.call(port, b"%d" % number), range(CALLS))

            assert [int(answer) for answer in answers] == list(range(CALLS))
            stays.sendall(b"still here")
            assert stays.recv(20) == b"still here", "whoever is on a link that is replaced stays there"
        assert len(list(events(running, "online"))) == 1, "the session is the same all the time"
        assert len(list(events(running, "offline"))) == 0
        assert any(told["draining"] for told in events(running, "links_changed"))

        running.stop()  # the final message uses a link opened later than the session
        other = world.agent(world.token("other"), "tcp", str(origin.port), "--port", str(port), data="other")
        assert event(other, "tunnel_up")["port"] == port
