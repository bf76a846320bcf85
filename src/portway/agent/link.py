"""The agent's end of one link: a mux, its control stream, and the streams that the server opens on it."""

from portway.agent.context import SessionContext
from portway.agent.link_policy import LinkLoad
from portway.engine.channel import Channel
from portway.engine.tls_channel import TlsChannel
from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.mux.buffer_budget import SessionBufferBudget
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control import codes
from portway.protocol.scram import certificate_binding
from portway.protocol.yamux.window import GrowthBudget
from portway.session.control_stream import ControlStream


class Budgets:
    """The budgets that the links of one session share: growth of windows, and data that slow readers have not consumed."""

    def __init__(self, context: SessionContext) -> None:
        """Create unused budgets."""
        self.growth = GrowthBudget(context.mux.limits.growth_bytes_max)
        self.buffers = SessionBufferBudget(context.mux.buffered_bytes_max, context.mux.process_budget)


class AgentLink:
    """A link from the dial to its end. After the server's Welcome its streams go to the origins."""

    def __init__(self, context: SessionContext, channel: Channel, budgets: Budgets, number: int) -> None:
        """Take over `channel`, and open the control stream as its first frame. Links are numbered from 1 in a session."""
        self.number = number
        self.draining = False
        """True once the server was asked to open no new streams here."""
        self.drained = False
        """True once the server has received that: no further stream can arrive."""
        self.lost_reason = ""
        self._context = context
        self._channel = channel
        self._welcomed = False
        self._pending: list[MuxChannel] = []
        self.mux = Mux(
            context.reactor,
            channel,
            client=False,
            settings=context.mux,
            on_stream=self._accept,
            on_lost=self._on_lost,
            growth=budgets.growth,
            buffers=budgets.buffers,
        )
        self.stream = ControlStream(self.mux.open(), context.reactor)

    @classmethod
    async def dial(cls, context: SessionContext, budgets: Budgets, number: int, hint: str = "") -> "AgentLink":
        """Return a new link to the server, verified and not logged in yet; raises as `links.dial.dial`."""
        channel = await context.path.dial(context.reactor, context.settings, context.tls, context.on_event, hint)
        return cls(context, channel, budgets, number)

    def __repr__(self) -> str:
        return f"<AgentLink {self.number}{' draining' if self.draining else ''} {self.mux!r}>"

    @property
    def binding(self) -> bytes | None:
        """The channel binding of a login on this link, from the server's certificate; None for a plain link."""
        if not isinstance(self._channel, TlsChannel):
            return None
        certificate = self._channel.peer_certificate_der()
        if certificate is None:
            raise RefusedError(codes.WRONG_PIN, "the server presented no certificate", "Check the address in the join string.")
        return certificate_binding(certificate)

    @property
    def visitors(self) -> int:
        """Number of open streams that the server has opened here."""
        return self.mux.streams_open - (not self.stream.lost)

    @property
    def load(self) -> LinkLoad:
        """The link's load, for the policy."""
        return LinkLoad(self.number, self.mux.bytes_in + self.mux.bytes_out, self.visitors, self.mux.yamux.expiring)

    def on_welcome(self) -> None:
        """Accept streams from now on, including those that arrived together with the Welcome."""
        self._welcomed = True
        pending, self._pending = self._pending, []
        for channel in pending:
            self._context.origins.accept(channel)

    def drain(self) -> None:
        """Ask the server to open no new streams here. Those that it opens before it receives this are served."""
        self.draining = True
        self.mux.yamux.drain()
        self.mux.ping(self._on_drain_pong)  # frames are processed in order: no stream can follow the pong

    def with_link_reason(self, error: PortwayError, reason: str = "") -> PortwayError:
        """Return `error` with the link's own reason, which is more precise than that of its control stream."""
        match error:
            case UnavailableError():
                return UnavailableError(self._with_hint(reason or self.lost_reason or str(error)))
            case PeerError():
                return PeerError(self._with_hint(str(error)))
        return error

    def close(self, reason: str) -> None:
        """Close the link; may be called twice."""
        self.mux.close(reason)
        self.stream.close()

    def _with_hint(self, reason: str) -> str:
        """Return `reason` with a hint if the peer never answered a ping, and may not be a Portway server."""
        if self.mux.rtt_s is None:
            return f"{reason}. The peer may not be a Portway server, or one of the two ends may lack --plaintext-links"
        return reason

    def _accept(self, channel: MuxChannel) -> None:
        """Accept a stream that the server opened, but not before its Welcome.

        On a further link, streams may arrive together with the Welcome, which a coroutine handles a moment later: they wait
        until then. On the first link no tunnel is exported before.
        """
        if self._welcomed:
            self._context.origins.accept(channel)
        elif self.number > 1:
            self._pending.append(channel)
        else:
            channel.abort()

    def _on_drain_pong(self, _round_trip_s: float) -> None:
        self.drained = True

    def _on_lost(self, reason: str) -> None:
        self.lost_reason = self.lost_reason or reason
