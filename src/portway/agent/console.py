"""Tells a person or a program what an agent does: the public URL first, then one line for each request or relay."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from portway.agent.events import (
    AgentEvent,
    Connecting,
    LinksChanged,
    Notice,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelUp,
)
from portway.protocol.units import format_duration, format_size
from portway.telemetry.event_lines import event_line
from portway.telemetry.terminal import Style, escape

PATH_CHARS_MAX = 200
"""Enough to recognise a request; a visitor may send 16 kB of path to flood a terminal."""

METHOD_CHARS_MAX = 20
ORIGIN_FAILED = (502, 503, 504)
"""What the server answers when there is no connection to the origin."""
TEXT_CHARS_MAX = 400

Tell = Callable[[AgentEvent], None]
"""What `portway.agent.app.run` calls for every event; it never blocks."""


def json_console(out: Callable[[str], None], clock: Callable[[], float]) -> Tell:
    """Return a console that writes every event as one line of JSON; `clock` is `clock.wall`."""
    return lambda event: out(event_line(event, clock()))


@dataclass(slots=True)
class Console:
    """Words for people. `out` is stdout: URLs, requests and relays. `notes` is stderr: how the session fares."""

    out: Callable[[str], None]
    notes: Callable[[str], None]
    style: Style
    """Of `out`."""
    notes_style: Style
    interactive: bool
    """True on a terminal: URLs come with a sentence around them, requests with aligned columns."""
    log_time: Callable[[], float] | None = None
    """Seconds since 1970, to begin each request and relay with the time of day; None to leave it out."""
    _told: set[str] = field(default_factory=set)
    """URLs told already: a reconnect says them again, a person needs them once."""

    _unreached: dict[int, str] = field(default_factory=dict)
    """Why the last connection to a tunnel's origin failed, until a request is shown with it."""

    _dialled: bool = False

    def __call__(self, event: AgentEvent) -> None:
        """Tell one event."""
        match event:
            case TunnelUp():
                self._tunnel_up(event)
            case RequestLine():
                self.out(self._timed(self._request(event)))
            case RelayDone():
                self._relay_done(event)
            case RequestsOmitted(count):
                self.out(self.style.dim(f"... {count} more requests not shown"))
            case Connecting(address):
                if self._dialled:
                    return  # "offline, next try in ..." has said it already
                self._dialled = True
                self._note(self.notes_style.dim(f"connecting to {escape(address, TEXT_CHARS_MAX)}"))
            case Online():
                self._note(self._online(event))
            case RoundTrip() | LinksChanged():
                pass  # for `portway status`; a console that said it every few seconds would tire its reader
            case Offline():
                self._note(self._offline(event))
            case Refused() | Notice():
                self._note(
                    self._refused(event) if isinstance(event, Refused) else self.notes_style.warn(escape(event.text, TEXT_CHARS_MAX))
                )
            case _:
                assert_never(event)

    def _relay_done(self, event: RelayDone) -> None:
        if event.kind == "tcp":
            self.out(self._timed(self._relay(event)))
        elif event.forward is None:  # never connected: the request that it was for says why
            self._unreached[event.tunnel] = event.reason

    def _timed(self, line: str) -> str:
        if self.log_time is None:
            return line
        return f"{time.strftime('%H:%M:%S', time.localtime(self.log_time()))}  {line}"

    def _note(self, text: str) -> None:
        self.notes(f"portway: {text}")

    def _tunnel_up(self, event: TunnelUp) -> None:
        url = escape(event.url, TEXT_CHARS_MAX)
        if url in self._told:
            return
        self._told.add(url)
        if not self.interactive:
            self.out(url)
            return
        self.out("")
        self.out(f"  {self.style.bold(url)} -> {escape(event.target, TEXT_CHARS_MAX)}")
        self.out(self.style.dim("  Press Ctrl-C to stop"))
        self.out("")

    def _request(self, event: RequestLine) -> str:
        method = escape(event.method, METHOD_CHARS_MAX)
        path = escape(event.path, PATH_CHARS_MAX)
        status = self.style.status(event.status) if event.status else self.style.bad("cut")
        duration = format_duration(event.seconds)
        reason = self._unreached.pop(event.tunnel, "")  # of an earlier request, if this one was answered
        reason = event.cut or (reason if event.status in ORIGIN_FAILED else "")
        why = f"  {self.style.bad(escape(reason, TEXT_CHARS_MAX))}" if reason else ""
        if not self.interactive:
            return f"{method} {path} {status} {duration}{why}"
        return f"{method:<7} {status} {self.style.dim(f'{duration:>8}')}  {path}{why}"

    def _relay(self, event: RelayDone) -> str:
        amounts = f"{format_size(event.bytes_in)} in, {format_size(event.bytes_out)} out"
        reason = escape(event.reason, TEXT_CHARS_MAX)
        return f"relay {amounts}, {format_duration(event.seconds)}, {reason}"

    def _online(self, event: Online) -> str:
        away = f", {format_duration(event.rtt_s)} away" if event.rtt_s is not None else ""
        return self.notes_style.good("online") + f" with server {escape(event.server, TEXT_CHARS_MAX)}{away}"

    def _offline(self, event: Offline) -> str:
        again = f"next try in {format_duration(event.retry_in_s)}" if event.retry_in_s > 0 else "trying again"
        return self.notes_style.warn("offline") + f": {escape(event.reason, TEXT_CHARS_MAX)}; {again}"

    def _refused(self, event: Refused) -> str:
        text = f"{self.notes_style.bad('refused')}: {escape(event.reason, TEXT_CHARS_MAX)} ({escape(event.code, TEXT_CHARS_MAX)})"
        return f"{text}. {escape(event.next_step, TEXT_CHARS_MAX)}" if event.next_step else text
