"""Hands visitors off between workers: each has an inbox, and a connection to the inbox of every other one."""

import socket
from collections.abc import Callable
from typing import Protocol

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.server.edge.handoff import HandoffState
from portway.server.tunnels.lease import Lease, LeaseKey
from portway.server.workers.ipc import IpcChannel, connection_socket
from portway.server.workers.messages import VisitorHandedOff, decode_handoff, encode
from portway.telemetry.logs import get_log

log = get_log(__name__)


class HttpVisitors(Protocol):
    """Serves HTTP visitors."""

    def accept_handoff(self, sock: socket.socket, state: HandoffState) -> None:
        """Serve a visitor handed off by another worker."""


class TcpVisitors(Protocol):
    """Serves visitors of tcp tunnels."""

    def accept_handoff(self, key: LeaseKey, sock: socket.socket, state: HandoffState) -> bool:
        """Serve a visitor handed off by another worker; return False if the port is not open here."""


class HandoffRouter:
    """Hands visitors off to other workers, and accepts theirs."""

    def __init__(self, reactor: Reactor) -> None:
        """Begin without other workers."""
        self._reactor = reactor
        self._inboxes: dict[int, IpcChannel] = {}
        self._inbox: IpcChannel | None = None

    def open(self, inbox: socket.socket, http: HttpVisitors, tcp: TcpVisitors, sync: Callable[[], None]) -> None:
        """Accept visitors from `inbox`.

        `sync` processes pending supervisor messages: a visitor may arrive before the route update that sent it here. It is called
        before visitors are read, and again for one whose port is unknown.
        """

        def receive(data: memoryview, socks: list[socket.socket]) -> None:
            message = decode_handoff(data)
            state = HandoffState((message.host, message.port), message.buffered, message.handoffs, message.scheme, message.server_name)
            for sock in socks:
                if message.kind == "http":
                    http.accept_handoff(sock, state)
                    continue
                key = LeaseKey("tcp", message.address)
                if tcp.accept_handoff(key, sock, state):
                    continue
                sync()
                if not tcp.accept_handoff(key, sock, state):
                    log.debug("handoff for a port that is not open", port=message.address)
                    SocketChannel(self._reactor, sock).abort()

        self._inbox = IpcChannel(self._reactor, inbox, receive, _nothing, before_read=sync, make_socket=connection_socket)

    def add_worker(self, worker: int, sock: socket.socket) -> None:
        """Add the connection to another worker's inbox."""

        def lost() -> None:
            self._inboxes.pop(worker, None)

        self._inboxes[worker] = IpcChannel(self._reactor, sock, _ignore, lost)

    def remove_worker(self, worker: int) -> None:
        """Remove a worker that has ended."""
        inbox = self._inboxes.pop(worker, None)
        if inbox is not None:
            inbox.close()

    def hand_off(self, lease: Lease, channel: Channel, state: HandoffState) -> bool:
        """Hand a visitor off to the worker that serves its lease (see `edge.handoff.HandOff`)."""
        inbox = self._inboxes.get(lease.remote_worker)
        if inbox is None or not isinstance(channel, SocketChannel):
            return False
        host, port = state.address
        message = VisitorHandedOff(*lease.key, host, port, state.buffered, state.handoffs, state.scheme, state.server_name)
        return channel.detach(lambda sock: inbox.send(encode(message), [sock]))

    def close(self) -> None:
        """Close all connections to other workers, and the inbox."""
        for worker in list(self._inboxes):
            self.remove_worker(worker)
        if self._inbox is not None:
            self._inbox.close()


def _ignore(_data: memoryview, _socks: list[socket.socket]) -> None:
    """Ignored: an inbox sends nothing back."""


def _nothing() -> None:
    """Ignored: without other workers an inbox has no other end."""
