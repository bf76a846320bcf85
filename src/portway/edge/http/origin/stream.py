"""A stream to a tunnel's origin: it carries one request at a time, and is idle in the tunnel's pool between requests."""

import logging
from typing import Protocol

from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.edge.http.origin.graceful_close import GracefulClose
from portway.edge.http.refusal import Refusal
from portway.engine.channel import Channel, nothing
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel
from portway.mux.mux_channel import MuxChannel
from portway.mux.responsiveness import is_silent
from portway.protocol.stream_status import StreamStatus

log = logging.getLogger("portway.edge")


class StreamUser(Protocol):
    """Receives the events of a stream that carries its request."""

    def on_origin_readable(self) -> None:
        """Called when bytes, the end or a break may have arrived."""

    def on_origin_writable(self) -> None:
        """Called when the stream may accept more."""

    def on_origin_refused(self, status: StreamStatus | Refusal | None) -> None:
        """Called with the reason if there is no connection to the origin; None: the stream broke or the agent stayed silent."""

    def abort(self) -> None:
        """Abort after an unexpected exception."""


class StreamPool(Protocol):
    """The part of a pool that its streams use."""

    tunnel_id: int
    closing: dict[GracefulClose, None]
    """Streams in a graceful close; the owner must abort them if there is no time for it."""

    def forget(self, stream: "OriginStream") -> None:
        """Forget a stream that is closed."""

    def discard(self, stream: "OriginStream") -> None:
        """Called when an idle stream received bytes, ended or broke: it is useless then."""


class OriginStream:
    """A channel to the origin with its reader and writer, and its current user.

    Callbacks are set once and forwarded to the current `user`, so that reuse costs nothing. They are called by the
    link's decoder: an exception must not reach it, as it would end the link and all its streams.
    """

    __slots__ = ("_reactor", "channel", "idle_for_s", "idle_since", "pinned", "pool", "reader", "responded", "unique_id", "user", "writer")

    def __init__(self, pool: StreamPool) -> None:
        """Prepare for `attach`."""
        self.pool = pool
        self.user: StreamUser | None = None
        self.idle_since = 0.0
        self.idle_for_s = 0.0
        """How long it had been idle before its current request."""
        self.responded = False
        """True once the origin has responded on it."""
        self.pinned = False
        """True once it is reserved for one visitor (`pin`)."""
        self.unique_id = b""
        """Random; the agent gets it, too, so that log lines of both ends can be matched. Empty without events."""

    def attach(self, reactor: Reactor, channel: Channel) -> None:
        """Use `channel`, whose reading callbacks belong to its opener until `on_status`."""
        self._reactor = reactor
        self.channel = channel
        self.reader = ChannelReader(channel, reactor.scratch_body)
        self.writer = ChannelWriter(channel)
        channel.on_writable = self._on_writable

    def on_status(self, status: StreamStatus | Refusal | None) -> None:
        """Called with the agent's status, whether the origin is connected; or with the response if this program cannot connect it."""
        user = self.user
        if user is None:
            self.abort()  # the exchange has ended meanwhile
        elif status is StreamStatus.CONNECTED:
            self.channel.on_readable = self._on_readable
            self.channel.on_broken = self._on_readable
            self._on_readable()
        else:
            self._report_refusal(user, status)

    @property
    def link_draining(self) -> bool:
        """True if its link accepts no new streams: it drains, and waits for this one too."""
        return isinstance(self.channel, MuxChannel) and self.channel.mux.yamux.going_away

    @property
    def agent_away(self) -> bool:
        """True if its link is lost or silent: then the agent is the reason for missing bytes, not the origin."""
        return isinstance(self.channel, MuxChannel) and is_silent(self.channel.mux, self._reactor.now)

    def is_idle(self) -> bool:
        """Return whether nothing unexpected has arrived."""
        try:
            return self.reader.is_idle()
        except BrokenChannel:
            return False

    def has_unread(self) -> bool:
        """Return whether unread bytes have arrived, as opposed to an end or a break."""
        try:
            if not self.reader.buffered and self.reader.peek(1) is None:
                return False
        except BrokenChannel:
            return False
        self.reader.consume(0)
        return True

    def close_gracefully(self) -> None:
        """Close with FIN, so that the origin sees a proper end; abort if part of a request was not sent."""
        if self.writer.pending is not None:
            self.abort()
            return
        self._detach()
        GracefulClose(self._reactor, self.reader, self.pool.closing)

    def abort(self) -> None:
        """Reset the stream: the agent resets its connection to the origin."""
        self._detach()
        self.channel.abort()

    def _detach(self) -> None:
        self.user = None
        self.pool.forget(self)
        self.channel.on_readable = self.channel.on_writable = self.channel.on_broken = nothing

    def _on_readable(self) -> None:
        user = self.user
        if user is None:
            self.pool.discard(self)
            return
        try:
            user.on_origin_readable()
        except Exception:
            log.exception("a visitor's exchange failed")
            user.abort()

    def _on_writable(self) -> None:
        user = self.user
        if user is None:
            return
        try:
            user.on_origin_writable()
        except Exception:
            log.exception("a visitor's exchange failed")
            user.abort()

    @staticmethod
    def _report_refusal(user: StreamUser, status: StreamStatus | Refusal | None) -> None:
        try:
            user.on_origin_refused(status)
        except Exception:
            log.exception("a visitor's exchange failed")
            user.abort()
