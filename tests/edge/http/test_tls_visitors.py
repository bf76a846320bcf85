"""Visitors whose connections were decrypted: scheme, host and upgrades (`HttpEdge.serve` with a server name)."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from portway.edge.events import RelayDone, RequestDone
from portway.edge.http.settings import HttpEdgeSettings
from portway.engine.listener import Listener, listen
from portway.engine.tls_channel import TlsChannel
from portway.errors import BrokenChannel
from portway.protocol.control.messages import HeadRewrite
from portway.protocol.http1.trusted_proxies import TrustedProxies
from portway.protocol.networks import Networks
from tests.edge.http.kit import Caller, Origin, Request, Stage, say
from tests.edge.http.visitor.test_relayed import ASK, switch
from tests.kit.certificates import client_context, make_identity
from tests.kit.loops import EngineLoop
from tests.kit.sockets import DEADLINE_S

NAME = "a.localhost"


class TlsStage(Stage):
    """A stage whose port speaks TLS, for one name."""

    def __init__(self, engine: EngineLoop, folder: Path, proxies: TrustedProxies | None = None) -> None:
        super().__init__(engine, "mux", HttpEdgeSettings(), proxies)
        self.listener.close()
        identity = make_identity(folder, NAME, "b.localhost")
        self._server, self._client = identity.server_context(), client_context(identity)
        self.listener = Listener(engine.reactor, listen("127.0.0.1", 0), self._accept)
        self.port = self.listener.address[1]

    def _accept(self, sock: socket.socket, address: tuple[str, int]) -> None:
        channel = TlsChannel(self.engine.reactor, sock, self._server, server_side=True)

        def handshaken(failure: BrokenChannel | None) -> None:
            assert failure is None, failure
            self.edge.serve(channel, address, "https", NAME)

        channel.handshake(handshaken)

    def caller(self, receive_buffer: int | None = None, source: str = "") -> Caller:
        caller = Caller(self.port, receive_buffer, source)
        caller.sock = self._client.wrap_socket(caller.sock, server_hostname=NAME, suppress_ragged_eofs=False)
        caller.sock.settimeout(DEADLINE_S)
        return caller


@pytest.fixture
def tls_stage(engine: EngineLoop, tmp_path: Path) -> Iterator[TlsStage]:
    stage = TlsStage(engine, tmp_path)
    yield stage
    stage.close()


def test_origins_and_events_see_https(tls_stage: TlsStage, origin: Origin) -> None:
    events: list[RequestDone | RelayDone] = []
    tls_stage.edge.on_finished = events.append
    tls_stage.publish(origin)

    def story() -> None:
        with tls_stage.caller() as visitor:
            assert visitor.get("/x", "A.localhost:8443").body == b"/x"
            assert visitor.get("/y").body == b"/y"

    tls_stage.play(story)
    first, second = origin.requests
    assert first.all("x-forwarded-proto") == second.all("x-forwarded-proto") == ["https"]
    assert first.all("x-forwarded-host") == ["A.localhost:8443"]
    assert first.all("forwarded") == ['for=127.0.0.1;host="A.localhost:8443";proto=https']
    assert [event.scheme for event in events] == ["https", "https"]


@pytest.mark.parametrize("host", ["b.localhost", "nobody.localhost", "localhost"])
def test_another_host_than_the_handshake_named_is_misdirected(tls_stage: TlsStage, origin: Origin, host: str) -> None:
    tls_stage.publish(origin)
    tls_stage.publish(origin, "b.localhost")

    def story() -> None:
        with tls_stage.caller() as visitor:
            assert visitor.get("/1", "A.LOCALHOST.:1").status == 200
            answer = visitor.get("/2", host, "Accept: text/html")
            assert (answer.status, answer.code, answer.headers["connection"]) == (421, "misdirected", "close")
            assert b"its TLS handshake named a.localhost" in answer.body
            assert visitor.rest() == b""

    tls_stage.play(story)
    assert [request.target for request in origin.requests] == ["/1"]


def test_an_absolute_target_counts_as_the_host(tls_stage: TlsStage, origin: Origin) -> None:
    tls_stage.publish(origin)

    def story() -> None:
        with tls_stage.caller() as visitor:
            assert visitor.get("http://a.localhost/1", "b.localhost").status == 200
            assert visitor.get("https://b.localhost/2", "a.localhost").status == 421

    tls_stage.play(story)


@pytest.mark.parametrize(("reported", "scheme"), [("http", "http"), ("https", "https"), ("", "https")])
def test_a_trusted_proxy_s_scheme_prevails(engine: EngineLoop, tmp_path: Path, origin: Origin, reported: str, scheme: str) -> None:
    stage = TlsStage(engine, tmp_path, TrustedProxies(Networks(["127.0.0.1"]), "x-forwarded"))
    events: list[RequestDone | RelayDone] = []
    stage.edge.on_finished = events.append
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            fields = (f"X-Forwarded-Proto: {reported}",) if reported else ()
            assert visitor.get("/", NAME, "X-Forwarded-For: 192.0.2.1", *fields).status == 200

    stage.play(story)
    assert origin.requests[0].all("x-forwarded-proto") == [scheme]
    assert [event.scheme for event in events] == [scheme]
    stage.close()


def test_an_upgraded_connection_is_relayed_both_ways_to_a_proper_end(tls_stage: TlsStage) -> None:
    events: list[RequestDone | RelayDone] = []
    tls_stage.edge.on_finished = events.append

    def story() -> None:
        with tls_stage.caller() as visitor:
            visitor.send(ASK + b"early ")
            assert b"101" in visitor.read_head()
            visitor.send(b"late")
            assert visitor.read(10) == b"early late"
            assert isinstance(visitor.sock, ssl.SSLSocket)
            raw = visitor.sock.unwrap()  # sends close_notify, and reads the other one: the origin has seen the end
            raw.close()

    with Origin(switch) as origin:
        tls_stage.publish(origin)
        tls_stage.play(story)
        tls_stage.engine.run_until(lambda: len(events) == 2, what="both events")
    assert [(type(event), event.scheme) for event in events] == [(RequestDone, "https"), (RelayDone, "https")]


def test_only_the_https_origin_is_the_tunnel_s_own(tls_stage: TlsStage, origin: Origin) -> None:
    tls_stage.publish(origin)
    lease, _ = tls_stage.lease_and_holder(NAME)
    lease.rewrite = HeadRewrite(host="localhost:5173")

    def story() -> None:
        with tls_stage.caller() as visitor:
            visitor.get("/", f"{NAME}:8443", f"Origin: https://{NAME}:8443", f"Referer: https://{NAME}:8443/page")
            visitor.get("/", f"{NAME}:8443", f"Origin: http://{NAME}:8443")

    tls_stage.play(story)
    own, foreign = origin.requests
    assert (own.all("origin"), own.all("referer")) == (["http://localhost:5173"], ["http://localhost:5173/page"])
    assert foreign.all("origin") == [f"http://{NAME}:8443"]


def test_a_confined_cookie_stays_secure(tls_stage: TlsStage) -> None:
    def answer(_request: Request, _sock: socket.socket) -> bytes:
        return say(b"x", b"Set-Cookie: __Secure-a=b; Domain=localhost; Secure; Path=/")

    with Origin(answer) as origin:
        tls_stage.publish(origin)

        def story() -> None:
            with tls_stage.caller() as visitor:
                assert visitor.get().headers["set-cookie"] == "__Secure-a=b; Secure; Path=/"

        tls_stage.play(story)


def test_idle_connections_of_a_name_that_moved_close_and_others_stay(tls_stage: TlsStage, origin: Origin) -> None:
    tls_stage.publish(origin)

    def story() -> None:
        with tls_stage.caller() as idle, tls_stage.caller() as reading:
            assert idle.get().status == 200
            reading.send(b"GET / HTTP/1.1\r\n")
            tls_stage.eventually(lambda: any(visitor._buffer for visitor in tls_stage.connections))
            tls_stage.on_loop(lambda: tls_stage.edge.close_idle("b.localhost"))
            assert idle.get().status == 200
            tls_stage.on_loop(lambda: tls_stage.edge.close_idle(NAME))
            assert idle.rest() == b""
            reading.send(b"Host: a.localhost\r\n\r\n")
            assert reading.answer().status == 200
        tls_stage.eventually(lambda: not tls_stage.edge.visitors)
        assert tls_stage.edge._by_server_name == {}

    tls_stage.play(story)
