"""The console: the URL first, then a line each, safe whatever visitors send."""

import json

import pytest

from portway.agent.console import Console, json_console
from portway.agent.events import (
    AgentEvent,
    Connecting,
    InspectorUp,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    TunnelUp,
)
from portway.telemetry.terminal import Style

PLAIN, COLOURED = Style(colours=False), Style(colours=True)
UP = TunnelUp(7, "http://calm-otter.localhost:8080", "calm-otter", 0, "127.0.0.1:3000")


class Heard:
    """A console with both its ways out caught."""

    def __init__(self, *, interactive: bool = False, style: Style = PLAIN) -> None:
        self.out: list[str] = []
        self.notes: list[str] = []
        self.tell = Console(self.out.append, self.notes.append, style, style, interactive)


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_away_from_a_terminal_the_first_line_on_stdout_is_the_url_and_nothing_else(heard: Heard) -> None:
    for event in (Connecting("127.0.0.1:4443"), Online("s1", "0.1.0", 0.002), UP):
        heard.tell(event)

    assert heard.out == ["http://calm-otter.localhost:8080"]
    assert heard.notes == ["portway: connecting to 127.0.0.1:4443", "portway: online with server 0.1.0, 2ms away"]


def test_a_request_is_one_line_of_method_path_status_duration(heard: Heard) -> None:
    heard.tell(RequestLine("GET", "/x?y=1", 200, 0.012, 7))

    assert heard.out == ["GET /x?y=1 200 12ms"]


def test_a_relay_is_one_line_of_bytes_duration_and_end(heard: Heard) -> None:
    heard.tell(RelayDone(7, 1200, 3_400_000, 12.5, "closed"))

    assert heard.out == ["relay 1.17 KiB in, 3.24 MiB out, 12.5s, closed"]


def test_for_an_http_tunnel_requests_are_shown_and_connections_are_not(heard: Heard) -> None:
    heard.tell(RelayDone(7, 1200, 3_400_000, 12.5, "closed", kind="http"))

    assert heard.out == []


def test_a_request_without_an_origin_is_shown_with_the_reason(heard: Heard) -> None:
    heard.tell(RelayDone(7, 0, 0, 0.001, "the origin refused the connection", kind="http"))
    heard.tell(RequestLine("GET", "/", 502, 0.002, 7))
    heard.tell(RequestLine("GET", "/", 502, 0.002, 7))
    heard.tell(RelayDone(8, 0, 0, 0.001, "the origin refused the connection", kind="http"))
    heard.tell(RequestLine("GET", "/", 200, 0.002, 8))
    heard.tell(RequestLine("GET", "/", 502, 0.002, 8))

    assert heard.out == ["GET / 502 2ms  the origin refused the connection", "GET / 502 2ms", "GET / 200 2ms", "GET / 502 2ms"]


def test_a_truncated_response_is_shown_with_its_size(heard: Heard) -> None:
    heard.tell(RequestLine("GET", "/", 200, 0.002, 7, "cut after 1.2 MiB: the origin reset the connection"))

    assert heard.out == ["GET / 200 2ms  cut after 1.2 MiB: the origin reset the connection"]


def test_a_reconnect_shows_only_new_urls(heard: Heard) -> None:
    again = Connecting("h:1")
    for event in (again, UP, Offline("link lost", 0.0), again, Offline("refused", 2.5), again, Online("s2", "0.1.0"), UP):
        heard.tell(event)
    heard.tell(TunnelUp(9, "http://other.localhost:8080", "other", 0, "127.0.0.1:3000"))

    assert heard.out == ["http://calm-otter.localhost:8080", "http://other.localhost:8080"]
    assert heard.notes == [
        "portway: connecting to h:1",
        "portway: offline: link lost; trying again",
        "portway: offline: refused; next try in 2.5s",
        "portway: online with server 0.1.0",
    ]


def test_a_refusal_is_shown_with_code_reason_and_next_step(heard: Heard) -> None:
    heard.tell(Refused("name_taken", "app.localhost belongs to another agent", "Choose another name."))
    heard.tell(Refused("replaced", "another session took over"))

    assert heard.notes == [
        "portway: refused: app.localhost belongs to another agent (name_taken). Choose another name.",
        "portway: refused: another session took over (replaced)",
    ]


def test_the_key_of_the_inspector_is_shown_on_a_terminal_only() -> None:
    event = InspectorUp("http://127.0.0.1:4040/", "http://127.0.0.1:4040/?key=k")
    lines: list[str] = []
    piped, terminal = Heard(), Heard(interactive=True)
    piped.tell(event)
    terminal.tell(event)
    json_console(lines.append, lambda: 0.0)(event)

    assert piped.notes == ["portway: inspector at http://127.0.0.1:4040/"]
    assert terminal.notes == ["portway: inspector at http://127.0.0.1:4040/?key=k"]
    assert json.loads(lines[0])["url"] == "http://127.0.0.1:4040/"
    assert "key=" not in lines[0]


def test_omitted_requests_are_counted(heard: Heard) -> None:
    heard.tell(RequestsOmitted(12))

    assert heard.out == ["... 12 more requests not shown"]


def test_a_terminal_gets_the_target_and_colours() -> None:
    heard = Heard(interactive=True, style=COLOURED)
    heard.tell(UP)
    heard.tell(RequestLine("GET", "/", 404, 0.5, 7))

    assert heard.out[1] == "  \x1b[1mhttp://calm-otter.localhost:8080\x1b[0m -> 127.0.0.1:3000"
    assert heard.out[-1] == "GET     \x1b[33m404\x1b[0m \x1b[2m   500ms\x1b[0m  /"


HOSTILE = "/\x1b]0;owned\x07\r\nGET /fake 200 1ms\u202e" + "x" * 20000


@pytest.mark.parametrize(
    "event",
    [
        RequestLine(HOSTILE, HOSTILE, 200, 0.1, 7),
        TunnelUp(7, HOSTILE, HOSTILE, 0, HOSTILE),
        RelayDone(7, 1, 1, 1.0, HOSTILE),
        Online(HOSTILE, HOSTILE, 1.0),
        Offline(HOSTILE, 1.0),
        Refused(HOSTILE, HOSTILE, HOSTILE),
        Connecting(HOSTILE),
    ],
    ids=lambda event: type(event).__name__,
)
@pytest.mark.parametrize("interactive", [False, True])
def test_hostile_text_cannot_forge_lines_control_the_terminal_or_flood_it(event: AgentEvent, interactive: bool) -> None:
    heard = Heard(interactive=interactive)
    heard.tell(event)

    said = heard.out + heard.notes
    assert said
    assert all(line.isprintable() for line in said)
    assert sum(map(len, said)) < 2000


def test_json_output_has_one_object_per_event() -> None:
    said: list[str] = []
    tell = json_console(said.append, lambda: 0.0)
    for event in (UP, RequestLine("GET", HOSTILE, 200, 0.1, 7)):
        tell(event)

    first, second = (json.loads(line) for line in said)
    assert (first["event"], first["url"], first["target"]) == ("tunnel_up", "http://calm-otter.localhost:8080", "127.0.0.1:3000")
    assert (second["event"], second["path"], second["status"]) == ("request_line", HOSTILE, 200)
    assert all(len(line.splitlines()) == 1 for line in said)
