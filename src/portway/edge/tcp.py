"""Public ports of tcp tunnels: accepts each visitor in the reactor, and relays it to its agent."""

import socket
from collections.abc import Callable

from portway.edge.admission import AdmissionControl, reset_socket
from portway.edge.events import RelayDone
from portway.edge.handoff import HandOff, HandoffState
from portway.edge.lease import Lease, LeaseKey
from portway.edge.proxy_protocol import ProxyProtocolReader
from portway.edge.relaying import RelayEdge, RelaySettings, TunnelVisitors
from portway.engine.listener import Address, Listener
from portway.engine.reactor import Reactor
from portway.protocol.proxy_header import ProxyHeader


class TcpEdge(RelayEdge):
    """All public ports, one for each tcp lease, open for as long as the lease exists (its grace time included)."""

    def __init__(  # noqa: PLR0913 - shared by the edges, or replaced by tests
        self,
        reactor: Reactor,
        listen: Callable[[int], socket.socket],
        random_bytes: Callable[[int], bytes],
        settings: RelaySettings | None = None,
        admission: AdmissionControl | None = None,
        on_relay: Callable[[RelayDone], None] | None = None,
        *,
        hand_off: HandOff | None = None,
        proxy_protocol: ProxyProtocolReader | None = None,
    ) -> None:
        """`listen` returns a listening socket for a port, or raises OSError; see `RelayEdge` for the others.

        `proxy_protocol` reads the PROXY headers of trusted proxies.
        """
        super().__init__(reactor, random_bytes, settings, admission, on_relay, hand_off=hand_off)
        self.proxy_protocol = proxy_protocol
        self._listen = listen
        self._ports: dict[LeaseKey, _Port] = {}

    def open(self, lease: Lease) -> None:
        """Listen on the lease's port, unless it is open already.

        Raises:
            OSError: the port is in use or not permitted.
        """
        port = self._ports.get(lease.key)
        if port is None:
            self._ports[lease.key] = _Port(self, lease, self._listen(int(lease.address)))
        elif not port.listening:
            port.listen(self._listen(port.port))

    def close(self, lease: Lease) -> None:
        """Stop listening on the lease's port and reset waiting visitors; relays continue until their stream ends."""
        port = self._ports.pop(lease.key, None)
        if port is not None:
            port.close()

    def pause(self, lease: Lease) -> None:
        """Stop accepting visitors on the lease's port until it is opened again; connected ones stay."""
        if lease.key in self._ports:
            self._ports[lease.key].pause()

    def accept_handoff(self, key: LeaseKey, sock: socket.socket, state: HandoffState) -> bool:
        """Serve a visitor handed off by another worker; if the port is not open here, return False and leave `sock` to the caller."""
        port = self._ports.get(key)
        if port is not None:
            port.accept(sock, state.address, state.handoffs)
        return port is not None

    def stop_listening(self) -> None:
        """Stop accepting visitors on all ports; connected ones stay."""
        for port in self._ports.values():
            port.pause()


class _Port(TunnelVisitors):
    """One public port."""

    def __init__(self, edge: TcpEdge, lease: Lease, sock: socket.socket) -> None:
        host, port = sock.getsockname()[:2]
        super().__init__(edge, lease, f"tcp port {port}", port)
        self._address: Address | None = None if host in ("0.0.0.0", "::") else (host, port)  # noqa: S104 - compared with, not bound
        self._proxy_protocol = edge.proxy_protocol
        self.listen(sock)

    def listen(self, sock: socket.socket) -> None:
        """Accept visitors on `sock`."""
        self.listening = True
        reader = self._proxy_protocol
        on_accept = self.accept if reader is None else reader.wrap(self._accept_proxied)
        self._listener = Listener(self.edge.reactor, sock, on_accept)

    def pause(self) -> None:
        """Accept no visitors; connected ones stay."""
        self.listening = False
        self._listener.close()

    def close(self) -> None:
        """Accept no visitors, and reset those that wait."""
        self.pause()
        super().close()

    def accept(self, sock: socket.socket, address: Address, handoffs: int = 0) -> None:
        """Serve a visitor, or reset it."""
        self.serve(sock, address, self._address, handoffs)

    def _accept_proxied(self, sock: socket.socket, address: Address, _header: ProxyHeader | None) -> None:
        if self.listening:
            self.accept(sock, address)
        else:
            reset_socket(sock)  # the listener was closed while the header was read
