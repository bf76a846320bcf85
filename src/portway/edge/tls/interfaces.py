"""What the TLS port routes connections to."""

import socket
from collections.abc import Callable
from typing import Protocol

from portway.edge.client_certificate import VerifiedClient
from portway.edge.lease import Kind, Lease
from portway.engine.channel import Channel
from portway.engine.listener import Address
from portway.links.source_accounts import SourceAccounts
from portway.protocol.tls_hello import ClientHello


class Routes(Protocol):
    """The leases of this server."""

    def lookup(self, kind: Kind, address: str) -> Lease | None:
        """Return the lease of a public address, None when it is free."""


AgentAcceptor = Callable[[socket.socket, Address, ClientHello], None]
"""Serves a connection whose ClientHello offers the protocol of links, and owns its socket."""


class HttpVisitors(Protocol):
    """Serves visitors of http tunnels."""

    sources: SourceAccounts
    """Accounts of visitors by source."""

    def admits(self, sock: socket.socket, host: str) -> bool:
        """Return whether a visitor from `host` on `sock` is admitted; count it if not."""

    def serve(
        self, channel: Channel, address: Address, scheme: str = "", server_name: str = "", client: VerifiedClient | None = None
    ) -> object:
        """Serve a connection that was decrypted for `server_name`; `client` is the visitor's certificate, if the tunnel asks for one."""


class PassthroughVisitors(Protocol):
    """Serves visitors of tls tunnels."""

    def serve(self, sock: socket.socket, address: Address, lease: Lease, hello: ClientHello, handoffs: int = 0) -> None:
        """Relay a connection, beginning with the bytes of its ClientHello; owns `sock`."""
