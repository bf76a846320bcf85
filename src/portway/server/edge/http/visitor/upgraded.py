"""A visitor's connection after an upgrade: a WebSocket, mostly."""

from portway.engine.relay import Relay
from portway.server.edge.connection_state import ConnectionState
from portway.server.edge.http.origin.pool import TunnelPool
from portway.server.edge.http.origin.stream import OriginStream
from portway.server.tunnels.lease import Holder


class UpgradedConnection:
    """One relay, with what is told of it and what it may have to give way for."""

    __slots__ = ("_relay", "address", "holder", "relay_id", "tunnel_id")

    def __init__(self, relay: Relay, stream: OriginStream, address: str) -> None:
        """`stream` leads to the origin, `address` is the visitor's numeric host."""
        self._relay = relay
        self.address = address
        self.relay_id = stream.unique_id.hex()
        self.tunnel_id = stream.pool.tunnel_id
        self.holder: Holder | None = stream.pool.holder if isinstance(stream.pool, TunnelPool) else None
        """The session that carries it."""

    def standing(self) -> tuple[ConnectionState, float, int]:
        """Return what it is doing (see `standing.SheddableConnection`)."""
        return ConnectionState.QUIET, self._relay.started_at, self._relay.moved_bytes

    def give_way(self, _standing: ConnectionState) -> None:
        """Break off, as another one needs the place."""
        self._relay.abort("it was quiet, and its place was needed")
