"""What a protocol needs from a client's connection, and the other way round."""

from collections.abc import Callable
from typing import Protocol

from portway.forward.interfaces import Target, User
from portway.forward.outcomes import Failure


class Client(Protocol):
    """A client's connection during the negotiation."""

    @property
    def needs_user(self) -> bool:
        """Whether the client must authenticate."""

    def reply(self, data: bytes) -> None:
        """Send bytes of the protocol; call nothing else afterwards if the connection broke (`closed`)."""

    def authenticate(self, name: str, password: bytes, on_checked: Callable[[User | Failure], None]) -> None:
        """Check a password; `on_checked` is not called if the client leaves meanwhile."""

    def connect(self, target: Target, early: bytes, user: User | None = None) -> None:
        """Connect to the target; `early` is what the client sent behind its request."""

    def associate(self, port: int, reply: Callable[[str, int], bytes], user: User | None = None) -> None:
        """Relay datagrams for the client (SOCKS5's UDP ASSOCIATE), which sends them from `port`, or from any if that is 0.

        `reply` returns what the client gets: the address and port that it may send to.
        """

    def refuse(self, failure: Failure) -> None:
        """Send the failure in the protocol's form, and close."""


class Negotiation(Protocol):
    """One protocol, for one connection. Takes bytes until it calls `connect` or `refuse` of the client."""

    protocol: str
    """Name in logs: `http`, `socks5`, `socks4`."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the client."""

    def end(self) -> None:
        """Take the end of the client's bytes: no request is complete any more."""

    def established(self) -> bytes:
        """Return what the client gets before the target's bytes."""

    def failed(self, failure: Failure) -> bytes:
        """Return what the client gets instead of a connection."""
