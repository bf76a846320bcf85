"""A UDP association of SOCKS5: datagrams between one client and the targets that it sends to (RFC 1928 section 7)."""

import errno
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import ip_address

from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.limits import LimitEnforcer, Scopes, buckets_of
from portway.engine.reactor import Reactor
from portway.engine.tally import ABORTED, ENDED, READ_BROKE, Flow, Tally
from portway.errors import BrokenChannel, PeerError
from portway.forward.udp.destinations import Address, Destinations, Judge
from portway.forward.udp.shaping import DatagramRate
from portway.protocol.networks import plain_address
from portway.protocol.socks_udp import (
    ANSWER_HEADER_BYTES_MAX,
    HEADER_BYTES_MAX,
    FragmentError,
    decode_datagram_header,
    encode_datagram_header,
)
from portway.protocol.work import READ_WORK, TURN_WORK

SocketAddress = tuple[str, int] | tuple[str, int, int, int]
"""A numeric host and port, with flow and scope for IPv6."""
Handle = Callable[[memoryview, SocketAddress], None]
"""Handles a datagram and its source."""

DATAGRAM_BYTES_MAX = 65_535
"""No datagram is longer."""
TARGETS_MAX = 256
"""Addresses of one association that may answer; the one that was used the longest time ago is forgotten. More than resolvers,
calls and games use; a peer-to-peer client that has more loses late answers."""
CONTROL_BYTES_MAX = 4096
"""Bytes that the client may send on the TCP connection, where none are expected."""
DATAGRAMS_A_TURN = TURN_WORK // READ_WORK
"""Datagrams per turn of one socket: 32, each with a receive and a send."""

DROPS = {
    "wrong_source": "it did not come from the client of the association",
    "malformed": "its SOCKS header is invalid",
    "fragment": "it is a fragment, which the relay does not reassemble",
    "forbidden": "the policy does not allow its target",
    "unresolved": "the name of its target has no address",
    "waiting": "too many others wait for the address of their target",
    "unsolicited": "it came from an address that the client had not sent to",
    "unsent": "the system did not accept it: a full buffer, no route, or too long",
    "limit": "a limit of bytes had been reached",
}
"""Why datagrams are dropped. The keys are stable: they appear in JSON lines."""


class UdpAssociation:
    """Relays datagrams until its TCP connection ends, or a limit is reached.

    The client has a socket of its own, on the address of its TCP connection; targets get another one per address family, which no
    one but the client can reach: answers pass only from addresses and ports that the client has sent to. Nothing is queued here
    except datagrams whose target is being resolved (`destinations`); the kernel's buffers bound the rest.
    """

    __slots__ = (
        *(
            "_client",
            "_client_address",
            "_client_peer",
            "_client_port",
            "_closed",
            "_control",
            "_control_bytes",
            "_destinations",
            "_ended_at",
            "_flows",
            "_limits",
        ),
        *("_on_done", "_out", "_queued", "_quota", "_rates", "_reactor", "_targets", "_why", "account", "drops", "started_at"),
    )

    def __init__(  # noqa: PLR0913 - what one association consists of
        self,
        reactor: Reactor,
        control: Channel,
        client: socket.socket,
        client_address: tuple[str, int],
        *,
        judge: Judge,
        account: Account,
        on_done: "Callable[[UdpAssociation], None]",
        scopes: Scopes = (),
    ) -> None:
        """Relay for the client at `client_address` (port 0: that of its first datagram), which sends to the bound socket `client`.

        It ends with the channel `control`, whose callbacks it sets. `account` is charged for its turns.
        """
        self._reactor = reactor
        self._control = control
        self._control_bytes = 0
        self._client = client
        self._client_address = plain_address(client_address[0])
        self._client_port = client_address[1]
        self._client_peer: SocketAddress | None = None
        """Where its first datagram came from, as the system reports it; IPv6 with scope."""
        self._on_done = on_done
        self.account = account
        self._out: dict[int, socket.socket] = {}
        """The socket towards targets, by address family."""
        self._targets: dict[tuple[str, int], None] = {}
        """Who may answer, the most recently used last."""
        self._destinations = Destinations(judge, self._send_out, self.drop, lambda: reactor.now)
        self._flows = [[0, 0], [0, 0]]
        """Payload bytes and datagrams: from the client, and to it."""
        self.drops: dict[str, int] = {}
        """Number of dropped datagrams by reason, a key of DROPS."""
        self._queued: set[int] = set()
        self._closed = False
        self._why = ("", "")
        self.started_at = reactor.now
        self._ended_at: float | None = None
        self._limits = LimitEnforcer(reactor, self, scopes) if scopes else None
        self._quota = None if self._limits is None else self._limits.quota()
        forward, backward = ((), ()) if self._limits is None else buckets_of(reactor, scopes, self._limits.policy)
        self._rates = DatagramRate(forward, self._read_client), DatagramRate(backward, self._read_all_targets)
        control.on_readable = control.on_broken = self._on_control
        control.on_writable = _nothing
        reactor.watch(client.fileno(), self._on_client_events)
        reactor.call_soon(self._on_control)

    @property
    def bound_address(self) -> tuple[str, int]:
        """The address that the client sends to."""
        host, port = self._client.getsockname()[:2]
        return host, port

    @property
    def tally(self) -> Tally:
        """Payload so far, without SOCKS headers: forward is from the client to targets."""
        lasted = (self._ended_at or self._reactor.now) - self.started_at
        reason, why = self._why
        forward, backward = (Flow(size, count, reason, lasted) for size, count in self._flows)
        return Tally(forward, backward, self.started_at, self._ended_at, why)

    # ------------------------------------------------------------------------------------ called by the limit enforcer

    @property
    def moved_bytes(self) -> int:
        """Payload in both directions."""
        return self._flows[0][0] + self._flows[1][0]

    def outgoing_channels(self) -> tuple[Channel, ...]:
        """Return none: a datagram that was sent is not waited for."""
        return ()

    def stop(self, reason: str) -> None:
        """Move nothing more; the end follows."""
        self._why = reason, self._why[1]

    def end(self, reason: str) -> None:
        """End the association, and its TCP connection with a reset."""
        self._control.abort()
        self._close(reason)

    def abort(self, why: str = "internal error") -> None:
        """End it for a reason of this program; also called by the reactor after a failed callback."""
        if not self._closed:
            self._why = "", why
            self.end(ABORTED)

    def drop(self, reason: str) -> None:
        """Count a dropped datagram."""
        self.drops[reason] = self.drops.get(reason, 0) + 1

    # --------------------------------------------------------------------------------------------- the TCP connection

    def _on_control(self) -> None:
        """End with the TCP connection; bytes on it have no meaning and are dropped."""
        control = self._control
        try:
            while not self._closed and control.readable:
                count = control.recv_into(self._reactor.scratch_body)
                if count == 0:
                    control.close()
                    self._close(ENDED)
                elif count > 0:
                    self._control_bytes += count
                    if self._control_bytes > CONTROL_BYTES_MAX:
                        self.abort("the client sent data on the TCP connection of an association")
        except BrokenChannel:
            control.abort()
            self._close(READ_BROKE)

    # -------------------------------------------------------------------------------------------- from client to target

    def _on_client_events(self, _mask: int) -> None:
        self._read_client()

    def _read_client(self) -> None:
        self._read(self._client, self._rates[0], self._from_client)

    def _from_client(self, datagram: memoryview, source: SocketAddress) -> None:
        if plain_address(source[0]) != self._client_address or self._client_port not in (0, source[1]):
            self.drop("wrong_source")
            return
        try:
            header = decode_datagram_header(datagram[:HEADER_BYTES_MAX])
        except FragmentError:
            self.drop("fragment")
            return
        except PeerError:
            self.drop("malformed")
            return
        self._client_port, self._client_peer = source[1], source
        self._destinations.submit(bytes(datagram[: header.size]), (header.host, header.port), datagram[header.size :])

    def _send_out(self, addresses: list[Address], port: int, payload: bytes | memoryview) -> None:
        """Send to the first address to which there is a route."""
        if self._closed or not self._spend(0, len(payload)):
            return
        for address in addresses:
            family = socket.AF_INET if address.version == 4 else socket.AF_INET6
            peer = (str(address), port)
            try:
                self._out_socket(family).sendto(payload, peer)
            except OSError as exc:
                if exc.errno in (errno.EAGAIN, errno.EMSGSIZE, errno.ENOBUFS):
                    break
                continue
            targets = self._targets
            if peer in targets:
                del targets[peer]
            elif len(targets) >= TARGETS_MAX:
                del targets[next(iter(targets))]
            targets[peer] = None
            self._count(0, len(payload))
            return
        self.drop("unsent")

    def _out_socket(self, family: int) -> socket.socket:
        sock = self._out.get(family)
        if sock is None:
            sock = self._out[family] = socket.socket(family, socket.SOCK_DGRAM)
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._reactor.watch(sock.fileno(), lambda _mask: self._read_targets(sock))
        return sock

    # -------------------------------------------------------------------------------------------- from target to client

    def _read_all_targets(self) -> None:
        for sock in list(self._out.values()):
            self._read_targets(sock)

    def _read_targets(self, sock: socket.socket) -> None:
        self._read(sock, self._rates[1], self._from_target)

    def _from_target(self, datagram: memoryview, source: SocketAddress) -> None:
        peer = source[:2]
        if peer not in self._targets or self._client_peer is None:
            self.drop("unsolicited")
            return
        if not self._spend(1, len(datagram)):
            return
        header = encode_datagram_header(ip_address(peer[0]), peer[1])
        scratch = self._reactor.scratch
        start = ANSWER_HEADER_BYTES_MAX - len(header)
        scratch[start:ANSWER_HEADER_BYTES_MAX] = header
        try:
            self._client.sendto(scratch[start : ANSWER_HEADER_BYTES_MAX + len(datagram)], self._client_peer)
        except OSError:
            self.drop("unsent")
        else:
            self._count(1, len(datagram))

    # ------------------------------------------------------------------------------------------------------ both

    def _read(self, sock: socket.socket, rate: DatagramRate, handle: Handle) -> None:
        """Receive and handle datagrams until none is left, the rate allows no more, or the turn is over."""
        fd = sock.fileno()
        if self._closed or fd in self._queued:
            return
        reactor = self._reactor
        scratch = reactor.scratch[ANSWER_HEADER_BYTES_MAX : ANSWER_HEADER_BYTES_MAX + DATAGRAM_BYTES_MAX]
        for _ in range(DATAGRAMS_A_TURN):
            if not rate.has_credit():
                return
            try:
                size, source = sock.recvfrom_into(scratch)
            except BlockingIOError:
                if reactor.level_poller is not None:
                    reactor.level_poller.want_read(fd)
                return
            except OSError:
                continue  # an ICMP error of an earlier datagram
            reactor.work.done += READ_WORK + size
            handle(scratch[:size], source)
            if self._is_closed():
                return
        self._queued.add(fd)
        reactor.call_soon_charged(self.account, partial(self._next_turn, sock, rate, handle))

    def _is_closed(self) -> bool:
        return self._closed  # a call, because what was handled may have changed it

    def _next_turn(self, sock: socket.socket, rate: DatagramRate, handle: Handle) -> None:
        self._queued.discard(sock.fileno())
        self._read(sock, rate, handle)

    def _spend(self, direction: int, size: int) -> bool:
        """Return whether `size` bytes may pass; charge them to the rate and the quota."""
        quota = self._quota
        if self._why[0]:
            self.drop("limit")
            return False
        if quota is not None:
            if quota.left < size:
                self.drop("limit")
                quota.left = 0
                quota.on_spent()
                return False
            quota.left -= size
        self._rates[direction].charge(size)
        return True

    def _count(self, direction: int, size: int) -> None:
        flow = self._flows[direction]
        flow[0] += size
        flow[1] += 1

    def _close(self, reason: str) -> None:
        if self._closed:
            return
        self._closed = True
        self._ended_at = self._reactor.now
        self._why = self._why[0] or reason, self._why[1]
        if self._limits is not None:
            self._limits.close()
        for rate in self._rates:
            rate.release()
        self._destinations.close()
        for sock in (self._client, *self._out.values()):
            self._reactor.discard(sock)
        self._out.clear()
        on_done, self._on_done = self._on_done, _ignore
        on_done(self)


def _nothing() -> None:
    """Do nothing: nothing is written on the TCP connection after the reply."""


def _ignore(_association: UdpAssociation) -> None:
    """Do nothing: `on_done` was already called."""
