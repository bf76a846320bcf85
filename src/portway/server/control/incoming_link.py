"""One link of an agent: a mux, and the one control stream that the agent opens on it."""

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
"""What is read on a link before its login, where a Hello and a Proof with their frames are about 600 bytes, and four times what its
messages may be (which is told to it). As 5,461 frames without a body it is 6 ms of work in turns of a quarter of one, and that only
once: more counts as a failed login of its source."""


def link_settings(process_budget: MemoryBudget) -> MuxSettings:
    """Return how agents' links behave; what their readers keep comes out of `process_budget`."""
    return MuxSettings(
        limits=YamuxLimits(streams_max=STREAMS_MAX, accepts_max=1, unacknowledged_max=4096),
        process_budget=process_budget,
        bytes_before_login=BYTES_BEFORE_LOGIN,
    )


class LinkHandler(Protocol):
    """Whom a guest tells what happens on its link."""

    def on_control_stream(self, guest: "IncomingLink", stream: ControlStream) -> None:
        """Hear that the control stream is there."""

    def on_link_lost(self, guest: "IncomingLink", reason: str) -> None:
        """Hear, once, that the link is gone."""


def format_peer(address: Address) -> str:
    """Return `host:port` of a peer, for people."""
    host, port = address
    return str(ListenAddress(host.removeprefix("::ffff:") if "." in host else host, port))


@dataclass(slots=True, eq=False)
class UnauthenticatedPeer:
    """What is known of a link before anybody has logged in on it."""

    host: str
    peer: str
    """`host:port`, for people."""
    leave: Callable[[], None] = nothing
    """Gives its place at the gate back."""
    give_way: Callable[[], None] = nothing
    """Ends the link, because another source needs the place."""
    token: str = ""
    """The token that it tries to log in with."""
    refusal: tuple[str, str, str] | None = None
    """Why nobody may log in on this link, as RefusedError takes it; it is still told. (An error would keep the link by its traceback.)"""

    def depart(self) -> None:
        """Be no stranger any more; may be called twice."""
        leave, self.leave, self.give_way = self.leave, nothing, nothing
        leave()


class IncomingLink:
    """Whoever is on one link, from the handshake until the link is gone."""

    def __init__(self, door: LinkHandler, reactor: Reactor, channel: Channel, stranger: UnauthenticatedPeer, settings: MuxSettings) -> None:
        """Take over `channel`; its control stream has to come within the time for the whole login."""
        self.stranger = stranger
        stranger.give_way = self._give_way
        self.session: Session | None = None
        """What it logged in for."""
        self.link: SessionLink | None = None
        self._door = door
        self._channel = channel
        self._reactor = reactor
        self.spoke = False
        """True once it has opened its control stream."""
        self._timer = reactor.call_later(LOGIN_S_MAX, self._too_late)
        self.mux = Mux(reactor, channel, client=True, settings=settings, on_stream=self._on_stream, on_lost=self._on_lost)

    def join(self, session: Session, link: SessionLink) -> None:
        """Belong to a session from now on. The link is live."""
        self.stranger.depart()
        if isinstance(self._channel, TlsChannel):
            link.narrow = self._channel
        self.session, self.link = session, link
        self.mux.admit(session.account.child())
        session.add_link(link)

    def _on_stream(self, channel: MuxChannel) -> None:
        if self.spoke:
            channel.abort()  # an agent opens one stream, ever: its control stream
            return
        self.spoke = True
        self._timer.cancel()  # the login itself has a deadline of its own
        account = channel.buffer_account = ControlAccount()
        self._door.on_control_stream(self, ControlStream(channel, self._reactor, account))

    def _on_lost(self, reason: str) -> None:
        self._timer.cancel()
        self._door.on_link_lost(self, reason)

    def _give_way(self) -> None:
        self.mux.close("its place was needed for another source")

    def _too_late(self) -> None:
        self.mux.close(f"no control stream within {LOGIN_S_MAX:g} s")
