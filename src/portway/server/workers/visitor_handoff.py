"""Hands visitors off between workers: each has an inbox, and a connection to the inbox of every other one."""

import socket
from collections.abc import Callable
from typing import Literal, Protocol

from portway.edge.handoff import HandoffState
from portway.edge.lease import Lease, LeaseKey
from portway.engine.channel import Channel
from portway.engine.listener import Address
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
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


class TlsVisitors(Protocol):
    """Serves visitors of the TLS port."""

    def accept_handoff(self, sock: socket.socket, state: HandoffState) -> None:
        """Serve a visitor handed off by another worker, after its ClientHello."""


class Links(Protocol):
    """Serves agents' links."""

    def take(self, sock: socket.socket, address: Address, received: bytes) -> None:
        """Serve a link from which `received` was read already."""


class Receivers(Protocol):
    """Serves what arrives from other workers; a process's `ServerCore`."""

    @property
    def http(self) -> HttpVisitors:
        """Visitors of http tunnels."""

    @property
    def tcp(self) -> TcpVisitors:
        """Visitors of tcp tunnels."""

    @property
    def tls(self) -> TlsVisitors:
        """Visitors of the TLS port."""

    @property
    def links(self) -> Links:
        """Agents' links."""


class HandoffRouter:
    """Hands visitors off to other workers, and accepts theirs."""

    def __init__(self, reactor: Reactor) -> None:
        """Begin without other workers."""
        self._reactor = reactor
        self._inboxes: dict[int, IpcChannel] = {}
        self._inbox: IpcChannel | None = None

    def open(self, inbox: socket.socket, receivers: Receivers, sync: Callable[[], None]) -> None:
        """Accept visitors and links from `inbox`.

        `sync` processes pending supervisor messages: a visitor may arrive before the route update that sent it here. It is called
        before visitors are read, and again for one whose port is unknown.
        """

        def receive(data: memoryview, socks: list[socket.socket]) -> None:
            message = decode_handoff(data)
            state = HandoffState(
                (message.host, message.port),
                message.buffered,
                message.handoffs,
                message.scheme,
                tls=message.kind == "tls",
            )
            for sock in socks:
                match message.kind:
                    case "http":
                        receivers.http.accept_handoff(sock, state)
                    case "tls":
                        receivers.tls.accept_handoff(sock, state)
                    case "link":
                        receivers.links.take(sock, state.address, state.buffered)
                    case "tcp":
                        receive_tcp(LeaseKey("tcp", message.address), sock, state)

        def receive_tcp(key: LeaseKey, sock: socket.socket, state: HandoffState) -> None:
            if receivers.tcp.accept_handoff(key, sock, state):
                return
            sync()
            if not receivers.tcp.accept_handoff(key, sock, state):
                log.debug("handoff for a port that is not open", port=key.address)
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
        kind: Literal["http", "tcp", "tls"] = "tls" if state.tls else lease.key.kind
        message = VisitorHandedOff(kind, lease.address, host, port, state.buffered, state.handoffs, state.scheme)
        return channel.detach(lambda sock: inbox.send(encode(message), [sock]))

    def hand_off_agent(self, worker: int, sock: socket.socket, address: Address, received: bytes) -> bool:
        """Hand a link off to the worker that has its session (see `edge.handoff.HandOffAgent`)."""
        inbox = self._inboxes.get(worker)
        if inbox is None:
            return False
        channel = SocketChannel(self._reactor, sock)  # takes the socket out of this process's poller
        message = encode(VisitorHandedOff("link", "", *address, received, 0))
        if channel.detach(lambda _sock: inbox.send(message, [sock])):
            return True
        channel.detach(lambda _sock: True)
        return False

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
