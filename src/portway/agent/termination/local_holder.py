"""The agent as the holder of its own tunnel: opens connections to the origin for its HTTP edge."""

from collections.abc import Callable

from portway.agent.events import EventSink, RequestLine
from portway.edge.lease import OnStatus
from portway.engine.channel import Channel
from portway.engine.memory_channel import memory_pair
from portway.engine.reactor import Reactor
from portway.session.stream_handshake import STATUS_S_MAX, StatusWaiter


class LocalHolder:
    """Passes streams to the agent's own origins, as a session passes them to an agent (see `edge.lease.Holder`)."""

    session_id = "local"

    def __init__(self, reactor: Reactor, accept: Callable[[Channel], None], on_event: EventSink) -> None:
        """`accept` takes streams that begin with a preamble."""
        self.account = reactor.authenticated
        self._reactor = reactor
        self._accept = accept
        self._on_event = on_event

    def open(self, _tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        """Open a stream to the origin."""
        near, far = memory_pair(self._reactor)
        near.send(header)
        StatusWaiter(self._reactor, near, on_status, STATUS_S_MAX)
        self._accept(far)
        return near

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        """Emit a request line, as the server does for tunnels that it terminates."""
        self._on_event(RequestLine(method, path, status, seconds, tunnel_id, cut))
