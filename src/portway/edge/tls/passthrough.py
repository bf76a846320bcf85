"""Visitors of tls tunnels: relayed to their agents as they are, beginning with the bytes of the ClientHello."""

import socket

from portway.edge.lease import Lease
from portway.edge.relaying import RelayEdge, RelayedVisitor, TlsStart, TunnelVisitors
from portway.engine.listener import Address
from portway.protocol.tls_hello import ClientHello

ALPN_BYTES_MAX = 32
"""Longest protocol name that is passed on: it always fits into a preamble. Registered ones have up to 18 bytes."""


class PassthroughEdge:
    """All tls tunnels. They share holds, counts and settings with tcp tunnels."""

    def __init__(self, edge: RelayEdge) -> None:
        """Relay visitors with the means of `edge`."""
        self._edge = edge
        self._tunnels: dict[Lease, _TlsTunnel] = {}
        """Those with visitors."""

    def serve(self, sock: socket.socket, address: Address, lease: Lease, hello: ClientHello, handoffs: int = 0) -> None:
        """Relay a connection, beginning with the bytes of its ClientHello; owns `sock`."""
        tunnel = self._tunnels.get(lease)
        if tunnel is None:
            tunnel = self._tunnels[lease] = _TlsTunnel(self._edge, lease, self._tunnels)
        # Load shedding never closes a tunnel's only visitor here: of one that waits or is quiet, its source has to have several.
        tunnel.serve(sock, address, None, handoffs, TlsStart(hello.server_name or "", first_alpn(hello), hello.wire))
        tunnel.close_if_empty()


class _TlsTunnel(TunnelVisitors):
    """The visitors of one tunnel, as long as there are some."""

    def __init__(self, edge: RelayEdge, lease: Lease, tunnels: "dict[Lease, _TlsTunnel]") -> None:
        super().__init__(edge, lease, f"tls tunnel {lease.address}")
        self._tunnels = tunnels

    def forget(self, visitor: RelayedVisitor) -> None:
        super().forget(visitor)
        self.close_if_empty()

    def close_if_empty(self) -> None:
        """Drop the tunnel after its last visitor."""
        if not self.visitors and self._tunnels.pop(self.lease, None) is not None:
            self.close()


def first_alpn(hello: ClientHello) -> bytes:
    """Return the client's favourite protocol, without placeholders (RFC 8701) and names that are too long; empty if there is none."""
    return next((name for name in hello.alpn if len(name) <= ALPN_BYTES_MAX and not _is_grease(name)), b"")


def _is_grease(name: bytes) -> bool:
    """Return whether this is one of the reserved names 0A 0A, 1A 1A … FA FA."""
    return len(name) == 2 and name[0] == name[1] and name[0] & 0x0F == 0x0A
