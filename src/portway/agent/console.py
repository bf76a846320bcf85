"""Output of an agent as text or JSON: the public URL first, then one line for each request or relay."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import assert_never

from portway.agent.events import (
    AgentEvent,
    Connecting,
    EventSink,
    InspectorUp,
    LinksChanged,
    Notice,
    Offline,
    Online,
    Refused,
    RelayDone,
    RequestLine,
    RequestsOmitted,
    RoundTrip,
    TunnelsChanged,
    TunnelUp,
)
from portway.protocol.units import format_duration, format_size
from portway.telemetry.event_lines import event_line
from portway.telemetry.terminal import Style, escape

PATH_CHARS_MAX = 200
"""Enough to recognise a request; a visitor may send a path of 16 kB to flood a terminal."""

METHOD_CHARS_MAX = 20
ORIGIN_FAILED = (502, 503, 504)
"""Statuses of responses that the server makes when the connection to the origin fails."""
TEXT_CHARS_MAX = 400


def json_console(out: Callable[[str], None], clock: Callable[[], float]) -> EventSink:
    """Return a console that writes every event as one line of JSON; `clock` is `clock.wall`."""

    def write(event: AgentEvent) -> None:
        if isinstance(event, InspectorUp):
            event = InspectorUp(event.url)  # such lines end up in files: without the key
        out(event_line(event, clock()))

    return write


@dataclass(slots=True)
class Console:
    """Text output. `out` is stdout: URLs, requests and relays. `notes` is stderr: the state of the session."""

    out: Callable[[str], None]
    notes: Callable[[str], None]
    style: Style
    """Of `out`."""
    notes_style: Style
    interactive: bool
    """True on a terminal: URLs are shown with their target and a hint, requests in aligned columns."""
    log_time: Callable[[], float] | None = None
    """Returns seconds since 1970, to begin each request and relay with the time of day; None: without it."""
    _shown_urls: set[tuple[str, str]] = field(default_factory=set)
    """Labels and URLs shown before: a reconnect emits them again, a person needs them once."""

    _origin_errors: dict[int, str] = field(default_factory=dict)
    """Why the last connection to a tunnel's origin failed, until it is shown with a request."""

    _connecting_shown: bool = False

    def __call__(self, event: AgentEvent) -> None:
        """Show one event."""
        match event:
            case TunnelUp():
                self._tunnel_up(event)
            case TunnelsChanged():
                self._tunnels_changed(event)
            case RequestLine():
                self.out(self._timed(self._request(event)))
            case RelayDone():
                self._relay_done(event)
            case RequestsOmitted(count):
                self.out(self.style.dim(f"... {count} more requests not shown"))
            case Connecting(address, proxy):
                if self._connecting_shown:
                    return  # "offline, next try in ..." was shown
                self._connecting_shown = True
                by = f" through {escape(proxy, TEXT_CHARS_MAX)}" if proxy else ""
                self._note(self.notes_style.dim(f"connecting to {escape(address, TEXT_CHARS_MAX)}{by}"))
            case Online():
                self._note(self._online(event))
            case RoundTrip() | LinksChanged():
                pass  # shown by `portway status`; too frequent for a console
            case Offline():
                self._note(self._offline(event))
            case Refused() | Notice() | InspectorUp():
                self._note(self._text_of(event))
            case _:
                assert_never(event)

    def _text_of(self, event: Refused | Notice | InspectorUp) -> str:
        if isinstance(event, InspectorUp):
            return f"inspector at {event.page_url if self.interactive else event.url}"
        return self._refused(event) if isinstance(event, Refused) else self.notes_style.warn(escape(event.text, TEXT_CHARS_MAX))

    def _relay_done(self, event: RelayDone) -> None:
        if event.kind != "http":
            self.out(self._timed(self._relay(event)))
        elif event.forward is None:  # never connected: the reason is shown with its request
            self._origin_errors[event.tunnel] = event.reason

    def _timed(self, line: str) -> str:
        if self.log_time is None:
            return line
        return f"{time.strftime('%H:%M:%S', time.localtime(self.log_time()))}  {line}"

    def _note(self, text: str) -> None:
        self.notes(f"portway: {text}")

    def _tunnel_up(self, event: TunnelUp) -> None:
        url = escape(event.url, TEXT_CHARS_MAX)
        if (event.label, url) in self._shown_urls:
            return
        self._shown_urls.add((event.label, url))
        label = f"{event.label}  " if event.label else ""
        if not self.interactive:
            self.out(f"{label}{url}")
            return
        if label:
            self.out(f"  {label}{self.style.bold(url)} -> {escape(event.target, TEXT_CHARS_MAX)}")
            return
        self.out("")
        self.out(f"  {self.style.bold(url)} -> {escape(event.target, TEXT_CHARS_MAX)}")
        self.out(self.style.dim("  Press Ctrl-C to stop"))
        self.out("")

    def _tunnels_changed(self, event: TunnelsChanged) -> None:
        self._note("configuration reloaded")
        for sign, labels in (("+ added", event.added), ("~ changed", event.changed), ("- removed", event.removed)):
            for label in labels:
                self.notes(f"  {sign:<9} {label}")
        self._shown_urls = {(label, url) for label, url in self._shown_urls if label not in event.changed}

    def _request(self, event: RequestLine) -> str:
        method = escape(event.method, METHOD_CHARS_MAX)
        path = escape(event.path, PATH_CHARS_MAX)
        status = self.style.status(event.status) if event.status else self.style.bad("cut")
        duration = format_duration(event.seconds)
        reason = self._origin_errors.pop(event.tunnel, "")  # that of an earlier request, if this one got a response
        reason = event.cut or (reason if event.status in ORIGIN_FAILED else "")
        suffix = f"  {self.style.bad(escape(reason, TEXT_CHARS_MAX))}" if reason else ""
        if not self.interactive:
            return f"{method} {path} {status} {duration}{suffix}"
        return f"{method:<7} {status} {self.style.dim(f'{duration:>8}')}  {path}{suffix}"

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
