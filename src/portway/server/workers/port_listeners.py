"""Listeners of tcp tunnels: opened and owned by the supervisor, and served by one worker each."""

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from portway.edge.lease import Lease, LeaseKey


class PortAssigner(Protocol):
    """Assigns ports to workers."""

    def worker_of(self, lease: Lease) -> int:
        """Return the worker whose session serves a lease; 0 while it is held."""

    def any_worker(self) -> int:
        """Return a worker that accepts visitors, or 0."""

    def assign(self, worker: int, lease: Lease, listener: socket.socket) -> bool:
        """Let a worker accept visitors on a port; return False if it is gone."""

    def unassign(self, worker: int, lease: Lease) -> None:
        """Let it stop accepting; its connected visitors stay."""


@dataclass(slots=True)
class _Port:
    """One open port."""

    lease: Lease
    sock: socket.socket
    worker: int = 0
    """The worker that accepts its visitors; 0: none, they wait in the kernel."""


class PortListeners:
    """Opens and closes public ports (see `server.control.claims.PortOpener`), and assigns each to the worker whose session serves it.

    While the session is offline the port stays assigned, so that visitors are held there; if its worker is gone, it is assigned to
    any other.
    """

    def __init__(self, listen: Callable[[int], socket.socket], assigner: PortAssigner) -> None:
        """`listen` returns a listening socket for a port, or raises OSError."""
        self._listen = listen
        self._assigner = assigner
        self._open: dict[LeaseKey, _Port] = {}

    def __len__(self) -> int:
        return len(self._open)

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port, unless it is open already.

        Raises:
            OSError: the port is in use or not permitted.
        """
        if lease.key not in self._open:
            self._open[lease.key] = _Port(lease, self._listen(int(lease.address)))
        self.place(lease)

    def close(self, lease: Lease) -> None:
        """Close the port here; its worker closes its copy when the lease is removed."""
        port = self._open.pop(lease.key, None)
        if port is not None:
            port.sock.close()

    def place(self, lease: Lease) -> None:
        """Assign a port to the worker of its session."""
        port = self._open.get(lease.key)
        if port is None:
            return
        worker = self._assigner.worker_of(lease) or port.worker or self._assigner.any_worker()
        if worker in (port.worker, 0) or not self._assigner.assign(worker, lease, port.sock):
            return
        before, port.worker = port.worker, worker
        if before:
            self._assigner.unassign(before, lease)

    def on_lost(self, worker: int) -> None:
        """Reassign the ports of a dead worker."""
        for port in self._open.values():
            if port.worker == worker:
                port.worker = 0
        self.place_all()

    def place_all(self) -> None:
        """Assign the ports without a worker."""
        for port in list(self._open.values()):
            if not port.worker:
                self.place(port.lease)

    def close_all(self) -> None:
        """Close every port."""
        for port in self._open.values():
            port.sock.close()
        self._open.clear()
