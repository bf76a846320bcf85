"""The demo parses its children's events, and ignores unknown lines."""

import pytest

from portway.agent.events import (
    AgentEvent,
    Connecting,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelUp,
)
from portway.demo.events import agent_event, listening_event
from portway.server.events import Listening, Stopping
from portway.telemetry.event_lines import event_line


@pytest.mark.parametrize(
    "event",
    [
        Connecting("127.0.0.1:4443"),
        Online("s1", "0.1.0", 0.0002),
        RoundTrip(0.0003),
        TunnelUp(1, "http://demo.localhost:8080", "demo", 0, "127.0.0.1:3000"),
        RequestLine("GET", "/\x1b[2J\u2028", 200, 0.004, 1),
        RelayDone(1, 10, 20, 1.5, "closed"),
        Offline("the link is lost", 0.5),
        Refused("name_in_use", "demo is taken", "Choose another."),
        RequestsOmitted(3),
    ],
)
def test_every_agent_event_survives_a_round_trip(event: AgentEvent) -> None:
    assert agent_event(event_line(event, 0.0)) == event


def test_only_the_listening_event_of_the_server_is_parsed() -> None:
    event = Listening("127.0.0.1:8080", "127.0.0.1:4443", "127.0.0.1:4443", "20000-20999", "localhost")
    assert listening_event(event_line(event, 0.0)) == event
    assert listening_event(event_line(Stopping("SIGTERM"), 0.0)) is None


@pytest.mark.parametrize("line", ["", "{", "null", "[]", "text", '{"event":"sneezed"}', '{"event":7}', '{"event":"tunnel_up"}'])
def test_invalid_lines_are_ignored(line: str) -> None:
    assert agent_event(line) is None
    assert listening_event(line) is None
