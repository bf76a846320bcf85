"""The forward proxy of one process: accepts clients, detects their protocols, and keeps count of them."""

import socket
import ssl
from collections import Counter
from collections.abc import Callable
from functools import partial
from weakref import WeakKeyDictionary

from portway.edge.admission import descriptor_limit
from portway.engine.channel import Channel
from portway.engine.limits import Scope, Scopes, scopes_of
from portway.engine.listener import RESETS_INHERITED, Address, Listener
from portway.engine.reactor import Reactor
from portway.engine.socket_channel import RESET_ON_CLOSE, SocketChannel, set_close_mode
from portway.engine.timers import Timer
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel
from portway.forward.client import ClientConnection
from portway.forward.events import ClientDone, EventSink
from portway.forward.http.forwarding import PlainForwarding
from portway.forward.interfaces import Connector, Resolve, Target, TargetPolicy, User, UserDirectory
from portway.forward.negotiation.fixed_target import FixedTargetNegotiation
from portway.forward.negotiation.http_connect import HttpNegotiation
from portway.forward.negotiation.interfaces import Negotiation
from portway.forward.negotiation.socks4 import Socks4Negotiation
from portway.forward.negotiation.socks5 import Socks5Negotiation
from portway.forward.outcomes import Failure, Outcome
from portway.forward.settings import LOOPBACK, ForwardSettings
from portway.forward.udp.relay import UdpRelay
from portway.links.source_accounts import SourceAccounts
from portway.protocol.source_key import source_key
from portway.telemetry.logs import get_log

SOCKS5_FIRST, SOCKS4_FIRST, TLS_FIRST = 5, 4, 0x16

SPARE_DESCRIPTORS = 64
"""For listeners, files, queries, and connections that are being rejected."""

log = get_log(__name__)


class ForwardProxy:
    """All clients of one listener, or of several with the same settings."""

    def __init__(  # noqa: PLR0913 - the stages, and what tests replace
        self,
        reactor: Reactor,
        settings: ForwardSettings,
        *,
        policy: TargetPolicy,
        users: UserDirectory,
        connector: Connector,
        resolve: Resolve,
        random_bytes: Callable[[int], bytes],
        on_event: EventSink,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`resolve` resolves the targets of datagrams. `tls` is the context of an HTTPS proxy."""
        self.udp = UdpRelay(reactor, lambda: self.policy, resolve)
        self.reactor = reactor
        self.settings = settings
        self.policy = policy
        """Replaced when its settings change; running tunnels keep their targets."""
        self.users = users
        self.connector = connector
        self.random_bytes = random_bytes
        self.results: Counter[Outcome] = Counter()
        """Clients so far, by result."""
        self._on_event = on_event
        self._descriptors = descriptor_limit() - SPARE_DESCRIPTORS - 2 * reactor.pipes.pipes_max
        self._tls = tls
        self._destination = settings.destination
        self._clients: set[ClientConnection] = set()
        self._handshakes: dict[TlsChannel, Timer] = {}
        self._of_source: Counter[str] = Counter()
        self._of_user: Counter[str] = Counter()
        self._accounts = SourceAccounts(reactor.accounts.child(1.0))
        self._scopes = self._scopes_of_settings()
        self._user_scopes: WeakKeyDictionary[UserDirectory, dict[str, tuple[User, Scopes]]] = WeakKeyDictionary()
        self._listeners: list[Listener] = []
        self.plain = PlainForwarding(self)

    @property
    def clients(self) -> int:
        """Number of clients now, and TLS handshakes."""
        return len(self._clients) + len(self._handshakes) + self.plain.visitors

    def listen(self, sock: socket.socket) -> None:
        """Accept clients on a listening socket."""
        host = sock.getsockname()[0]
        local_host = "" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared with, not bound
        self._listeners.append(Listener(self.reactor, sock, partial(self.accept, local_host=local_host)))

    def stop_listening(self) -> None:
        """Accept no further clients."""
        for listener in self._listeners:
            listener.close()
        self._listeners.clear()
        self.plain.drain()

    def close(self) -> None:
        """Reset all clients."""
        self.stop_listening()
        for channel, timer in self._handshakes.items():
            timer.cancel()
            channel.abort()
        self._handshakes.clear()
        for client in list(self._clients):
            client.end_relay("the proxy stopped")
        self.plain.close()

    def apply(self, settings: ForwardSettings) -> None:
        """Use other settings from now on. Tunnels that exist keep their limits; the listener and its TLS stay."""
        changed = (settings.client_policy, settings.target_policy) != (self.settings.client_policy, self.settings.target_policy)
        self.settings = settings
        if changed:
            self._scopes = self._scopes_of_settings()

    def end_tunnels_of(self, name: str) -> int:
        """Reset all tunnels of a user who was removed, and return their number."""
        found = [client for client in self._clients if client.user is not None and client.user.name == name]
        for client in found:
            client.end_relay("the user was removed")
        return len(found) + self.plain.end_user(name)

    @property
    def capacity(self) -> int:
        """Clients that it serves at a time: as many as the settings allow, and the descriptors beside those of pipes."""
        return min(self.settings.max_tunnels, self._descriptors // 2)

    def accept(self, sock: socket.socket, address: Address, local_host: str = "") -> None:
        """Serve a connected, non-blocking socket; `local_host` is what it has connected to, by default the address of the socket."""
        local_host = local_host or _local_host(sock)
        if self.clients >= self.capacity:
            set_close_mode(sock, RESET_ON_CLOSE)
            self.reactor.discard(sock)
            self.results[Outcome.TOO_MANY] += 1
            return
        if self._tls is None:
            self._serve(SocketChannel(self.reactor, sock, resets=RESETS_INHERITED), address, local_host)
            return
        channel = TlsChannel(self.reactor, sock, self._tls, server_side=True, in_slices=True)
        channel.account = self._accounts.of(address[0])
        self._handshakes[channel] = self.reactor.call_later(self.settings.initiation_timeout_s, channel.abort)

        def done(failure: BrokenChannel | None) -> None:
            timer = self._handshakes.pop(channel, None)
            if timer is not None:
                timer.cancel()
            if failure is None:
                self._serve(channel, address, local_host)
            else:
                log.debug("TLS handshake of a client failed", reason=failure)
                channel.close()

        channel.handshake(done)

    def admits(self, client: ClientConnection) -> Failure | None:
        """Count a client's tunnel, or return why there are too many."""
        failure = self.judge_count(client.source, client.user)
        if client.user is not None:
            self._of_user[client.user.name] += 1
        return failure

    def judge_count(self, source: str, user: User | None) -> Failure | None:
        """Return why a source, which is counted, or a user, whose new tunnel is not, has too many tunnels."""
        settings = self.settings
        if settings.max_per_source and self._of_source[source] > settings.max_per_source:
            return Failure(
                Outcome.TOO_MANY, f"More than {settings.max_per_source} tunnels from your address: close some, or try again later."
            )
        if user is not None and user.tunnels_max and self._of_user[user.name] >= user.tunnels_max:
            return Failure(Outcome.TOO_MANY, f"More than {user.tunnels_max} tunnels of this user: close some, or try again later.")
        return None

    def judge_own(self, target: Target) -> Failure | None:
        """Return why a target is refused if it is this proxy itself: each request would cause another one."""
        for listener in self._listeners:
            host, port = listener.address
            if target.port == port and (target.host == host or (target.host in LOOPBACK and host in (*LOOPBACK, "0.0.0.0", "::"))):  # noqa: S104
                return Failure(Outcome.LOOP, f"{target} is this proxy itself: request the URL of another server.")
        return None

    def count(self, source: str, user: str | None, change: int) -> None:
        """Count a tunnel of a source, if it is not empty, and of a user, if there is one, that begins (1) or ends (-1)."""
        for counter, key in ((self._of_source, source), (self._of_user, user)):
            if key:
                counter[key] += change
                if counter[key] <= 0:
                    del counter[key]

    def forget(self, client: ClientConnection) -> None:
        """Remove a client that is gone."""
        if client not in self._clients:
            return
        self._clients.discard(client)
        self.count(client.source, None if client.user is None else client.user.name, -1)

    def report(self, event: ClientDone) -> None:
        """Count and emit the end of a client."""
        self.results[event.result] += 1
        self._on_event(event)

    def scopes_of(self, user: User | None) -> Scopes:
        """Return the limits of a tunnel: those of the proxy, and those of its user, which all of the user's tunnels share."""
        if user is None:
            return self._scopes
        known = self._user_scopes.setdefault(self.users, {})
        found = known.get(user.name)
        if found is None or found[0] != user:
            found = known[user.name] = (user, scopes_of(self.reactor, user.policy))
        scopes: tuple[Scope, ...] = (*self._scopes, *found[1])
        return scopes

    def _scopes_of_settings(self) -> Scopes:
        settings = self.settings
        scopes: Scopes = (*scopes_of(self.reactor, settings.client_policy), *scopes_of(self.reactor, settings.target_policy))
        return scopes

    def negotiation_for(self, client: ClientConnection, data: bytes) -> Negotiation | None:
        """Return the negotiation for a client by its first bytes; None after the client was refused."""
        first = data[0]
        if first == SOCKS5_FIRST:
            return Socks5Negotiation(client)
        if first == SOCKS4_FIRST:
            return Socks4Negotiation(client)
        if first == TLS_FIRST:
            log.debug("a client began TLS on a listener without a certificate")
            client.end_relay("TLS on a listener without a certificate")
            return None

        def serve_plain(received: bytes) -> None:
            channel, address = client.give_up_channel()
            self.plain.serve_plain(channel, address, received)

        return HttpNegotiation(client, serve_plain)

    def serve_again(self, channel: Channel, address: Address, received: bytes) -> None:
        """Negotiate with a client that sent plain requests before; `received` begins with CONNECT."""
        source = source_key(address[0])
        client = ClientConnection(self, channel, address, source, "")
        self._clients.add(client)
        self._of_source[source] += 1
        client.start(received)

    def _serve(self, channel: Channel, address: Address, local_host: str) -> None:
        source = source_key(address[0])
        client = ClientConnection(self, channel, address, source, local_host)
        self._clients.add(client)
        self._of_source[source] += 1
        if self._destination is None:
            client.start()
        else:
            client.start_fixed(FixedTargetNegotiation(), Target(self._destination.host, self._destination.port))


def _local_host(sock: socket.socket) -> str:
    try:
        return str(sock.getsockname()[0])
    except OSError:  # reset by the client meanwhile
        return ""
