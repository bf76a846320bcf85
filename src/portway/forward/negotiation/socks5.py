"""SOCKS5: greeting, credentials, request."""

from functools import partial

from portway.errors import PeerError
from portway.forward.interfaces import User
from portway.forward.negotiation.interfaces import Client
from portway.forward.outcomes import Failure, Outcome
from portway.forward.targets import target_of
from portway.protocol import socks5

_ESTABLISHED = socks5.encode_reply(socks5.SUCCEEDED)


class Socks5Negotiation:
    """The server's side of SOCKS5 for one client."""

    protocol = "socks5"

    def __init__(self, client: Client) -> None:
        """Await the greeting of `client`."""
        self._client = client
        self._data = b""
        self._step = self._greeting
        self._requested = False
        self._user: User | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._data += data
        try:
            while self._step():
                pass
        except PeerError as exc:
            self._client.refuse(Failure(Outcome.BAD_REQUEST, f"{exc}."))

    def end(self) -> None:
        """Refuse: the request is incomplete."""
        self._client.refuse(Failure(Outcome.BAD_REQUEST, "The connection ended before the request was complete."))

    def established(self) -> bytes:
        """Return the reply of success."""
        return _ESTABLISHED

    def failed(self, failure: Failure) -> bytes:
        """Return the reply of a failure; before the request there is none."""
        return socks5.encode_reply(failure.names.socks5) if self._requested else b""

    def _greeting(self) -> bool:
        found = socks5.parse_greeting(self._data)
        if found is None:
            return False
        methods, size = found
        self._data = self._data[size:]
        wanted = socks5.PASSWORD if self._client.needs_user else socks5.NO_AUTHENTICATION
        if wanted not in methods:
            self._client.reply(socks5.encode_choice(socks5.NO_METHOD))
            outcome = Outcome.AUTH_REQUIRED if self._client.needs_user else Outcome.BAD_REQUEST
            self._client.refuse(Failure(outcome, "The client does not offer the authentication method that this proxy uses."))
            return False
        self._step = self._credentials if wanted == socks5.PASSWORD else self._request
        self._client.reply(socks5.encode_choice(wanted))
        return True

    def _credentials(self) -> bool:
        found = socks5.parse_credentials(self._data)
        if found is None:
            return False
        name, password, size = found
        self._data = self._data[size:]
        self._step = self._nothing
        self._client.authenticate(name, password, self._on_checked)
        return False

    def _on_checked(self, checked: User | Failure) -> None:
        accepted = isinstance(checked, User)
        self._client.reply(socks5.encode_verdict(accepted))
        if isinstance(checked, User):
            self._user = checked
            self._step = self._request
            self.feed(b"")
        else:
            self._client.refuse(checked)

    def _request(self) -> bool:
        found = socks5.parse_request(self._data)
        if found is None:
            return False
        request, size = found
        self._requested = True
        self._step = self._nothing
        if request.command == socks5.UDP_ASSOCIATE:
            self._client.associate(request.port, partial(socks5.encode_reply, socks5.SUCCEEDED), self._user)
        elif request.command != socks5.CONNECT:
            text = f"SOCKS5 command {request.command} is not supported: expected CONNECT or UDP ASSOCIATE."
            self._client.refuse(Failure(Outcome.NOT_ALLOWED, text))
        else:
            self._client.connect(target_of(request.host, request.port), self._data[size:], self._user)
        return False

    def _nothing(self) -> bool:
        return False
