"""An association between real sockets: its client, its TCP connection, and services that it talks to."""

import socket
from collections.abc import Callable
from ipaddress import ip_address

from portway.engine.limits import Scopes
from portway.engine.socket_channel import SocketChannel
from portway.forward.udp.association import UdpAssociation
from portway.forward.udp.destinations import OnJudged
from portway.protocol.socks_udp import decode_datagram_header, encode_datagram_header
from tests.kit.loops import EngineLoop
from tests.kit.sockets import tcp_pair


def udp_socket(host: str = "127.0.0.1") -> socket.socket:
    """Return a bound socket whose `recv` never waits."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    sock.bind((host, 0))
    sock.setblocking(False)
    return sock


def wrapped(address: tuple[str, int], payload: bytes) -> bytes:
    """Return a client's datagram for `address`."""
    return encode_datagram_header(ip_address(address[0]), address[1]) + payload


def named(name: str, port: int, payload: bytes) -> bytes:
    """Return a client's datagram for a name."""
    return b"\0\0\0\x03%c%b%b%b" % (len(name), name.encode(), port.to_bytes(2, "big"), payload)


def received(sock: socket.socket) -> list[bytes]:
    """Return all datagrams that have arrived."""
    found = []
    while True:
        try:
            found.append(sock.recv(1 << 16))
        except BlockingIOError:
            return found


def unwrapped(data: bytes) -> tuple[str, int, bytes]:
    """Return the source of an answer and its payload."""
    header = decode_datagram_header(data)
    return header.host, header.port, data[header.size :]


class Bench:
    """One association; `judged` has its targets, and decides about them."""

    def __init__(self, engine: EngineLoop, scopes: Scopes = (), host: str = "127.0.0.1", port: int = 0) -> None:
        """Open the association; the client may send from `port` only, unless it is 0."""
        self.engine = engine
        self.client = udp_socket(host)
        self.control, near = tcp_pair()
        self.control.settimeout(5)
        near.setblocking(False)
        self.done: list[UdpAssociation] = []
        self.judged: list[tuple[str, int]] = []
        self.answer: Callable[[str, int, OnJudged], None] = lambda host, _port, on_judged: on_judged([ip_address(host)])
        reactor = engine.reactor
        account = reactor.authenticated.child(tenant=True)
        channel = SocketChannel(reactor, near)
        self.association = UdpAssociation(
            reactor, channel, udp_socket(host), (host, port), judge=self._judge, account=account, on_done=self.done.append, scopes=scopes
        )
        self.relay = self.association.bound_address

    def _judge(self, host: str, port: int, on_judged: OnJudged) -> None:
        self.judged.append((host, port))
        self.answer(host, port, on_judged)

    def send(self, data: bytes) -> None:
        """Send as the client, and let the relay work."""
        self.client.sendto(data, self.relay)
        self.engine.settle()

    @property
    def drops(self) -> dict[str, int]:
        """What was dropped."""
        return self.association.drops

    def close(self) -> None:
        """End the association, if it has not ended."""
        self.association.abort("the test is over")
        self.engine.settle()
        self.client.close()
        self.control.close()
        assert len(self.done) == 1
