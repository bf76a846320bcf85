"""A trusted proxy in front: its visitors, and what origins, limits and logs get of them."""

import socket

import pytest

from portway.edge.admission import AdmissionControl
from portway.edge.http.settings import HttpEdgeSettings
from portway.edge.proxy_protocol import ProxyProtocolReader
from portway.engine.listener import Listener, listen
from portway.protocol.http1.trusted_proxies import Family, TrustedProxies
from portway.protocol.networks import Networks
from tests.edge.http.kit import Caller, MakeStage, Origin, Request, say

SETTINGS = HttpEdgeSettings(log_visitors=True, trusted_headers=("x-auth-request-user", "x-forwarded-user"))
PROXY = "127.0.0.1"
STRANGER = "127.0.0.9"


def proxies(family: Family = "x-forwarded") -> TrustedProxies:
    return TrustedProxies(Networks(("127.0.0.1/32", "10.0.0.0/8")), family)


class From(Caller):
    """A caller from an address of its own."""

    def __init__(self, port: int, address: str = PROXY) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30, source_address=(address, 0))
        self.pending = b""


def told(request: Request) -> dict[str, list[str]]:
    names = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "forwarded")
    return {name: request.all(name) for name in names if request.all(name)}


def test_the_fields_of_a_trusted_proxy_are_continued(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(SETTINGS, proxies())
    stage.publish(origin)
    fields = (
        "X-Forwarded-For: 6.6.6.6, 192.0.2.1, 10.0.0.2",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: app.example.org",
        "X-Forwarded-Port: 8443",
        "Forwarded: for=6.6.6.6;proto=gopher",
        "X-Real-IP: 6.6.6.6",
        "X-Auth-Request-User: alice",
        "X_Auth_Request_User: mallory",
        "X-Auth-Request-Email: alice@example.org",
    )

    def story() -> None:
        for address in (PROXY, STRANGER):
            with From(stage.port, address) as visitor:
                for _ in range(3):
                    assert visitor.get("/", "a.localhost", *fields).status == 200

    stage.play(story)
    for request in origin.requests[:3]:
        assert told(request) == {
            "x-forwarded-for": ["192.0.2.1, 10.0.0.2, 127.0.0.1"],
            "x-forwarded-host": ["app.example.org"],
            "x-forwarded-proto": ["https"],
            "x-forwarded-port": ["8443"],
            "forwarded": ['for=192.0.2.1;host="app.example.org";proto=https, for=10.0.0.2, for=127.0.0.1'],
        }
        assert request.all("host") == ["a.localhost"], "Host alone routes, and goes on"
        assert request.all("x-auth-request-user") == ["alice"]
    for request in origin.requests[3:]:
        assert told(request) == {
            "x-forwarded-for": [STRANGER],
            "x-forwarded-host": ["a.localhost"],
            "x-forwarded-proto": ["http"],
            "forwarded": [f'for={STRANGER};host="a.localhost";proto=http'],
        }
        assert not request.all("x-auth-request-user")
    assert not [request for request in origin.requests if request.all("x-real-ip") or request.all("x-auth-request-email")]


def test_the_other_header_family_is_read_if_configured(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(SETTINGS, proxies("forwarded"))
    stage.publish(origin)

    def story() -> None:
        with From(stage.port) as visitor:
            visitor.get("/", "a.localhost", 'Forwarded: for=6.6.6.6, for="[2001:db8::1]";proto=https', "X-Forwarded-For: 6.6.6.6")

    stage.play(story)
    (request,) = origin.requests
    assert told(request) == {
        "x-forwarded-for": ["2001:db8::1, 127.0.0.1"],
        "x-forwarded-host": ["a.localhost"],
        "x-forwarded-proto": ["https"],
        "forwarded": ['for="[2001:db8::1]";host="a.localhost";proto=https, for=127.0.0.1'],
    }


def test_one_connection_carries_many_visitors_each_reported_by_its_own_address(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(SETTINGS, proxies())
    stage.publish(origin)
    done: list[str | None] = []
    stage.edge.on_finished = lambda event: done.append(event.visitor)
    addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "192.0.2.1", "192.0.2.3"]

    def story() -> None:
        with From(stage.port) as visitor:
            for address in addresses:
                visitor.get("/", "a.localhost", f"X-Forwarded-For: {address}")
            visitor.get("/", "a.localhost")

    stage.play(story)
    assert [request.all("x-forwarded-for") for request in origin.requests] == [*([f"{one}, 127.0.0.1"] for one in addresses), ["127.0.0.1"]]
    assert done == [*addresses, "127.0.0.1"]


def test_what_one_visitor_authenticated_is_no_other_ones_on_a_proxy_s_connection(stage_with: MakeStage) -> None:
    """A proxy may send any visitor's request on the same connection: nothing is kept for it."""
    stage = stage_with(SETTINGS, proxies())
    with Origin(lambda request, _sock: say(b"%d" % request.connection)) as origin:
        stage.publish(origin)

        def story() -> None:
            with From(stage.port) as visitor:
                alice = visitor.get("/", "a.localhost", "X-Forwarded-For: 192.0.2.1", "Authorization: Negotiate YII=").body
                bob = visitor.get("/", "a.localhost", "X-Forwarded-For: 192.0.2.2").body
                assert alice != bob

        stage.play(story)


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 4711 443\r\n", "https"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x67\x01\xbb", "https"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x14\xc0\x00\x02\x01\xc6\x33\x64\x01\x12\x67\x01\xbb\x20\x00\x05\x01\0\0\0\0", "https"),
    ],
    ids=["v1", "v2", "v2 with TLS"],
)
def test_a_proxy_that_cannot_write_fields_announces_its_visitor(stage_with: MakeStage, origin: Origin, header: bytes, scheme: str) -> None:
    """Its visitor is like any other: the visitor's own forwarding fields are ignored."""
    stage = stage_with(HttpEdgeSettings(proxied_scheme="https"), proxies())
    stage.publish(origin)
    reader = ProxyProtocolReader(stage.engine.reactor, Networks(("127.0.0.1/32",)), AdmissionControl(stage.engine.reactor))
    listener = Listener(stage.engine.reactor, listen("127.0.0.1", 0), reader.wrap(stage.edge.accept))
    ask = (
        b"GET / HTTP/1.1\r\nHost: a.localhost\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-Proto: gopher\r\nX-Auth-Request-User: root\r\n\r\n"
    )

    def story() -> None:
        for cut in (0, 1, 7, len(header) - 1, len(header), len(header) + 3):
            with From(listener.address[1]) as visitor:
                wire = header + ask
                visitor.send(wire[:cut])
                visitor.send(wire[cut:])
                assert visitor.answer().status == 200
        with From(listener.address[1], STRANGER) as visitor:
            assert visitor.get().status == 200
            assert visitor.get("/", "a.localhost", "X-Forwarded-For: 6.6.6.6").status == 200

    stage.play(story)
    listener.close()
    *announced, first, second = origin.requests
    for request in announced:
        assert (request.all("x-forwarded-for"), request.all("x-forwarded-proto")) == (["192.0.2.1"], [scheme])
        assert not request.all("x-auth-request-user")
    for request in (first, second):
        assert (request.all("x-forwarded-for"), request.all("x-forwarded-proto")) == ([STRANGER], ["http"])
