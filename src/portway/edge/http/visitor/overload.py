"""Sends 503 to visitors above capacity, bounded in number and time; the rest are reset."""

import socket

from portway.edge.admission import reset_socket
from portway.edge.http.visitor.lingering_close import LingeringClose
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.errors import BrokenChannel
from portway.protocol.http1.error_responses import render_error
from portway.protocol.source_key import source_key

_OVERLOADED = render_error("overloaded")


class OverloadResponder:
    """Sends 503 before a request was read, as there is no capacity to wait for it."""

    def __init__(self, reactor: Reactor, responses_max: int, time_s: float) -> None:
        """Send at most `responses_max` at a time, each for at most `time_s` seconds. From half of them on, one source gets at most a
        quarter.
        """
        self._reactor = reactor
        self._responses_max = responses_max
        self._time_s = time_s
        self._in_progress: dict[LingeringClose, None] = {}

    def __len__(self) -> int:
        return len(self._in_progress)

    def respond(self, sock: socket.socket, address: str) -> None:
        """Send 503 to a visitor from `address` and close after it was read; or reset at once."""
        in_progress, most = self._in_progress, self._responses_max
        if len(in_progress) >= most or (2 * len(in_progress) >= most and 4 * self._count_of(address) >= most):
            reset_socket(sock)
            return
        channel = SocketChannel(self._reactor, sock)
        try:
            channel.send(_OVERLOADED)  # fits into the empty buffer of a new socket
        except BrokenChannel:
            channel.abort()
        else:
            LingeringClose(self._reactor, channel, address, self._time_s, self._in_progress, self._time_s)

    def _count_of(self, address: str) -> int:
        """Return the number of responses in progress to the source of `address`."""
        source = source_key(address)
        return sum(source_key(one.address) == source for one in self._in_progress)

    def close(self) -> None:
        """Abort all in progress."""
        for linger in list(self._in_progress):
            linger.abort()
