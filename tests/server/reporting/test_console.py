"""A server's console: where it listens, who comes and goes; safe whatever agents call themselves."""

import json

import pytest

from portway import __version__
from portway.engine.tally import Flow
from portway.server.events import (
    HandshakesFailed,
    LeaseDown,
    LeaseUp,
    Listening,
    LoginRefused,
    RelayDone,
    ServerEvent,
    SessionDown,
    SessionUp,
    SpeedTested,
    Stopping,
    VisitorsTurnedAway,
)
from portway.server.reporting.console import Console, json_console
from portway.telemetry.terminal import Style

LISTENING = Listening("127.0.0.1:8080", "127.0.0.1:4443", "example.org:4443", "20000-20999", "localhost")
HOSTILE = "x\x1b[2J\r\nagent up    root\u202e" + "y" * 5000


def said(*events: ServerEvent) -> list[str]:
    lines: list[str] = []
    tell = Console(lines.append, Style(colours=False))
    for event in events:
        tell(event)
    return lines


def test_the_start_says_what_listens_where_and_what_to_do_next() -> None:
    assert said(LISTENING) == [
        f"Portway {__version__} serves *.localhost",
        "  http visitors  127.0.0.1:8080",
        "  tcp tunnels    ports 20000-20999",
        "  agents         127.0.0.1:4443, over TLS; they dial example.org:4443",
        "  `portway token create NAME` prints what an agent needs to join",
    ]


def test_a_data_directory_of_its_own_is_said_where_commands_need_it() -> None:
    listening = Listening("a:1", "b:2", "b:2", "1-2", "localhost", data="/srv/port way")

    assert said(listening)[-1] == "  `portway token create NAME --data '/srv/port way'` prints what an agent needs to join"


def test_links_without_tls_are_said_aloud() -> None:
    lines = said(Listening("a:1", "b:2", "b:2", "1-2", "localhost", plaintext_links=True))

    assert "without TLS (--plaintext-links)" in lines[3]


def test_who_comes_and_goes_is_a_line_each() -> None:
    assert said(
        SessionUp("s1", "laptop", "0.1.0", "10.0.0.1:5"),
        LeaseUp("s1", 1, "http", "http://a"),
        LeaseDown(1, "http://a"),
        SessionDown("s1", "laptop", "link lost"),
        LoginRefused("10.0.0.2:5", "bad_credentials"),
        LoginRefused("10.0.0.2:6", "too_many_logins", 1234),
        HandshakesFailed(1, "10.0.0.3:5", "no TLS"),
        HandshakesFailed(300, "10.0.0.3:6", "no TLS"),
        SpeedTested("s1", "laptop", "down", 8, 125 * 1024 * 1024, 5.4),
        SpeedTested("s1", "laptop", "up", 1, 0, 1),
        VisitorsTurnedAway(4000, 511, 512, "tcp port 20001"),
        Stopping("SIGTERM"),
    ) == [
        "agent up    laptop from 10.0.0.1:5, 0.1.0, session s1",
        "tunnel up   http://a, session s1",
        "tunnel down http://a",
        "agent down  laptop, session s1: link lost",
        "refused     10.0.0.2:5: bad_credentials",
        "refused     1,234 logins, the last from 10.0.0.2:6: too_many_logins",
        "no agent    10.0.0.3:5: no TLS",
        "no agent    300 connections, the last from 10.0.0.3:6: no TLS",
        "speed test  laptop, down, 8 streams: 125 MiB in 5.4s, session s1",
        "speed test  laptop, up, 1 stream: 0 B in 1s, session s1",
        "turned away 4,000 visitors: 511 visitors are here, 512 places; the last came to tcp port 20001",
        "stopping: SIGTERM",
    ]


@pytest.mark.parametrize(
    "event",
    [
        SessionUp("s1", HOSTILE, HOSTILE, HOSTILE),
        SessionDown("s", HOSTILE, HOSTILE),
        LoginRefused(HOSTILE, HOSTILE),
        HandshakesFailed(1, HOSTILE, HOSTILE),
    ],
)
def test_hostile_names_can_neither_forge_lines_nor_command_the_terminal(event: ServerEvent) -> None:
    (line,) = said(event)

    assert line.isprintable()
    assert len(line) < 1000


def test_json_tells_every_event_as_one_object() -> None:
    lines: list[str] = []
    json_console(lines.append, lambda: 0.0)(LISTENING)

    found = json.loads(lines[0])
    assert (found["event"], found["http"], found["domain"]) == ("listening", "127.0.0.1:8080", "localhost")


def test_a_finished_relay_is_one_line_for_programs_and_none_for_people() -> None:
    done = RelayDone("ab" * 16, 7, 20001, Flow(5, 1, "ended", 0.5), Flow(10, 2, "payload", 0.75))
    assert said(done) == []
    lines: list[str] = []
    json_console(lines.append, lambda: 0.0)(done)
    assert json.loads(lines[0]) == {
        "event": "relay_done",
        "time": "1970-01-01T00:00:00.000Z",
        "relay": "ab" * 16,
        "tunnel": 7,
        "port": 20001,
        "forward": {"total_bytes": 5, "event_count": 1, "shutdown_reason": "ended", "duration": 0.5},
        "backward": {"total_bytes": 10, "event_count": 2, "shutdown_reason": "payload", "duration": 0.75},
        "why": "",
        "visitor": None,
    }
