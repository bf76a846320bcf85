"""Sends request lines to an agent's console: batched, bounded, and with the lowest priority."""

from collections import deque
from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.protocol.control.messages import REQUEST_LINES_MAX, Activity, RequestLine, request_line

BATCH_S = 0.1
"""Ten messages per second look live on a terminal, and cost nothing compared with the requests."""

LINES_MAX = 256
"""Request lines per batch; 2,500 per second are more than a person can read. The rest is counted."""

_OMITTED_MAX = 1_000_000
"""Largest count in one message (messages.Count)."""


def _discard(_activity: Activity) -> None:
    """Replace the sender of a closed session."""


class ActivityBatch:
    """Batches finished requests of one session, and sends them every 100 ms while there are any."""

    def __init__(self, reactor: Reactor, send: Callable[[Activity], None]) -> None:
        """`send` sends a message or drops it; it must not raise."""
        self._reactor = reactor
        self._send = send
        self._lines: deque[tuple[int, RequestLine, str]] = deque()
        self._omitted: dict[int, int] = {}
        self._scheduled = False

    def record(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Add a request to the batch, or count it; `cut` describes how its response was truncated."""
        if len(self._lines) < LINES_MAX:
            self._lines.append((tunnel_id, request_line(method, path, status, seconds), cut))
        else:
            self._omitted[tunnel_id] = self._omitted.get(tunnel_id, 0) + 1
        if not self._scheduled:
            self._scheduled = True
            self._reactor.call_later(BATCH_S, self._flush)

    def close(self) -> None:
        """Drop the batch and the reference to the sender."""
        self._lines.clear()
        self._omitted.clear()
        self._send = _discard

    def _flush(self) -> None:
        self._scheduled = False
        by_tunnel: dict[int, list[tuple[RequestLine, str]]] = {tunnel_id: [] for tunnel_id in self._omitted}
        for tunnel_id, line, cut in self._lines:
            by_tunnel.setdefault(tunnel_id, []).append((line, cut))
        self._lines.clear()
        omitted, self._omitted = self._omitted, {}
        for tunnel_id, lines in by_tunnel.items():
            for at in range(0, max(len(lines), 1), REQUEST_LINES_MAX):
                count = min(omitted.pop(tunnel_id, 0), _OMITTED_MAX)
                part = lines[at : at + REQUEST_LINES_MAX]
                cuts = [(number, cut) for number, (_, cut) in enumerate(part) if cut]
                self._send(Activity(tunnel=tunnel_id, requests=[line for line, _ in part], missed=count, cuts=cuts))
