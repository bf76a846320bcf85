"""Tells visitors for whom there is no place that there is none, as long as even that is affordable."""

import socket

from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel
from portway.protocol.http1.error_responses import render_error
from portway.protocol.source_key import source_key
from portway.server.edge.admission import reset_socket
from portway.server.edge.http.visitor.lingering_close import LingeringClose

_NO_PLACE = render_error("overloaded")


class OverloadResponder:
    """Answers 503 before any request was read: there is no room to wait for it. Bounded in number and time."""

    def __init__(self, reactor: Reactor, at_a_time_max: int, patience_s: float) -> None:
        """Tell `at_a_time_max` visitors at a time, for `patience_s` seconds at most; others are reset. Once half of them are under way,
        one source gets a quarter at most.
        """
        self._reactor = reactor
        self._at_a_time_max = at_a_time_max
        self._patience_s = patience_s
        self._under_way: dict[LingeringClose, None] = {}

    def __len__(self) -> int:
        return len(self._under_way)

    def say(self, sock: socket.socket, address: str) -> None:
        """Answer a visitor from `address`, and close once he has read it; or reset at once."""
        under_way, most = self._under_way, self._at_a_time_max
        if len(under_way) >= most or (2 * len(under_way) >= most and 4 * self._told_to(address) >= most):
            reset_socket(sock)
            return
        channel = SocketChannel(self._reactor, sock)
        try:
            channel.send(_NO_PLACE)  # into the empty buffer of a new socket: it takes the whole
        except BrokenChannel:
            channel.abort()
        else:
            LingeringClose(self._reactor, channel, address, self._patience_s, self._under_way, self._patience_s)

    def _told_to(self, address: str) -> int:
        """Return to how many visitors from the source of `address` this is being told."""
        source = source_key(address)
        return sum(source_key(one.address) == source for one in self._under_way)

    def close(self) -> None:
        """Break off those under way."""
        for linger in list(self._under_way):
            linger.abort()
