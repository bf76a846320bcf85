"""Tells an agent what its tunnels served: gathered for a moment, bounded, and never in anybody's way."""

from collections import deque
from collections.abc import Callable

from portway.engine.reactor import Reactor
from portway.protocol.control.messages import REQUEST_LINES_MAX, Activity, RequestLine, request_line

GATHER_S = 0.1
"""Ten messages a second look live on a terminal and cost nothing beside the requests themselves."""

LINES_MAX = 256
"""Request lines of one moment; 2,500 a second are more than anybody reads. The rest is counted."""

_MISSED_MAX = 1_000_000
"""What one message may say (messages.Count)."""


def _tell_nobody(_activity: Activity) -> None:
    """Stand in for a session that is over."""


class ActivityBatch:
    """Gathers finished requests of one session, and sends them every 100 ms while there are any."""

    def __init__(self, reactor: Reactor, tell: Callable[[Activity], None]) -> None:
        """`tell` sends a message or drops it; it must not raise."""
        self._reactor = reactor
        self._tell = tell
        self._lines: deque[tuple[int, RequestLine, str]] = deque()
        self._missed: dict[int, int] = {}
        self._gathering = False

    def record(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Keep a request for the next message, or count it; `cut` says how its answer broke off."""
        if len(self._lines) < LINES_MAX:
            self._lines.append((tunnel_id, request_line(method, path, status, seconds), cut))
        else:
            self._missed[tunnel_id] = self._missed.get(tunnel_id, 0) + 1
        if not self._gathering:
            self._gathering = True
            self._reactor.call_later(GATHER_S, self._flush)

    def close(self) -> None:
        """Drop what is gathered, and let go of whoever it was for."""
        self._lines.clear()
        self._missed.clear()
        self._tell = _tell_nobody

    def _flush(self) -> None:
        self._gathering = False
        by_tunnel: dict[int, list[tuple[RequestLine, str]]] = {tunnel_id: [] for tunnel_id in self._missed}
        for tunnel_id, line, cut in self._lines:
            by_tunnel.setdefault(tunnel_id, []).append((line, cut))
        self._lines.clear()
        missed, self._missed = self._missed, {}
        for tunnel_id, lines in by_tunnel.items():
            for at in range(0, max(len(lines), 1), REQUEST_LINES_MAX):
                left_out = min(missed.pop(tunnel_id, 0), _MISSED_MAX)
                some = lines[at : at + REQUEST_LINES_MAX]
                cuts = [(number, cut) for number, (_, cut) in enumerate(some) if cut]
                self._tell(Activity(tunnel=tunnel_id, requests=[line for line, _ in some], missed=left_out, cuts=cuts))
