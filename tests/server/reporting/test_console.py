"""The server's console: addresses at the start, a line per event, and no terminal control by hostile names."""

import json

import pytest

from portway import __version__
from portway.certificates.events import CertificateDown, CertificateFailed, CertificateOrdered, CertificateUp
from portway.edge.events import ConnectionsShed, RelayDone, VisitorsTurnedAway
from portway.engine.tally import Flow
from portway.server.events import (
    HandshakesFailed,
    LeaseDown,
    LeaseUp,
    Listening,
    LoginRefused,
    ServerEvent,
    SessionDown,
    SessionUp,
    SpeedTested,
    Stopping,
)
from portway.server.reporting.console import Console, json_console
from portway.telemetry.terminal import Style

LISTENING = Listening("127.0.0.1:8080", "127.0.0.1:4443", "example.org:4443", "20000-20999", "localhost")
HOSTILE = "x\x1b[2J\r\nagent up    root\u202e" + "y" * 5000


def printed(*events: ServerEvent) -> list[str]:
    lines: list[str] = []
    console = Console(lines.append, Style(colours=False))
    for event in events:
        console(event)
    return lines


def test_the_start_shows_all_addresses_and_the_next_step() -> None:
    assert printed(LISTENING) == [
        f"Portway {__version__} serves *.localhost",
        "  http visitors  127.0.0.1:8080",
        "  tcp tunnels    ports 20000-20999",
        "  agents         127.0.0.1:4443 (TLS), advertised as example.org:4443",
        "  Run `portway token create NAME` to create a join string for an agent",
    ]


def test_a_data_directory_that_is_not_the_default_is_shown_in_the_next_step() -> None:
    listening = Listening("a:1", "b:2", "b:2", "1-2", "localhost", data="/srv/port way")

    assert printed(listening)[-1] == "  Run `portway token create NAME --data '/srv/port way'` to create a join string for an agent"


def test_links_without_tls_are_shown() -> None:
    lines = printed(Listening("a:1", "b:2", "b:2", "1-2", "localhost", plaintext_links=True))

    assert "(no TLS: --plaintext-links)" in lines[3]


def test_every_event_for_people_is_one_line() -> None:
    assert printed(
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
        ConnectionsShed(12, 400, 512, "http"),
        CertificateUp("files", "/etc/a.pem", tuple(f"{name}.example.org" for name in "abcdefg"), "CA", 1_800_000_000.0),
        CertificateUp("acme", "a.example.org", ("a.example.org",), "Example CA", 1_800_000_000.0),
        CertificateUp("dev", "localhost", ("localhost",), "this server's development CA", 1_800_000_000.0),
        CertificateFailed("files", "/etc/a.pem", "damaged", stays=True),
        CertificateFailed("dev", "localhost", "damaged"),
        CertificateOrdered("acme", "a.example.org"),
        CertificateOrdered("acme", "a.example.org", renewal=True),
        CertificateFailed("acme", "a.example.org", "refused", next_attempt=1_800_000_000.0),
        CertificateDown("files", "/etc/a.pem"),
        Stopping("SIGTERM"),
    ) == [
        "agent up    laptop from 10.0.0.1:5, 0.1.0, session s1",
        "tunnel up   http://a, session s1",
        "tunnel down http://a",
        "agent down  laptop, session s1: link lost",
        "refused     10.0.0.2:5: bad_credentials",
        "refused     1,234 logins, last from 10.0.0.2:6: too_many_logins",
        "no login    10.0.0.3:5: no TLS",
        "no login    300 connections closed before login, last from 10.0.0.3:6: no TLS",
        "speed test  laptop, down, 8 streams: 125 MiB in 5.4s, session s1",
        "speed test  laptop, up, 1 stream: 0 B in 1s, session s1",
        "rejected    4,000 visitors: server full (511 of 512 connected), last on tcp port 20001",
        "shed        12 idle or slow connections closed to admit others (400 of 512 connected), last on http",
        "certificate a.example.org, b.example.org, c.example.org, d.example.org, e.example.org and 2 more: files, issued by CA, until 2027-01-15",
        "certificate a.example.org: acme, issued by Example CA, until 2027-01-15",
        "certificate /etc/a.pem failed: damaged; the previous one stays",
        "certificate localhost failed: damaged",
        "certificate a.example.org ordered",
        "certificate a.example.org renewal ordered",
        "certificate a.example.org failed: refused; next attempt 2027-01-15 08:00 UTC",
        "certificate /etc/a.pem no longer used",
        "stopping: SIGTERM",
    ]


@pytest.mark.parametrize(
    "event",
    [
        SessionUp("s1", HOSTILE, HOSTILE, HOSTILE),
        SessionDown("s", HOSTILE, HOSTILE),
        LoginRefused(HOSTILE, HOSTILE),
        HandshakesFailed(1, HOSTILE, HOSTILE),
        CertificateUp("files", HOSTILE, (HOSTILE,), HOSTILE, 0.0),
        CertificateFailed("files", HOSTILE, HOSTILE),
        CertificateOrdered("acme", HOSTILE),
        CertificateDown("files", HOSTILE),
    ],
)
def test_hostile_names_can_neither_forge_lines_nor_control_the_terminal(event: ServerEvent) -> None:
    (line,) = printed(event)

    assert line.isprintable()
    assert len(line) < 1000


def test_json_output_has_one_object_per_event() -> None:
    lines: list[str] = []
    json_console(lines.append, lambda: 0.0)(LISTENING)

    found = json.loads(lines[0])
    assert (found["event"], found["http"], found["domain"]) == ("listening", "127.0.0.1:8080", "localhost")


def test_a_finished_relay_is_one_json_line_and_no_text() -> None:
    done = RelayDone("ab" * 16, 7, 20001, Flow(5, 1, "ended", 0.5), Flow(10, 2, "payload", 0.75))
    assert printed(done) == []
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
        "scheme": "",
    }
