"""Text and JSON output of a speed test: a row for each measurement, updated while it runs, then the bottleneck."""

import textwrap
from collections.abc import Callable
from typing import assert_never

from portway.agent.speed.events import (
    DelayVerdict,
    Direction,
    EventSink,
    Measurement,
    Progress,
    RoundTrips,
    SpeedEvent,
    SpeedTestStarted,
    Verdict,
)
from portway.agent.speed.rates import format_rate, format_rtt, three_digits
from portway.telemetry.event_lines import event_line
from portway.telemetry.terminal import Style, escape

COLUMNS = 79
"""The usual minimum width of a terminal is 80; the last column stays empty, because some terminals wrap there."""

BAR_CHARS = 22
TEXT_CHARS_MAX = 200

HEADINGS = ("Mbit/s", "links", "round trip", "CPU here", "CPU server")
WIDTHS = (9, 7, 12, 10, 12)
_NAME_CHARS = 24
"""Width of a row's name."""

UP_ONE_LINE = "\x1b[1A\x1b[2K"
"""Moves the cursor to the previous line and clears it."""


def json_console(out: Callable[[str], None], clock: Callable[[], float]) -> EventSink:
    """Return a console that writes every event but progress as one line of JSON; `clock` is `clock.wall`."""

    def emit(event: SpeedEvent) -> None:
        if not isinstance(event, Progress):
            out(event_line(event, clock()))

    return emit


class Console:
    """Text output. `out` writes lines; with `live` (on a capable terminal), a row is updated while it is measured."""

    def __init__(self, out: Callable[[str], None], style: Style, *, live: bool) -> None:
        """Write nothing before the first event."""
        self._out = out
        self._style = style
        self._live = live
        self._drawn = False
        self._heading_shown = False

    def __call__(self, event: SpeedEvent) -> None:
        """Show one event."""
        match event:
            case SpeedTestStarted():
                self._begin(event)
            case RoundTrips():
                self._round_trips(event)
            case Progress():
                if self._live:
                    self._replace(self._progress(event))
                    self._drawn = True
            case Measurement():
                self._replace(self._row(event))
            case Verdict():
                self._verdict(event)
            case DelayVerdict():
                self._delay(event)
            case _:
                assert_never(event)

    def _begin(self, event: SpeedTestStarted) -> None:
        over = "over TLS" if event.encrypted else "without TLS"
        server = escape(event.server, TEXT_CHARS_MAX)
        self._out(f"Speed test with {self._style.bold(escape(event.address, TEXT_CHARS_MAX))}, Portway {server}, links {over}")
        dim = self._style.dim
        self._out(dim(f"About {4 * event.seconds + 8:.0f} s: one stream, then {event.streams}; down is from the server to this machine."))
        self._out("")

    def _round_trips(self, event: RoundTrips) -> None:
        at_rest = self._style.bold(f"{format_rtt(event.median_s):>9}")
        self._out(f"  {'round trip at rest':<{_NAME_CHARS}}{at_rest}   median of {event.count}, lowest {format_rtt(event.lowest_s)}")
        self._out("")
        headings = "".join(f"{heading:>{width}}" for heading, width in zip(HEADINGS, WIDTHS, strict=True))
        self._out(self._style.dim(f"  {'':<{_NAME_CHARS}}{headings}"))

    def _progress(self, event: Progress) -> str:
        done = round(event.done * BAR_CHARS)
        bar = ("=" * done)[:-1] + (">" if done else "")
        shown = self._style.good(f"{bar:<{BAR_CHARS}}")
        return f"  {_name(event.direction, event.streams):<{_NAME_CHARS}}{_mbit(event.bytes_per_s):>{WIDTHS[0]}}  [{shown}]"

    def _row(self, event: Measurement) -> str:
        rtt = "-" if event.rtt_s is None else format_rtt(event.rtt_s)
        rate = self._style.bold(f"{_mbit(event.bytes_per_s):>{WIDTHS[0]}}")
        cells = (str(event.links), rtt, f"{event.here_cpu:.0%}", f"{event.server_cpu:.0%}")
        rest = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS[1:], strict=True))
        return f"  {_name(event.direction, event.streams):<{_NAME_CHARS}}{rate}{rest}"

    def _verdict(self, event: Verdict) -> None:
        if not self._heading_shown:
            self._heading_shown = True
            self._out("")
            self._out(self._style.bold("What limits it"))
        self._paragraph(event.direction, f"{format_rate(event.bytes_per_s)}. {event.reason}", event.next_step)

    def _delay(self, event: DelayVerdict) -> None:
        self._paragraph("delay", event.reason, event.next_step)

    def _paragraph(self, about: str, text: str, next_step: str) -> None:
        lines = textwrap.wrap(text, COLUMNS - 9)
        self._out("")
        self._out(f"  {self._style.bold(f'{about:<7}')}{lines[0]}")
        for line in lines[1:]:
            self._out(f"{'':9}{line}")
        for number, line in enumerate(textwrap.wrap(next_step, COLUMNS - 12)):
            self._out(self._style.good(f"{'':9}{'-> ' if not number else '   '}{line}"))

    def _replace(self, line: str) -> None:
        """Write a line over the row that was drawn before, if any."""
        self._out(f"{UP_ONE_LINE if self._drawn else ''}{line}")
        self._drawn = False


def _name(direction: Direction, streams: int) -> str:
    return f"{direction:<4}  {streams:>2} stream{'s' if streams != 1 else ''}"


def _mbit(bytes_per_s: float) -> str:
    return three_digits(bytes_per_s * 8 / 1e6)
