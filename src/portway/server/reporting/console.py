"""Console output of the server: addresses at the start, then a line per event, as text or JSON."""

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from portway import __version__
from portway.certificates.events import CertificateDown, CertificateFailed, CertificateOrdered, CertificateUp
from portway.edge.events import ConnectionsShed, RelayDone, RequestDone, VisitorsTurnedAway
from portway.protocol.units import format_count, format_duration, format_size
from portway.server.events import (
    EventSink,
    HandshakesFailed,
    LeaseDown,
    LeaseUp,
    LinksChanged,
    Listening,
    LoginRefused,
    ServerEvent,
    SessionDown,
    SessionUp,
    SpeedTested,
    Stopping,
    WorkerDown,
    WorkerUp,
)
from portway.telemetry.event_lines import event_line, timestamp
from portway.telemetry.terminal import Style, escape, table

TEXT_CHARS_MAX = 200
"""Longest text from an agent that is shown: agents must not flood a terminal."""

NAMES_SHOWN = 5
"""Names of a certificate; `portway certificates` lists all."""


def json_console(out: Callable[[str], None], clock: Callable[[], float]) -> EventSink:
    """Return a console that writes every event as one line of JSON; `clock` is `clock.wall`."""
    return lambda event: out(event_line(event, clock()))


@dataclass(frozen=True, slots=True)
class Console:
    """Text output for people, on stdout."""

    out: Callable[[str], None]
    style: Style

    def __call__(self, event: ServerEvent) -> None:
        """Print one event."""
        style = self.style
        match event:
            case Listening():
                self._listening(event)
            case SessionUp():
                agent = f"{_safe(event.token)} from {_safe(event.peer)}, {_safe(event.agent)}"
                self.out(f"{style.good('agent up')}    {agent}, session {_safe(event.session)}")
            case LinksChanged() | RequestDone() | RelayDone():
                pass  # too frequent for a console: `portway status` and the JSON output have them
            case SessionDown():
                self.out(f"{style.warn('agent down')}  {_safe(event.token)}, session {_safe(event.session)}: {_safe(event.reason)}")
            case LeaseUp() | LeaseDown():
                self.out(_lease(event, style))
            case LoginRefused() | HandshakesFailed() | VisitorsTurnedAway() | ConnectionsShed():
                self.out(_rejected(event, style))
            case SpeedTested():
                self.out(f"speed test  {_safe(event.token)}, {_tested(event)}, session {_safe(event.session)}")
            case WorkerUp() | WorkerDown():
                self.out(_worker(event, style))
            case CertificateUp() | CertificateOrdered() | CertificateFailed() | CertificateDown():
                if event.source != "dev" or isinstance(event, CertificateFailed):  # the same root at each start
                    self.out(_certificate(event, style))
            case Stopping():
                self.out(f"stopping: {_safe(event.reason)}")
            case _:
                assert_never(event)

    def _listening(self, event: Listening) -> None:
        links = "no TLS: --plaintext-links" if event.plaintext_links else "TLS"
        self.out(f"{self.style.bold('Portway ' + __version__)} serves *.{event.domain}")
        https = event.https or (f"none: {event.https_failure}; set --https" if event.https_failure else "")
        rows = [
            ("http visitors", event.http),
            *([("https visitors", https)] if https else []),
            ("tcp tunnels", f"ports {event.tcp_ports}"),
            ("agents", f"{event.agents or event.https} ({links}), advertised as {event.advertised}"),
        ]
        for line in table(rows, indent="  "):
            self.out(line)
        where = f" --data {_safe(shlex.quote(event.data))}" if event.data else ""
        self.out(self.style.dim(f"  Run `portway token create NAME{where}` to create a join string for an agent"))


def _lease(event: LeaseUp | LeaseDown, style: Style) -> str:
    if isinstance(event, LeaseUp):
        return f"{style.good('tunnel up')}   {_safe(event.url)}, session {_safe(event.session)}"
    return f"{style.warn('tunnel down')} {_safe(event.url)}"


def _tested(event: SpeedTested) -> str:
    streams = "1 stream" if event.streams == 1 else f"{event.streams} streams"
    return f"{event.direction}, {streams}: {format_size(event.bytes)} in {format_duration(event.seconds)}"


def _rejected(event: LoginRefused | HandshakesFailed | VisitorsTurnedAway | ConnectionsShed, style: Style) -> str:
    match event:
        case LoginRefused():
            many = f"{event.count:,} logins, last from " if event.count > 1 else ""
            return f"{style.bad('refused')}     {many}{_safe(event.peer)}: {_safe(event.code)}"
        case HandshakesFailed():
            many = f"{event.count:,} connections closed before login, last from " if event.count > 1 else ""
            return f"{style.warn('no login')}    {many}{_safe(event.peer)}: {_safe(event.reason)}"
        case VisitorsTurnedAway():
            return f"{style.bad('rejected')}    {format_count(event.count, 'visitor')}: server full ({_load(event)}), last on {_safe(event.last)}"
        case ConnectionsShed():
            many = format_count(event.count, "idle or slow connection")
            return f"{style.warn('shed')}        {many} closed to admit others ({_load(event)}), last on {_safe(event.last)}"


def _load(event: VisitorsTurnedAway | ConnectionsShed) -> str:
    return f"{event.visitors:,} of {event.places:,} connected"


def _worker(event: WorkerUp | WorkerDown, style: Style) -> str:
    if isinstance(event, WorkerUp):
        return f"{style.good('worker up')}   {event.worker}, process {event.pid}"
    return f"{style.bad('worker down')} {event.worker}, process {event.pid}: {_safe(event.reason)}"


def _certificate(event: CertificateUp | CertificateOrdered | CertificateFailed | CertificateDown, style: Style) -> str:
    match event:
        case CertificateUp():
            more = len(event.names) - NAMES_SHOWN
            names = ", ".join(event.names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
            until = timestamp(event.not_after)[:10]
            return f"{style.good('certificate')} {_safe(names)}: {event.source}, issued by {_safe(event.issuer)}, until {until}"
        case CertificateOrdered():
            return f"certificate {_safe(event.id)} {'renewal ' if event.renewal else ''}ordered"
        case CertificateFailed():
            after = "; the previous one stays" if event.stays else ""
            if event.next_attempt is not None:
                after += f"; next attempt {timestamp(event.next_attempt)[:16].replace('T', ' ')} UTC"
            return f"{style.bad('certificate')} {_safe(event.id)} failed: {_safe(event.reason)}{after}"
        case CertificateDown():
            return f"{style.warn('certificate')} {_safe(event.id)} no longer used"


def _safe(text: str) -> str:
    return escape(text, TEXT_CHARS_MAX)
