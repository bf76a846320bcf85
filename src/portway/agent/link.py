"""One link of a session, the agent's end: a mux, its control stream, and the streams that the server opens on it."""

from portway.agent.context import SessionContext
from portway.agent.link_policy import LinkLoad
from portway.engine.channel import Channel
from portway.engine.tls_channel import TlsChannel
from portway.errors import PeerError, PortwayError, RefusedError, UnavailableError
from portway.links.dial import dial
from portway.mux.buffer_budget import SessionBufferBudget
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.protocol.control import codes
from portway.protocol.scram import certificate_binding
from portway.protocol.yamux.window import GrowthBudget
from portway.session.control_stream import ControlStream


class Budgets:
    """What the links of one session share: growth of windows, and what slow readers keep in memory."""

    def __init__(self, needs: SessionContext) -> None:
        """Start with nothing spent."""
        self.growth = GrowthBudget(needs.mux.limits.growth_bytes_max)
        self.buffers = SessionBufferBudget(needs.mux.buffered_bytes_max, needs.mux.process_budget)


class AgentLink:
    """A link from the dial to its end. Its streams go to the origins, once the server has welcomed it."""

    def __init__(self, needs: SessionContext, channel: Channel, budgets: Budgets, number: int) -> None:
        """Take over `channel`, and open the control stream as its first frame. Links are numbered from 1 in a session."""
        self.number = number
        self.draining = False
        """True once the server was asked for no new visitors here."""
        self.drained = False
        """True once it has heard so: no visitor is on his way any more."""
        self.lost_because = ""
        self._needs = needs
        self._channel = channel
        self._welcomed = False
        self._early: list[MuxChannel] = []
        self.mux = Mux(
            needs.reactor,
            channel,
            client=False,
            settings=needs.mux,
            on_stream=self._accept,
            on_lost=self._note_loss,
            growth=budgets.growth,
            buffers=budgets.buffers,
        )
        self.stream = ControlStream(self.mux.open(), needs.reactor)

    @classmethod
    async def dial(cls, needs: SessionContext, budgets: Budgets, number: int, hint: str = "") -> "AgentLink":
        """Return a new link to the server, verified and not yet logged in; raises as `links.dial.dial`."""
        join = needs.settings.join
        return cls(needs, await dial(needs.reactor, join.host, join.port, needs.tls, hint=hint), budgets, number)

    def __repr__(self) -> str:
        return f"<AgentLink {self.number}{' draining' if self.draining else ''} {self.mux!r}>"

    @property
    def binding(self) -> bytes | None:
        """What a login here is bound to: the certificate that the link was encrypted with; None for a plain link."""
        if not isinstance(self._channel, TlsChannel):
            return None
        certificate = self._channel.peer_certificate_der()
        if certificate is None:
            raise RefusedError(codes.WRONG_PIN, "the server showed no certificate", "Check the address in the join string.")
        return certificate_binding(certificate)

    @property
    def visitors(self) -> int:
        """Streams that the server has opened here and that are not over."""
        return self.mux.streams_open - (not self.stream.lost)

    @property
    def load(self) -> LinkLoad:
        """What the link carries, for the policy."""
        return LinkLoad(self.number, self.mux.bytes_in + self.mux.bytes_out, self.visitors, self.mux.yamux.expiring)

    def welcomed(self) -> None:
        """Take streams from now on, those included that came right behind the Welcome."""
        self._welcomed = True
        early, self._early = self._early, []
        for channel in early:
            self._needs.origins.accept(channel)

    def drain(self) -> None:
        """Ask the server for no new visitors here. Those that it sent before it heard so are served."""
        self.draining = True
        self.mux.yamux.drain()
        self.mux.ping(self._note_drained)  # it answers in order: what comes before its pong was all

    def explained(self, error: PortwayError, reason: str = "") -> PortwayError:
        """Return `error` with the link's own reason, which says more than what its control stream has seen of it."""
        match error:
            case UnavailableError():
                return UnavailableError(self._hinted(reason or self.lost_because or str(error)))
            case PeerError():
                return PeerError(self._hinted(str(error)))
        return error

    def close(self, reason: str) -> None:
        """End it; may be called twice."""
        self.mux.close(reason)
        self.stream.close()

    def _hinted(self, reason: str) -> str:
        """Return a reason for a person: an end that never answered a ping may be no Portway server at all."""
        if self.mux.rtt_s is None:
            return f"{reason}. What answers there may be no Portway server, or have links of another kind (--plaintext-links)"
        return reason

    def _accept(self, channel: MuxChannel) -> None:
        """Take a stream that the server opened; before its Welcome, nothing happens on a link.

        On a further link visitors may come right behind the Welcome, which a coroutine hears a moment later: they wait
        for it. On the first one nothing is exported yet.
        """
        if self._welcomed:
            self._needs.origins.accept(channel)
        elif self.number > 1:
            self._early.append(channel)
        else:
            channel.abort()

    def _note_drained(self, _round_trip_s: float) -> None:
        self.drained = True

    def _note_loss(self, reason: str) -> None:
        self.lost_because = self.lost_because or reason
