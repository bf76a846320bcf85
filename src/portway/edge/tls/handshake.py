"""One connection to the TLS port, from accept to the end of its handshake, under one deadline."""

import socket
import ssl
from typing import TYPE_CHECKING

from portway.edge.client_certificate import VerifiedClient
from portway.edge.tls.hello_reading import HelloReading
from portway.edge.tls.refusals import refuse
from portway.engine.listener import Address
from portway.engine.socket_channel import RESET_ON_CLOSE, set_close_mode
from portway.engine.timers import Timer
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel
from portway.protocol.source_key import source_key
from portway.protocol.tls_alert import Alert, HelloError
from portway.protocol.tls_hello import ClientHello
from portway.telemetry.logs import get_log

if TYPE_CHECKING:
    from portway.edge.tls.port import TlsPort

CERTIFICATE_POLL_S = 0.1
"""Interval of looking for a certificate that is being ordered; an order takes 2 to 20 s."""

log = get_log(__name__)


class VisitorHandshake:
    """A connection before the end of its TLS handshake; OpenSSL objects exist only from `begin` on."""

    __slots__ = (
        "_challenge",
        "_channel",
        "_client_ca",
        "_port",
        "_reading",
        "_released",
        "_server_name",
        "_timer",
        "address",
        "handoffs",
        "sock",
        "source",
        "waiting",
    )

    def __init__(self, port: "TlsPort", sock: socket.socket, address: Address) -> None:
        """Own `sock` until `release`."""
        self.sock = sock
        self.address = address
        self.source = source_key(address[0])
        self.handoffs = 0
        """Handoffs between workers so far."""
        self.waiting = False
        """Whether it waits for a certificate."""
        self._port = port
        self._reading: HelloReading | None = None
        self._channel: TlsChannel | None = None
        self._timer: Timer | None = None
        self._server_name = ""
        self._challenge = False
        self._client_ca = ""
        self._released = False

    def start(self) -> None:
        """Start the deadline."""
        self._timer = self._port.reactor.call_later(self._port.limits.seconds_max, self._expire)

    def read_hello(self) -> None:
        """Read the ClientHello, and let the port route the connection by it."""
        port = self._port
        self._reading = HelloReading(port.reactor, self.sock, port.accounts.of(self.address[0]), self._on_hello, self._on_bad_hello)

    def wait_for_certificate(self, hello: ClientHello) -> None:
        """Route again soon: the certificate for its name is being ordered. The deadline and the slot of the handshake apply."""
        self.waiting = True
        self._port.reactor.call_later(CERTIFICATE_POLL_S, lambda: self._route_again(hello))

    def refuse(self, error: HelloError) -> None:
        """Close the connection for `error`, with its alert."""
        if not self._released:
            log.debug("connection refused", peer=self.address[0], reason=error)
            refuse(self._port.reactor, self.release(), error)

    def _route_again(self, hello: ClientHello) -> None:
        if self._released:
            return
        if self._peer_left():
            self.fail("the connection ended while it waited for a certificate")
        else:
            self._port.route(self, hello)

    def _peer_left(self) -> bool:
        """Return whether the visitor ended the connection: nothing else reads the socket during the wait."""
        try:
            return not self.sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def begin(self, context: ssl.SSLContext, received: bytes, server_name: str, *, challenge: bool = False, client_ca: str = "") -> None:
        """Start the handshake for `server_name`. A connection of a CA that validates the name (`challenge`) ends after it.

        With `client_ca`, `context` requires a certificate that one of these CAs has signed.
        """
        port, self.waiting = self._port, False
        self._server_name, self._challenge, self._client_ca = server_name, challenge, client_ca
        channel = self._channel = TlsChannel(port.reactor, self.sock, context, server_side=True, received=received, in_slices=True)
        channel.account = port.accounts.of(self.address[0])
        channel.handshake(self._on_handshake)

    def release(self) -> socket.socket:
        """Stop the deadline, free the slot and return the socket; may be called twice."""
        if not self._released:
            self._released = True
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None  # breaks the reference cycle
            if self._reading is not None:
                self._reading.stop()
            self._port.released(self)
        return self.sock

    def fail(self, why: str) -> None:
        """Reset the connection."""
        if self._released:
            return
        log.debug("no TLS handshake", peer=self.address[0], reason=why)
        sock = self.release()
        if self._channel is None:
            set_close_mode(sock, RESET_ON_CLOSE)
            self._port.reactor.discard(sock)
        else:
            self._channel.abort()
            self._channel = None

    def abort(self) -> None:
        """Fail; called by the reactor after a failed callback."""
        self.fail("aborted")

    def _expire(self) -> None:
        if self.waiting:
            self.refuse(HelloError(f"no certificate within {self._port.limits.seconds_max:g} s", Alert.UNRECOGNIZED_NAME))
        else:
            self.fail(f"not complete within {self._port.limits.seconds_max:g} s")

    def _on_hello(self, hello: ClientHello) -> None:
        self._reading = None
        self._port.route(self, hello)

    def _on_bad_hello(self, error: HelloError | None) -> None:
        self._reading = None
        if error is None:
            self.fail("the connection ended before its hello did")
            return
        self.refuse(error)

    def _on_handshake(self, failure: BrokenChannel | None) -> None:
        channel, self._channel = self._channel, None
        if channel is None or self._released:
            return
        self.release()
        if failure is not None:
            log.debug("TLS handshake failed", peer=self.address[0], reason=failure)
            channel.close()  # not abort: a RST could overtake the TLS alert
        elif self._challenge:
            channel.shutdown_write()
            channel.close()
        else:
            client = VerifiedClient(self._client_ca, channel.peer_certificate_der() or b"") if self._client_ca else None
            channel.account = self._port.http.sources.of(self.address[0])
            self._port.http.serve(channel, self.address, "https", self._server_name, client)
