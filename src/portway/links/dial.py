"""Dials a link: resolves, connects, directly or through a proxy, makes the handshake and verifies the server."""

import asyncio
import socket

from portway.engine.channel import Channel
from portway.engine.reactor import TLS_TURN_BYTES, Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel, UnavailableError
from portway.links.happy_eyeballs import NumericAddress, connect_first
from portway.links.proxy_handshake import ProxyHandshake, as_socket
from portway.links.sockets import configure_link_socket
from portway.links.tls import ALPN, AgentTls, WrongServerError
from portway.protocol.proxy_client import Refusal
from portway.protocol.proxy_url import ProxyUrl

DIAL_S_MAX = 10.0
"""Deadline of all steps together; a slower server counts as unreachable, and the dial is retried later."""


_UNKNOWN = "Check the name in the join string, and whether this machine can resolve other names"
NOT_REACHABLE = "Check that the server is running, that this is its address for agents, and that no firewall blocks the connection"
PROXY_NOT_REACHABLE = "Check the proxy's address, or use --proxy off to connect directly"
_PROXY_REFUSED = "Check that the proxy allows connections to this port, or use --proxy off to connect directly"
_WRONG_CREDENTIALS = "Check the credentials for the proxy: --proxy-auth-file, or the URL in the environment"
_SILENT = "It accepts connections but sends nothing: check that this is the port for agents (usually 4443), not that of another program"


class DialError(UnavailableError):
    """No connection, or no reply on it."""

    def __init__(self, reason: str, next_step: str, *, connected: bool) -> None:
        """`next_step` is advice for the user; `connected` is true if there was a TCP connection."""
        super().__init__(reason)
        self.next_step = next_step
        self.connected = connected


async def dial(  # noqa: PLR0913 - the server, and how to reach it
    reactor: Reactor,
    host: str,
    port: int,
    tls: AgentTls | None,
    timeout_s: float = DIAL_S_MAX,
    *,
    hint: str = "",
    proxy: ProxyUrl | None = None,
) -> Channel:
    """Return a link to the server, verified if `tls` is given, a plain one otherwise. A verified one sends `hint` (see `worker_hint`).

    With `proxy`, that proxy connects to the server, and resolves its name; the server is verified as without it.

    Raises:
        DialError: the name cannot be resolved, the connection fails, the proxy refuses, or the deadline has passed.
        UnavailableError: the handshake fails.
        RefusedError: the certificate is not the pinned one (code `wrong_pin`), or no CA vouches for it (`wrong_certificate`).
    """
    connected = False
    where = _named(host, port) if proxy is None else f"the proxy {proxy}"
    not_reachable = NOT_REACHABLE if proxy is None else PROXY_NOT_REACHABLE
    try:
        async with asyncio.timeout(timeout_s):
            addresses = await (_resolve(host, port) if proxy is None else _resolve(proxy.host, proxy.port))
            try:
                sock = await connect_first(reactor, addresses, timeout_s)
            except UnavailableError as exc:
                raise DialError(f"cannot connect to {where} ({exc})", not_reachable, connected=False) from exc
            connected = proxy is None
            if proxy is not None:
                sock = await _through(reactor, sock, proxy, host, port)
                where, not_reachable, connected = f"{_named(host, port)} through {where}", _SILENT, True
            if sock.family != socket.AF_UNIX:
                configure_link_socket(sock)
            return SocketChannel(reactor, sock) if tls is None else await _encrypt(reactor, sock, tls, hint)
    except TimeoutError:
        next_step = _SILENT if connected else not_reachable
        raise DialError(f"{where} did not respond within {timeout_s:g} s", next_step, connected=connected) from None


async def _through(reactor: Reactor, sock: socket.socket, proxy: ProxyUrl, host: str, port: int) -> socket.socket:
    """Return a socket that leads to `host:port` by `proxy`, to which `sock` is connected."""
    done: asyncio.Future[Channel | Refusal] = asyncio.get_running_loop().create_future()

    def settle(outcome: Channel | Refusal) -> None:
        if not done.cancelled():
            done.set_result(outcome)
        elif not isinstance(outcome, Refusal):
            outcome.abort()

    handshake = ProxyHandshake(reactor, sock, proxy, host, port, settle)
    try:
        outcome = await done
    except asyncio.CancelledError:
        handshake.cancel()
        if done.done() and not done.cancelled() and isinstance(late := done.result(), Channel):
            late.abort()
        raise
    if isinstance(outcome, Refusal):
        next_step = _WRONG_CREDENTIALS if outcome.error == "authentication" else _PROXY_REFUSED
        raise DialError(f"the proxy {proxy} did not connect to {_named(host, port)}: {outcome.text}", next_step, connected=False)
    return as_socket(reactor, outcome)


async def _resolve(host: str, port: int) -> list[NumericAddress]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:  # UnicodeError for a label that is empty or too long
        why = exc.strerror if isinstance(exc, OSError) else None
        raise DialError(f"cannot resolve the name {host}: {why or exc}", _UNKNOWN, connected=False) from exc
    return [(family, (str(address[0]), int(address[1]))) for family, _, _, _, address in found]


def _named(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _encrypt(reactor: Reactor, sock: socket.socket, tls: AgentTls, hint: str) -> TlsChannel:
    tls.set_alpn(hint)  # OpenSSL copies it into the connection, and no other coroutine runs in between
    link = TlsChannel(reactor, sock, tls.context, server_side=False, server_hostname=tls.server_name or None)
    done: asyncio.Future[BrokenChannel | None] = asyncio.get_running_loop().create_future()

    def settle(failure: BrokenChannel | None) -> None:
        if not done.done():
            done.set_result(failure)

    link.handshake(settle)
    try:
        failure = await done
        if failure is not None:
            raise tls.to_error(failure) from failure
        if link.alpn != ALPN:  # before the pin: a captive portal is not an attack, and usually temporary
            raise WrongServerError(f"the peer is not a Portway server (ALPN {link.alpn!r}, expected {ALPN!r})")
        tls.check(link.peer_certificate_der())
    except BaseException:
        link.abort()
        raise
    link.feed_bytes = TLS_TURN_BYTES
    return link
