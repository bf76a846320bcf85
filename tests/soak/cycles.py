"""Connections that are broken off at each stage, many times each (threats K8)."""

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from portway.errors import PortwayError
from portway.protocol.control.messages import Challenge, Hello
from tests.kit.blocking_link import BlockingLink, LinkError, agent_context, open_link
from tests.soak.streams import name_of
from tests.soak.system import SoakSystem

RESET = struct.pack("ii", 1, 0)
CONTEXT = agent_context()


class Cycles:
    """Breaks connections off at each stage."""

    def __init__(self, system: SoakSystem) -> None:
        self._system = system
        self._host = b"%b.localhost" % name_of(4).encode()

    def stages(self) -> Iterator[tuple[str, Callable[[int], None]]]:
        """Yield the name of each stage, and a function that runs one cycle by its number."""
        request = b"GET /echo/x HTTP/1.1\r\nHost: %b\r\n\r\n" % self._host
        download = b"GET /bytes/10000000 HTTP/1.1\r\nHost: %b\r\n\r\n" % self._host
        upload = b"POST /sink HTTP/1.1\r\nHost: %b\r\nContent-Length: 100000\r\n\r\nxxx" % self._host
        websocket = (
            b"GET /socket HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" % self._host
        )
        yield "http: connected", lambda number: self._visit(number, b"", 0)
        yield "http: half a head", lambda number: self._visit(number, request[:20], 0)
        yield "http: request sent", lambda number: self._visit(number, request, 0)
        yield "http: response started", lambda number: self._visit(number, request, 10)
        yield "http: half a download", lambda number: self._visit(number, download, 5000)
        yield "http: half an upload", lambda number: self._visit(number, upload, 0)
        yield "http: a WebSocket", lambda number: self._visit(number, websocket, 10)
        yield "tcp: connected", lambda number: self._visit(number, b"", 0, tcp=True)
        yield "tcp: sending", lambda number: self._visit(number, b"anybody 1000000\n" + bytes(5000), 0, tcp=True)
        yield "agent: connected", lambda number: self._dial(number, b"")
        yield "agent: half a ClientHello", lambda number: self._dial(number, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        yield "agent: encrypted", lambda number: self._link(number, 0)
        yield "agent: control stream", lambda number: self._link(number, 1)
        yield "agent: half a login", lambda number: self._link(number, 2)
        yield "agent: logged in", lambda number: self._log_in()

    def run(self, count: int) -> dict[str, int]:
        """Run `count` cycles of every stage; return the number of cycles by stage."""
        done = {}
        for name, stage in self.stages():
            for number in range(count):
                with suppress(OSError, LinkError, PortwayError):
                    stage(number)
            done[name] = count
        return done

    def _connect(self, number: int, port: int) -> socket.socket:
        # Many addresses, because failed logins delay further ones from the same address.
        sock = socket.create_connection(("127.0.0.1", port), 5, (f"127.10.{number // 250 % 250}.{number % 250 + 1}", 0))
        if number % 2:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        return sock

    def _visit(self, number: int, data: bytes, read_bytes: int, *, tcp: bool = False) -> None:
        with self._connect(number, self._system.tcp_port(4) if tcp else self._system.http_port) as sock:
            sock.sendall(data)
            while read_bytes > 0 and (piece := sock.recv(4096)):
                read_bytes -= len(piece)

    def _dial(self, number: int, data: bytes) -> None:
        with self._connect(number, self._system.agents_port) as sock:
            sock.sendall(data)

    def _link(self, number: int, steps: int) -> None:
        source = f"127.11.{number // 250 % 250}.{number % 250 + 1}"
        with BlockingLink("127.0.0.1", self._system.agents_port, source=source, context=CONTEXT, timeout_s=5) as link:
            if number % 2:
                link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if steps:
                link.open_control()
            if steps > 1:
                link.send_message(
                    Hello(version=1, token="nobody", identity=bytes(32), scram="p=tls-server-end-point,,n=nobody,r=abcdefgh", agent="x")
                )
                link.receive(Challenge)

    def _log_in(self) -> None:
        with open_link(self._system.spare_join, timeout_s=5) as link:
            link.log_in(self._system.spare_join)
