"""A visitor connection after an upgrade, usually a WebSocket."""

from portway.edge.connection_state import ConnectionState
from portway.edge.http.origin.pool import TunnelPool
from portway.edge.http.origin.stream import OriginStream
from portway.edge.lease import Holder
from portway.engine.relay import Relay


class UpgradedConnection:
    """The relay of an upgraded connection, with what shedding and its final event need."""

    __slots__ = ("_relay", "address", "holder", "relay_id", "scheme", "tunnel_id")

    def __init__(self, relay: Relay, stream: OriginStream, address: str, scheme: str) -> None:
        """`stream` leads to the origin; `address` is the visitor's numeric host, `scheme` that of the upgraded request."""
        self._relay = relay
        self.address = address
        self.scheme = scheme
        self.relay_id = stream.unique_id.hex()
        self.tunnel_id = stream.pool.tunnel_id
        self.holder: Holder | None = stream.pool.holder if isinstance(stream.pool, TunnelPool) else None
        """The session that carries it."""

    def state(self) -> tuple[ConnectionState, float, int]:
        """Return its state (see `SheddableConnection`)."""
        return ConnectionState.QUIET, self._relay.started_at, self._relay.moved_bytes

    def shed(self, _state: ConnectionState) -> None:
        """Break the connection to free capacity."""
        self._relay.abort("closed while idle: its capacity was needed")
