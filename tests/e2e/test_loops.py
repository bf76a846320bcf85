"""A tunnel to the server's own port, a user's mistake: one answer that names the loop, not sixteen thousand connections."""

import json

import pytest

from tests.e2e.world import World, event, events


@pytest.mark.parametrize("flags", [(), ("--workers", "2")], ids=["one process", "two workers"])
def test_a_tunnel_to_the_servers_own_port_is_a_detected_loop(flags: tuple[str, ...]) -> None:
    with World(server_flags=flags) as world:
        server = world.start_server()
        agent = world.agent(world.token(), "http", str(world.http_port), "--name", "loop")
        event(agent, "tunnel_up")
        for _ in range(4):  # with workers, the way round may begin at either
            answer = world.visit("loop")
            assert answer.status == 508
            assert json.loads(answer.body)["error"] == "loop_detected"
            assert "sends the request back to this server" in json.loads(answer.body)["message"]
        event(agent, "request_line", 4)
        assert [told["status"] for told in events(agent, "request_line")] == [508] * 4
        assert len(list(events(agent, "relay_done"))) == 4, "each request came back once, and went no further"
        assert server.running
