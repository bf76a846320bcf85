"""One agent link, from acceptance until it is lost: a mux, and the control stream that the agent opens on it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from portway.config.values import ListenAddress
from portway.engine.channel import Channel, nothing
from portway.engine.listener import Address
from portway.engine.memory_budget import MemoryBudget
from portway.engine.reactor import Reactor
from portway.engine.tls_channel import TlsChannel
from portway.mux.mux import Mux
from portway.mux.mux_channel import MuxChannel
from portway.mux.settings import MuxSettings
from portway.protocol.yamux.limits import YamuxLimits
from portway.server.control.session import STREAMS_MAX, Session, SessionLink
from portway.session.control_account import ControlAccount
from portway.session.control_stream import ControlStream
from portway.session.login import LOGIN_S_MAX

BYTES_BEFORE_LOGIN = 64 * 1024
"""Bytes read on a link before its login. A Hello and a Proof with their frames take about 600; this is four times the limit of its
messages, so that too long ones get an error. Sent as 5,461 frames without a body, it is 6 ms of work, in turns of a quarter of one,
and only once: more counts as a failed login of its source."""


def link_settings(process_budget: MemoryBudget) -> MuxSettings:
    """Return the mux settings of agents' links; their buffers count in `process_budget`."""
    return MuxSettings(
        limits=YamuxLimits(streams_max=STREAMS_MAX, accepts_max=1, unacknowledged_max=4096),
        process_budget=process_budget,
        bytes_before_login=BYTES_BEFORE_LOGIN,
    )


class LinkHandler(Protocol):
    """Receives the events of an incoming link."""

    def on_control_stream(self, incoming: "IncomingLink", stream: ControlStream) -> None:
        """Called when the agent has opened its control stream."""

    def on_link_lost(self, incoming: "IncomingLink", reason: str) -> None:
        """Called once, when the link is lost."""


def format_peer(address: Address) -> str:
    """Return `host:port` of a peer, for display."""
    host, port = address
    return str(ListenAddress(host.removeprefix("::ffff:") if "." in host else host, port))


@dataclass(slots=True, eq=False)
class UnauthenticatedPeer:
    """State of a link before its login."""

    host: str
    address: str
    """`host:port`, for display."""
    release_slot: Callable[[], None] = nothing
    """Releases its slot of the login throttle."""
    evict: Callable[[], None] = nothing
    """Closes the link, because another source needs its slot."""
    token: str = ""
    """The token of the login under way."""
    refusal: tuple[str, str, str] | None = None
    """Why logins on this link are refused: arguments of RefusedError. (An exception would keep the link alive through its traceback.)"""

    def release(self) -> None:
        """Release the login slot; may be called twice."""
        release_slot, self.release_slot, self.evict = self.release_slot, nothing, nothing
        release_slot()


class IncomingLink:
    """One agent link, from acceptance until it is lost."""

    def __init__(self, handler: LinkHandler, reactor: Reactor, channel: Channel, peer: UnauthenticatedPeer, settings: MuxSettings) -> None:
        """Own `channel`; the agent has to open its control stream within LOGIN_S_MAX."""
        self.peer = peer
        peer.evict = self._evict
        self.session: Session | None = None
        """Set by the login."""
        self.session_link: SessionLink | None = None
        self._handler = handler
        self._channel = channel
        self._reactor = reactor
        self.control_stream_opened = False
        """True once the agent has opened its control stream."""
        self._timer = reactor.call_later(LOGIN_S_MAX, self._on_deadline)
        self.mux = Mux(reactor, channel, client=True, settings=settings, on_stream=self._on_stream, on_lost=self._on_lost)

    def attach(self, session: Session, link: SessionLink) -> None:
        """Make the link, which is up, part of a session."""
        self.peer.release()
        if isinstance(self._channel, TlsChannel):
            link.idle_channel = self._channel
        self.session, self.session_link = session, link
        self.mux.admit(session.account.child())
        session.add_link(link)

    def _on_stream(self, channel: MuxChannel) -> None:
        if self.control_stream_opened:
            channel.abort()  # an agent opens only one stream: its control stream
            return
        self.control_stream_opened = True
        self._timer.cancel()  # the login has its own deadline
        account = channel.buffer_account = ControlAccount()
        self._handler.on_control_stream(self, ControlStream(channel, self._reactor, account))

    def _on_lost(self, reason: str) -> None:
        self._timer.cancel()
        self._handler.on_link_lost(self, reason)

    def _evict(self) -> None:
        self.mux.close("its slot was needed for another source")

    def _on_deadline(self) -> None:
        self.mux.close(f"no control stream within {LOGIN_S_MAX:g} s")
