"""Takes the streams of the test that was asked for, and no others."""

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.stream_status import StreamStatus
from portway.session.speed import SPEED_TUNNEL, SpeedRun
from portway.session.stream_handshake import PreambleReader, send_status
from portway.telemetry.logs import get_log

log = get_log(__name__)


class SpeedStreams:
    """Where the streams go that the server opens; `run` is the test under way (see `agent.context.StreamAcceptor`)."""

    def __init__(self, reactor: Reactor) -> None:
        """Expect nothing yet."""
        self.run: SpeedRun | None = None
        self._reactor = reactor

    def accept(self, channel: Channel) -> None:
        """Take a stream: its preamble first."""
        PreambleReader(self._reactor, channel, self._visit, self._bad)

    def claims_answered(self) -> None:
        """Claims are none of a speed test's business."""

    def _visit(self, header: ProxyHeader, channel: Channel) -> None:
        if self.run is None or header.tunnel_id != SPEED_TUNNEL:
            self._bad(f"tunnel {header.tunnel_id} is none of ours")
            send_status(channel, StreamStatus.UNKNOWN_TUNNEL)
        elif send_status(channel, StreamStatus.CONNECTED):
            self.run.add(channel)

    def _bad(self, why: str) -> None:
        log.warning("stream of the server refused", why=why)
