"""A tunnel that leads back to the server is detected in the second round, with any number of edges between."""

from collections.abc import Callable

import pytest

from portway.edge.http.edge import HttpEdge
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.lease import LeaseKey
from portway.engine.listener import Listener, listen
from portway.server.tunnels.registry import Registry
from tests.edge.http.kit import OWNER, Agent, Origin, Stage


@pytest.mark.parametrize("fields", [(), ("Connection: CDN-Loop",), ("CDN-Loop: some-cdn",), ("Connection: Upgrade", "Upgrade: websocket")])
def test_a_tunnel_to_the_server_itself_is_detected_after_one_round(stage: Stage, fields: tuple[str, ...]) -> None:
    agent = stage.publish(stage.port)

    def story() -> None:
        with stage.caller() as visitor:
            heard = visitor.get("/", "a.localhost", *fields)
            assert heard.status == 508
            assert b"sends the request back to this server" in heard.body
            assert heard.code == "", "the outer answer is the origin's, as the edge sees it"
        stage.eventually(lambda: stage.edge.visitors == 0)

    stage.play(story)
    assert agent.opened == 1


def test_a_loop_over_another_server_is_found_as_well(stage: Stage) -> None:
    """a.localhost leads to another server's edge, and its tunnel of the same name back to this one."""
    registry = Registry(stage.engine.reactor.call_soon)
    other = HttpEdge(stage.engine.reactor, registry)
    listener = Listener(stage.engine.reactor, listen("127.0.0.1", 0), other.accept)
    agent = stage.publish(listener.address[1])
    back = Agent(stage.engine, stage.port, stage.kind, "back")
    stage.agents.append(back)
    registry.claim(LeaseKey("http", "a.localhost"), OWNER, back, takeover=True)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/").status == 508

    try:
        stage.play(story)
    finally:
        listener.close()
        other.close()
    assert (agent.opened, back.opened) == (1, 1)


@pytest.mark.parametrize("via", ["", "edge.example"])
def test_the_origin_sees_which_server_it_was_and_via_only_on_demand(
    stage_with: Callable[[HttpEdgeSettings], Stage], origin: Origin, via: str
) -> None:
    stage = stage_with(HttpEdgeSettings(via=via))
    stage.publish(origin)

    def story() -> None:
        for _ in range(2):
            with stage.caller() as visitor:
                for _ in range(3):
                    assert visitor.get("/", "a.localhost", "Via: 1.1 first").status == 200

    stage.play(story)
    (loop,) = {tuple(request.all("cdn-loop")) for request in origin.requests}
    assert loop[0].startswith("portway-")
    assert len(loop) == 1
    assert all(request.all("via") == ["1.1 first", *(["1.1 edge.example"] if via else [])] for request in origin.requests)


def test_two_servers_have_two_ids(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    assert len({stage_with(HttpEdgeSettings()).edge.rules.server_id for _ in range(3)}) == 3
