"""SOCKS4 and SOCKS4a: one request, without authentication."""

from portway.errors import PeerError
from portway.forward.negotiation.interfaces import Client
from portway.forward.outcomes import Failure, Outcome
from portway.forward.targets import target_of
from portway.protocol import socks4


class Socks4Negotiation:
    """The server's side of SOCKS4 for one client."""

    protocol = "socks4"

    def __init__(self, client: Client) -> None:
        """Await the request of `client`."""
        self._client = client
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._data += data
        try:
            found = socks4.parse_request(self._data)
            if found is None:
                return
            request, size = found
            if self._client.needs_user:
                text = "SOCKS4 has no passwords, which this proxy requires: use SOCKS5 or HTTP."
                self._client.refuse(Failure(Outcome.AUTH_REQUIRED, text))
            elif request.command != socks4.CONNECT:
                self._client.refuse(Failure(Outcome.NOT_ALLOWED, f"SOCKS4 command {request.command} is not supported: expected CONNECT."))
            else:
                self._client.connect(target_of(request.host, request.port), self._data[size:])
        except PeerError as exc:
            self._client.refuse(Failure(Outcome.BAD_REQUEST, f"{exc}."))

    def end(self) -> None:
        """Refuse: the request is incomplete."""
        self._client.refuse(Failure(Outcome.BAD_REQUEST, "The connection ended before the request was complete."))

    def established(self) -> bytes:
        """Return the reply of success."""
        return socks4.encode_reply(socks4.GRANTED)

    def failed(self, failure: Failure) -> bytes:
        """Return the reply of a failure."""
        return socks4.encode_reply(failure.names.socks4)
