"""The listeners of tcp tunnels: opened by the supervisor, who keeps them, and served by one worker each."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from portway.server.tunnels.lease import Lease, LeaseKey


class PortAssigner(Protocol):
    """What gives workers their ports."""

    def worker_of(self, lease: Lease) -> int:
        """Return the worker whose session serves a lease; 0 while it is held."""

    def any_worker(self) -> int:
        """Return a worker that is there, or 0."""

    def give(self, worker: int, lease: Lease, listener: socket.socket) -> bool:
        """Let a worker take a port's visitors in; False when it is gone."""

    def unassign(self, worker: int, lease: Lease) -> None:
        """Let it do so no more; those that it has stay."""


@dataclass(slots=True)
class _Port:
    """One open port."""

    lease: Lease
    sock: socket.socket
    worker: int = 0
    """Who takes its visitors in; 0: nobody, they wait in the kernel."""


class PortListeners:
    """Opens and closes public ports (see `server.control.claims.PortListeners`), and places each at the worker whose session serves it.

    While the session is away the port stays where it was, so that visitors are held there; one whose worker is gone
    goes to any other.
    """

    def __init__(self, listen: Callable[[int], socket.socket], hands: PortAssigner) -> None:
        """`listen` returns a listening socket for a port, or raises OSError."""
        self._listen = listen
        self._hands = hands
        self._open: dict[LeaseKey, _Port] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port; a port that is open stays so.

        Raises:
            OSError: another program has the port, or it may not be used.
        """
        if lease.key not in self._open:
            self._open[lease.key] = _Port(lease, self._listen(int(lease.address)))
        self.place(lease)

    def close(self, lease: Lease) -> None:
        """Close the port here; its worker closes its copy when it hears that the lease is gone."""
        port = self._open.pop(lease.key, None)
        if port is not None:
            port.sock.close()

    def place(self, lease: Lease) -> None:
        """Move a port to where its session is now."""
        port = self._open.get(lease.key)
        if port is None:
            return
        worker = self._hands.worker_of(lease) or port.worker or self._hands.any_worker()
        if worker in (port.worker, 0) or not self._hands.give(worker, lease, port.sock):
            return
        before, port.worker = port.worker, worker
        if before:
            self._hands.unassign(before, lease)

    def on_lost(self, worker: int) -> None:
        """Find another place for what a dead worker served."""
        for port in self._open.values():
            if port.worker == worker:
                port.worker = 0
        self.place_all()

    def place_all(self) -> None:
        """Place the ports that nobody serves."""
        for port in list(self._open.values()):
            if not port.worker:
                self.place(port.lease)

    def close_all(self) -> None:
        """Close every port."""
        for port in self._open.values():
            port.sock.close()
        self._open.clear()
