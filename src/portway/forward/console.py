"""Console output of the forward proxy: its address at the start, then a line per tunnel, as text or JSON."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from portway import __version__
from portway.forward.events import ClientDone, EventSink, ForwardEvent, Listening, Notice, Stopping
from portway.forward.outcomes import NAMES, Outcome
from portway.protocol.units import format_duration, format_size
from portway.telemetry.event_lines import event_line
from portway.telemetry.terminal import Style, escape

TEXT_CHARS_MAX = 400

_TEXTS = {outcome: f"{names.status} {outcome.replace('_', ' ')}" for outcome, names in NAMES.items()}


def json_console(out: Callable[[str], None], clock: Callable[[], float]) -> EventSink:
    """Return a console that writes every event as one line of JSON; `clock` is `clock.wall`."""
    return lambda event: out(event_line(event, clock()))


@dataclass(frozen=True, slots=True)
class Console:
    """Text output for people, on stdout."""

    out: Callable[[str], None]
    style: Style

    def __call__(self, event: ForwardEvent) -> None:
        """Print one event."""
        match event:
            case Listening():
                self._listening(event)
            case ClientDone():
                self.out(self._done(event))
            case Notice(text):
                self.out(self.style.warn(escape(text, TEXT_CHARS_MAX)))
            case Stopping(tunnels):
                if tunnels:
                    self.out(self.style.dim(f"stopping: {tunnels} tunnel{'' if tunnels == 1 else 's'} may finish"))
            case _:
                assert_never(event)

    def _listening(self, event: Listening) -> None:
        if event.destination:
            what = f"every client is connected to {event.destination}"
        else:
            what = "HTTP, SOCKS5 and SOCKS4" + (" over TLS" if event.tls else "")
        self.out(f"Portway {__version__} is a forward proxy on {self.style.bold(event.address)}: {what}")
        if not event.destination:
            scheme = "https" if event.tls else "http"
            self.out(self.style.dim(f"  Try: curl -x {scheme}://{event.address} https://example.org/"))
        if not event.users:
            self.out(self.style.dim("  No users: all programs that can reach this address can use it"))

    def _done(self, event: ClientDone) -> str:
        what = f"{event.protocol or '?':<6} {self._result(event.result)}"
        target = f"  {escape(event.target, TEXT_CHARS_MAX)}" if event.target else ""
        if event.upstream_stats is None or event.downstream_stats is None:
            return f"{what}  {format_duration(event.seconds)}{target}"
        up, down = format_size(event.upstream_stats.total_bytes), format_size(event.downstream_stats.total_bytes)
        reason = f", {event.reason}" if event.reason else ""
        return f"{what}  {up} up, {down} down, {format_duration(event.seconds)}{reason}{target}"

    def _result(self, result: Outcome) -> str:
        text = _TEXTS[result]
        return self.style.good(text) if result is Outcome.ESTABLISHED else self.style.bad(text)
