"""Begins the capture of a tunnel's streams; does nothing for an agent without a recorder, or for a tunnel that is not inspected."""

from typing import TYPE_CHECKING

from portway.agent.settings import TunnelRequest
from portway.engine.channel import Channel
from portway.errors import PortwayError
from portway.inspector.exchange import TunnelInfo
from portway.protocol.http1.fields import END_OF_HEAD, REQUEST_LIMITS
from portway.session.claims import TunnelClaim

if TYPE_CHECKING:
    from portway.inspector.recorder import Recorder
    from portway.inspector.tap import HttpTap

UNREACHED_STATUS = 502
"""Status of the server's response when the agent cannot connect to the origin."""

AgentClaim = TunnelClaim[TunnelRequest]


def open_tap(recorder: "Recorder | None", claim: AgentClaim, connect_s: float) -> "HttpTap | None":
    """Return a tap for a new stream; None if it is not captured."""
    if recorder is None or claim.subject.kind != "http" or not claim.subject.inspect:
        return None
    return recorder.open_tap(tunnel_info(claim), connect_s)


def record_unreached(recorder: "Recorder | None", claim: AgentClaim, channel: Channel, reason: str) -> None:
    """Record the request that a stream carries, whose origin could not be connected to; `reason` is why."""
    if recorder is None or claim.subject.kind != "http" or not claim.subject.inspect or not channel.can_peek:
        return
    try:
        view = channel.peek()
        if view is None:
            return
        data = bytes(view[: REQUEST_LIMITS.bytes_max])
        channel.consume(0)
    except PortwayError:
        return  # the visitor is gone
    at = data.find(END_OF_HEAD)
    if at > 0:
        recorder.open_tap(tunnel_info(claim), None).fail(data[: at + len(END_OF_HEAD)], UNREACHED_STATUS, reason)


def record_connection(
    recorder: "Recorder | None", claim: AgentClaim, seconds: float, amounts: tuple[int, int], reason: str, client: str
) -> None:
    """Record a connection of a tcp or tls tunnel, which has ended; `amounts` are the bytes from and to the visitor."""
    if recorder is not None and claim.subject.kind != "http" and claim.subject.inspect:
        recorder.connection(tunnel_info(claim), seconds, amounts, reason, client)


def tunnel_info(claim: AgentClaim) -> TunnelInfo:
    """Return what captures say about a tunnel."""
    subject, granted = claim.subject, claim.granted
    url = granted.url if granted is not None else ""
    name = subject.label or (granted.name if granted is not None else "") or (f"port {granted.port}" if granted is not None else "")
    return TunnelInfo(name, url, subject.target.text, claim.subject.kind)
