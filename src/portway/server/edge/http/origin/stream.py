"""A stream to a tunnel's origin: one request at a time is on it, and between requests it rests in the tunnel's pool."""

import logging
from typing import Protocol

from portway.engine.channel import Channel, nothing
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel
from portway.mux.mux_channel import MuxChannel
from portway.mux.silence import is_silent
from portway.protocol.stream_status import StreamStatus
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter
from portway.server.edge.http.origin.graceful_close import GracefulClose

log = logging.getLogger("portway.edge")


class StreamUser(Protocol):
    """What a stream tells whoever has a request on it."""

    def origin_readable(self) -> None:
        """Hear that bytes, the end or a break may be there."""

    def origin_writable(self) -> None:
        """Hear that there may be room again."""

    def origin_refused(self, status: StreamStatus | None) -> None:
        """Hear why there is no connection to the origin; None: the stream broke or the agent stayed silent."""

    def abort(self) -> None:
        """Break off, because something failed that never should."""


class StreamPool(Protocol):
    """What a stream needs of the pool that it rests in."""

    tunnel_id: int
    farewells: dict[GracefulClose, None]
    """Streams that are ending; somebody must break them off when there is no time for it."""

    def gone(self, stream: "OriginStream") -> None:
        """Forget a stream that is over."""

    def discard(self, stream: "OriginStream") -> None:
        """Hear that an idle stream got bytes, ended or broke: whatever it is, it is no use any more."""


class OriginStream:
    """A channel to the origin with both its ends, and whom to tell.

    Callbacks are set once and go to the `user` of the moment, so that reuse costs nothing. They come from within the
    link's decoder: an exception must not get there, as it would end the link and with it everybody else's streams.
    """

    __slots__ = ("_reactor", "answered", "channel", "idle_since", "inlet", "outlet", "pinned", "pool", "rested_s", "unique_id", "user")

    def __init__(self, pool: StreamPool) -> None:
        """Stand ready for `attach`."""
        self.pool = pool
        self.user: StreamUser | None = None
        self.idle_since = 0.0
        self.rested_s = 0.0
        """How long it was idle before the request that it carries."""
        self.answered = False
        """True once the origin has answered on it."""
        self.pinned = False
        """True once it serves one visitor and no other (`pin`)."""
        self.unique_id = b""
        """Random; the agent hears it, too, so that the lines of both ends can be told together. Empty where nobody is told."""

    def attach(self, reactor: Reactor, channel: Channel) -> None:
        """Take `channel`, whose reading callbacks stay with whoever opens it until `on_status`."""
        self._reactor = reactor
        self.channel = channel
        self.inlet = ChannelReader(channel, reactor.scratch_body)
        self.outlet = ChannelWriter(channel)
        channel.on_writable = self._on_writable

    def on_status(self, status: StreamStatus | None) -> None:
        """Hear from the agent whether the origin is connected."""
        user = self.user
        if user is None:
            self.abort()  # given up meanwhile
        elif status is StreamStatus.CONNECTED:
            self.channel.on_readable = self._on_readable
            self.channel.on_broken = self._on_readable
            self._on_readable()
        else:
            self._guarded_refusal(user, status)

    @property
    def leaving(self) -> bool:
        """True when its link takes no new streams any more: it drains, and waits for this one too."""
        return isinstance(self.channel, MuxChannel) and self.channel.mux.yamux.going_away

    @property
    def agent_away(self) -> bool:
        """True when its link is lost or silent: not the origin is to blame when nothing comes, its agent is away."""
        return isinstance(self.channel, MuxChannel) and is_silent(self.channel.mux, self._reactor.now)

    def is_dry(self) -> bool:
        """Return whether nothing has come that nobody asked for."""
        try:
            return self.inlet.dry()
        except BrokenChannel:
            return False

    def has_bytes(self) -> bool:
        """Return whether bytes have come that nobody has read, as opposed to an end or a break."""
        try:
            if not self.inlet.held and self.inlet.view(1) is None:
                return False
        except BrokenChannel:
            return False
        self.inlet.used(0)
        return True

    def leave(self) -> None:
        """End properly, which the origin sees as an end and not as a break; break off where part of a request was not sent."""
        if self.outlet.rest is not None:
            self.abort()
            return
        self._forget()
        GracefulClose(self._reactor, self.inlet, self.pool.farewells)

    def abort(self) -> None:
        """Break off: the agent resets its connection to the origin."""
        self._forget()
        self.channel.abort()

    def _forget(self) -> None:
        self.user = None
        self.pool.gone(self)
        self.channel.on_readable = self.channel.on_writable = self.channel.on_broken = nothing

    def _on_readable(self) -> None:
        user = self.user
        if user is None:
            self.pool.discard(self)
            return
        try:
            user.origin_readable()
        except Exception:
            log.exception("a visitor's exchange failed")
            user.abort()

    def _on_writable(self) -> None:
        user = self.user
        if user is None:
            return
        try:
            user.origin_writable()
        except Exception:
            log.exception("a visitor's exchange failed")
            user.abort()

    @staticmethod
    def _guarded_refusal(user: StreamUser, status: StreamStatus | None) -> None:
        try:
            user.origin_refused(status)
        except Exception:
            log.exception("a visitor's exchange failed")
            user.abort()
