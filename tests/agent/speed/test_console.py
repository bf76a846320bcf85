"""A speed test on a terminal of 80 columns, on a pipe, and as JSON."""

import json
import re

from portway.agent.speed.console import COLUMNS, UP_ONE_LINE, Console, json_console
from portway.agent.speed.events import DelayVerdict, Measurement, Progress, RoundTrips, SpeedEvent, SpeedTestStarted, Verdict
from portway.telemetry.terminal import Style

STARTED = SpeedTestStarted("tunnel.example.org:4443", "0.1.0", True, 5.0, 8, 4)
DOWN = Measurement(
    direction="down", streams=8, links=4, bytes_per_s=6.2e6, rtt_s=0.089, here_cpu=0.031, here_waited=0, server_cpu=1.0, server_waited=0
)
LINE = Verdict(direction="down", limit="line", bytes_per_s=6.2e6, reason="Network: " + "many words " * 20, next_step="Do this. " * 15)
ALL: list[SpeedEvent] = [
    STARTED,
    RoundTrips(20, 0.0402, 0.0412),
    Progress("down", 8, 0.5, 6e6),
    DOWN,
    LINE,
    DelayVerdict(rest_s=0.04, full_s=0.09, reason="Going down adds 50ms.", next_step=""),
]


def said(*events: SpeedEvent, live: bool = False, colours: bool = False) -> list[str]:
    lines: list[str] = []
    tell = Console(lines.append, Style(colours), live=live)
    for event in events:
        tell(event)
    return lines


def test_a_measurement_is_a_row_under_its_headings() -> None:
    lines = said(STARTED, RoundTrips(20, 0.0402, 0.0412), DOWN)

    assert lines == [
        "Speed test with tunnel.example.org:4443, Portway 0.1.0, links over TLS",
        "About 28 s: one stream, then 8; down is from the server to this machine.",
        "",
        "  round trip at rest           41ms   median of 20, lowest 40ms",
        "",
        "                             Mbit/s  links  round trip  CPU here  CPU server",
        "  down   8 streams             49.6      4        89ms        3%        100%",
    ]


def test_everything_fits_on_a_narrow_terminal() -> None:
    for line in said(*ALL, live=True, colours=True):
        assert len(re.sub(r"\x1b\[[0-9]*[a-zA-Z]", "", line)) <= COLUMNS


def test_a_verdict_is_wrapped_below_its_direction_and_its_next_step_stands_out() -> None:
    lines = said(LINE, ALL[-1])

    assert lines[1:4] == ["What limits it", "", "  down   49.6 Mbit/s. Network: many words many words many words many words many"]
    assert all(line.startswith(" " * 9) for line in lines[4:-3])
    assert sum("-> Do this." in line for line in lines) == 1
    assert lines[-1] == "  delay  Going down adds 50ms."


def test_on_a_terminal_a_row_is_redrawn_until_it_is_done() -> None:
    lines = said(Progress("up", 1, 0.02, 0), Progress("up", 1, 0.5, 6.2e6), DOWN, Progress("up", 8, 1.0, 1), live=True)

    assert lines[0] == f"  {'up     1 stream':<24}     0.00  [{' ' * 22}]"
    assert lines[1].startswith(UP_ONE_LINE)
    assert f"[{'=' * 10}>{' ' * 11}]" in lines[1]
    assert lines[2].startswith(UP_ONE_LINE + "  down")
    assert not lines[3].startswith(UP_ONE_LINE)
    assert f"[{'=' * 21}>]" in lines[3]


def test_away_from_a_terminal_nothing_is_drawn() -> None:
    assert said(Progress("up", 1, 0.5, 6.2e6)) == []
    assert not any("\x1b" in line for line in said(*ALL))


def test_a_hostile_server_cannot_control_the_terminal() -> None:
    lines = said(SpeedTestStarted("a:1", "\x1b[2J\r\n" + "9" * 5000, False, 5.0, 8, 4))

    assert all(line.isprintable() for line in lines)
    assert sum(map(len, lines)) < 500
    assert "without TLS" in lines[0]


def test_a_measurement_without_a_pong_is_shown_without_a_round_trip() -> None:
    (line,) = said(Measurement(**{name: getattr(DOWN, name) for name in DOWN.__slots__} | {"rtt_s": None}))

    assert line.split() == ["down", "8", "streams", "49.6", "4", "-", "3%", "100%"]


def test_json_output_has_every_event_but_progress() -> None:
    lines: list[str] = []
    tell = json_console(lines.append, lambda: 0.0)
    for event in ALL:
        tell(event)
    told = [json.loads(line) for line in lines]

    assert [one["event"] for one in told] == ["speed_test_started", "round_trips", "measurement", "verdict", "delay_verdict"]
    assert told[2]["bytes_per_s"] == 6.2e6
    assert told[3]["limit"] == "line"
