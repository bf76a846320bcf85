"""Visitors between workers: each has an inbox, and a way into the inbox of every other one."""

import socket
from collections.abc import Callable
from typing import Protocol

from portway.engine.channel import Channel
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import SocketChannel
from portway.server.edge.handoff import HandoffState
from portway.server.tunnels.lease import Lease, LeaseKey
from portway.server.workers.ipc import IpcChannel, connection
from portway.server.workers.messages import VisitorHandedOff, encode, for_inbox
from portway.telemetry.logs import get_log

log = get_log(__name__)


class HttpVisitors(Protocol):
    """Who serves visitors over HTTP."""

    def take(self, sock: socket.socket, journey: HandoffState) -> None:
        """Serve a visitor whom another worker passed on."""


class TcpVisitors(Protocol):
    """Who serves visitors of tcp tunnels."""

    def take(self, key: LeaseKey, sock: socket.socket, journey: HandoffState) -> bool:
        """Serve a visitor whom another worker passed on; False when the port is not open here."""


class HandoffRouter:
    """Passes visitors on to other workers, and takes in whom they pass."""

    def __init__(self, reactor: Reactor) -> None:
        """Know nobody yet."""
        self._reactor = reactor
        self._ways: dict[int, IpcChannel] = {}
        self._inbox: IpcChannel | None = None

    def open(self, inbox: socket.socket, http: HttpVisitors, tcp: TcpVisitors, first: Callable[[], None]) -> None:
        """Take in who comes through `inbox`.

        `first` has to take in what the supervisor said before, on another way, as that may be why he comes. It is called before
        some are taken in, and again for one whose port is not known.
        """

        def take(data: memoryview, socks: list[socket.socket]) -> None:
            passed = for_inbox(data)
            journey = HandoffState((passed.host, passed.port), passed.read, passed.hops, passed.scheme)
            for sock in socks:
                if passed.kind == "http":
                    http.take(sock, journey)
                    continue
                key = LeaseKey("tcp", passed.address)
                if tcp.take(key, sock, journey):
                    continue
                first()
                if not tcp.take(key, sock, journey):
                    log.debug("a visitor came for a port that is not open here", port=passed.address)
                    SocketChannel(self._reactor, sock).abort()

        self._inbox = IpcChannel(self._reactor, inbox, take, _nothing, before=first, make_socket=connection)

    def meet(self, worker: int, way: socket.socket) -> None:
        """Know the way to another worker."""

        def lost() -> None:
            self._ways.pop(worker, None)

        self._ways[worker] = IpcChannel(self._reactor, way, _ignore, lost)

    def part(self, worker: int) -> None:
        """Forget a worker that is gone."""
        way = self._ways.pop(worker, None)
        if way is not None:
            way.close()

    def hand_off(self, lease: Lease, channel: Channel, journey: HandoffState) -> bool:
        """Pass a visitor on to the worker that serves his lease (see `edge.passing.HandOff`)."""
        way = self._ways.get(lease.remote_worker)
        if way is None or not isinstance(channel, SocketChannel):
            return False
        host, port = journey.address
        message = encode(VisitorHandedOff(lease.key.kind, lease.address, host, port, journey.read, journey.hops, journey.scheme))
        return channel.detach(lambda sock: way.send(message, [sock]))

    def close(self) -> None:
        """Pass nobody on and take nobody in any more."""
        for worker in list(self._ways):
            self.part(worker)
        if self._inbox is not None:
            self._inbox.close()


def _ignore(_data: memoryview, _socks: list[socket.socket]) -> None:
    """Take no notice: nobody speaks out of an inbox."""


def _nothing() -> None:
    """Take no notice: without other workers an inbox has no other end."""
