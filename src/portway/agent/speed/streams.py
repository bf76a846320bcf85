"""Accepts the streams of the requested test, and no others."""

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.protocol.proxy_header import ProxyHeader
from portway.protocol.stream_status import StreamStatus
from portway.session.speed import SPEED_TUNNEL, SpeedRun
from portway.session.stream_handshake import PreambleReader, send_status
from portway.telemetry.logs import get_log

log = get_log(__name__)


class SpeedStreams:
    """Accepts the streams that the server opens for the current test `run` (see `agent.context.StreamAcceptor`)."""

    def __init__(self, reactor: Reactor) -> None:
        """Start without a test."""
        self.run: SpeedRun | None = None
        self._reactor = reactor

    def accept(self, channel: Channel) -> None:
        """Accept a stream, which begins with a preamble."""
        PreambleReader(self._reactor, channel, self._on_preamble, self._on_bad_stream)

    def on_claim_reply(self) -> None:
        """Do nothing: a speed test has no claims."""

    def _on_preamble(self, header: ProxyHeader, channel: Channel) -> None:
        if self.run is None or header.tunnel_id != SPEED_TUNNEL:
            self._on_bad_stream(f"unknown tunnel {header.tunnel_id}")
            send_status(channel, StreamStatus.UNKNOWN_TUNNEL)
        elif send_status(channel, StreamStatus.CONNECTED):
            self.run.add(channel)

    def _on_bad_stream(self, reason: str) -> None:
        log.warning("stream refused", reason=reason)
