"""Plain HTTP to a name that has HTTPS, and Strict-Transport-Security."""

from math import inf

import pytest

from portway.edge.client_certificate import VerifiedClient
from portway.edge.http import access_control
from portway.edge.http.access_control import PublicHttps, redirect
from portway.edge.http.head_cache import derive_request
from portway.edge.http.refusal import Refusal
from portway.edge.http.settings import HttpEdgeSettings
from portway.protocol.control.messages import AccessRules
from portway.protocol.http1.trusted_proxies import TrustedProxies
from portway.protocol.http_access import HttpAccess
from portway.protocol.networks import Networks
from portway.protocol.proxy_header import TLV_SSL, ProxyHeader
from tests.edge.http.kit import MakeStage, Origin, Request, Stage, say
from tests.edge.http.visitor.test_relayed import ASK, switch
from tests.kit.certificates import Identity

HOST = "app.example.org"
PROXIES = TrustedProxies(Networks(["127.0.0.1"]), "x-forwarded")


def offer_https(stage: Stage, *names: str, port: int = 443) -> set[str]:
    """Let the edge know of HTTPS for `names`; the returned set may be changed."""
    certified = set(names)
    stage.edge.access.https = PublicHttps(port, certified.__contains__)
    return certified


def set_rules(stage: Stage, rules: AccessRules, host: str = HOST) -> None:
    lease, _ = stage.lease_and_holder(host)
    lease.access = HttpAccess(rules)


@pytest.mark.parametrize(
    ("port", "target", "location"),
    [
        (443, "/", "https://app.example.org/"),
        (8443, "/a%2Fb;c?d=e&f=%20?g", "https://app.example.org:8443/a%2Fb;c?d=e&f=%20?g"),
        (443, "//evil.example/../x", "https://app.example.org//evil.example/../x"),
        (443, "http://app.example.org/absolute?", "https://app.example.org/absolute?"),
        (443, "/long?" + "x" * 5000, "https://app.example.org/long?" + "x" * 5000),
    ],
)
def test_plain_http_is_redirected_to_the_same_url(stage: Stage, origin: Origin, port: int, target: str, location: str) -> None:
    agent = stage.publish(origin, HOST)
    offer_https(stage, HOST, port=port)

    def story() -> None:
        with stage.caller() as visitor:
            for method in ("GET", "HEAD", "DELETE"):
                answer = visitor.get(target, "App.Example.Org.:8080", method=method)
                assert (answer.status, answer.headers["location"], answer.code) == (308, location, "https_redirect")
                assert answer.headers["cache-control"] == "no-store"
                assert "connection" not in answer.headers
            assert b"Moved to HTTPS" in visitor.get(target, HOST, "Accept: text/html").body

    stage.play(story)
    assert origin.requests == []
    assert [status for _, _, status in agent.notes] == [308] * 4


def test_an_asterisk_becomes_an_empty_path(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)
    offer_https(stage, HOST)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("*", HOST, method="OPTIONS").headers["location"] == "https://app.example.org"

    stage.play(story)


def test_a_redirected_connection_goes_on_after_a_body_that_arrived_and_closes_otherwise(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)
    offer_https(stage, HOST)
    head = f"POST /form HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: ".encode()

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(head + b"5\r\n\r\nhello" + head + b"0\r\n\r\n")
            for _ in range(2):
                answer = visitor.answer("POST")
                assert (answer.status, answer.headers.get("connection")) == (308, None)
            visitor.send(head + b"100000\r\n\r\n" + b"x" * 10)
            answer = visitor.answer("POST")
            assert (answer.status, answer.headers["connection"]) == (308, "close")
            visitor.send(b"x" * 99_990)  # read and dropped: the response arrives
            assert visitor.rest() == b""
        with stage.caller() as visitor:
            visitor.send(head + b"5\r\nExpect: 100-continue\r\n\r\n")
            assert visitor.answer("POST").headers["connection"] == "close"
        with stage.caller() as visitor:
            visitor.send(f"POST / HTTP/1.1\r\nHost: {HOST}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode())
            assert visitor.answer("POST").headers["connection"] == "close"

    stage.play(story)
    assert origin.requests == []


def test_a_name_without_a_certificate_is_served_until_it_has_one(stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.publish(origin, HOST)
    certified = offer_https(stage, "other.example.org")
    monkeypatch.setattr(access_control, "RECHECK_S", 0.05)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", HOST).status == 200
            certified.add(HOST)
            while visitor.get("/", HOST).status != 308:
                pass
            certified.clear()
            assert visitor.get("/", HOST).status == 200

    stage.play(story)


def test_a_connection_without_rules_is_asked_about_once_a_second(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)
    lookups: list[str] = []

    def has_certificate(name: str) -> bool:
        lookups.append(name)
        return False

    stage.edge.access.https = PublicHttps(443, has_certificate)

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(50):
                assert visitor.get("/", HOST).status == 200

    stage.play(story)
    assert 1 <= len(lookups) <= 3


def test_a_new_grant_is_decided_about_anew(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", HOST).status == 200

            def grant() -> None:
                stage.publish(origin, HOST)
                set_rules(stage, AccessRules(plain_http="refuse"))

            stage.on_loop(grant)
            assert visitor.get("/", HOST).status == 426

    stage.play(story)


def test_a_tunnel_can_have_plain_http_served(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)
    offer_https(stage, HOST)
    set_rules(stage, AccessRules(plain_http="serve"))

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/1", HOST).body == b"/1"
            assert visitor.get("/2", HOST).body == b"/2"

    stage.play(story)


@pytest.mark.parametrize("https", [True, False])
def test_a_tunnel_can_have_plain_http_refused(stage: Stage, origin: Origin, https: bool) -> None:
    stage.publish(origin, HOST)
    if https:
        offer_https(stage, HOST)
    set_rules(stage, AccessRules(plain_http="refuse"))

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/", HOST)
            assert (answer.status, answer.code, answer.headers["connection"]) == (426, "https_required", "Upgrade")
            assert answer.headers["upgrade"] == "TLS/1.2, HTTP/1.1"
            visitor.send(ASK.replace(b"a.localhost", HOST.encode()))
            answer = visitor.answer()
            assert (answer.status, answer.headers["connection"]) == (426, "Upgrade, close")

    stage.play(story)
    assert origin.requests == []


def test_upgrades_are_served_instead_of_redirected(stage: Stage) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", HOST).status == 308
            visitor.send(ASK.replace(b"a.localhost", HOST.encode()))
            assert b"101" in visitor.read_head()
            visitor.send(b"hello")
            assert visitor.read(5) == b"hello"

    with Origin(switch) as origin:
        stage.publish(origin, HOST)
        offer_https(stage, HOST)
        stage.play(story)


def test_no_redirect_where_a_trusted_proxy_reports_https(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(origin, HOST)
    offer_https(stage, HOST)

    def story() -> None:
        with stage.caller() as proxy:
            assert proxy.get("/1", HOST, "X-Forwarded-Proto: https").status == 200
            assert proxy.get("/2", HOST, "X-Forwarded-Proto: http").status == 308
            assert proxy.get("/3", HOST, "X-Forwarded-Proto: https").status == 200
            assert proxy.get("/4", HOST).status == 308

    stage.play(story)


def test_an_untrusted_peer_cannot_report_https(stage: Stage, origin: Origin) -> None:
    stage.publish(origin, HOST)
    offer_https(stage, HOST)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", HOST, "X-Forwarded-Proto: https", "Forwarded: proto=https").status == 308

    stage.play(story)


@pytest.mark.parametrize(("encrypted", "status"), [(True, 200), (False, 308)])
def test_a_proxy_header_decides_the_scheme(stage: Stage, origin: Origin, encrypted: bool, status: int) -> None:
    stage.publish(origin, HOST)
    offer_https(stage, HOST)
    header = ProxyHeader(local=False, tlvs=((TLV_SSL, b"\1\0\0\0\0"),) if encrypted else ())
    stage.listener._on_accept = lambda sock, address: stage.edge.accept(sock, address, header)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", HOST).status == status

    stage.play(story)


# Strict-Transport-Security


def hsts_origin(_request: Request, _sock: object) -> bytes:
    return say(b"x", b"strict-transport-security: max-age=1; includeSubDomains")


def hsts_of(stage: Stage, *fields: str, host: str = HOST) -> str | None:
    """Return Strict-Transport-Security of a response to a request by a trusted proxy."""
    with stage.caller() as proxy:
        return proxy.get("/", host, *fields).headers.get("strict-transport-security")


def test_hsts_replaces_the_origin_s_over_https_only(stage_with: MakeStage) -> None:
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    with Origin(hsts_origin) as origin:
        stage.publish(origin, HOST)
        set_rules(stage, AccessRules(hsts_s=3600))

        def story() -> None:
            assert hsts_of(stage, "X-Forwarded-Proto: https") == "max-age=3600"
            assert hsts_of(stage) is None

        stage.play(story)


def test_errors_over_https_have_hsts_too(stage_with: MakeStage) -> None:
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(1, HOST)  # where nothing listens
    set_rules(stage, AccessRules(hsts_s=3600))
    assert stage.play(lambda: hsts_of(stage, "X-Forwarded-Proto: https")) == "max-age=3600"


@pytest.mark.parametrize(
    ("host", "rules", "settings"),
    [
        (HOST, AccessRules(), HttpEdgeSettings()),
        ("a.localhost", AccessRules(hsts_s=3600), HttpEdgeSettings()),
        (HOST, AccessRules(hsts_s=3600), HttpEdgeSettings(hsts=False)),
    ],
)
def test_without_hsts_the_origin_s_field_passes(stage_with: MakeStage, host: str, rules: AccessRules, settings: HttpEdgeSettings) -> None:
    stage = stage_with(settings, PROXIES)
    with Origin(hsts_origin) as origin:
        stage.publish(origin, host)
        set_rules(stage, rules, host)
        assert stage.play(lambda: hsts_of(stage, "X-Forwarded-Proto: https", host=host)) == "max-age=1; includeSubDomains"


# Names of tls tunnels


@pytest.mark.parametrize(
    ("https", "fields", "status", "code"),
    [
        (True, (), 308, "https_redirect"),
        (True, ("Connection: Upgrade", "Upgrade: websocket"), 426, "https_required"),
        (True, ("X-Forwarded-Proto: https",), 421, "tls_only"),
        (False, (), 421, "tls_only"),
    ],
)
def test_nothing_is_forwarded_to_a_tls_tunnel(
    stage_with: MakeStage, origin: Origin, https: bool, fields: tuple[str, ...], status: int, code: str
) -> None:
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(origin, HOST)
    lease, _ = stage.lease_and_holder(HOST)
    lease.passthrough = True
    if https:
        offer_https(stage)  # no certificate: the service has its own

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/", HOST, *fields)
            assert (answer.status, answer.code) == (status, code)

    stage.play(story)
    assert origin.requests == []


# Addresses


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        (AccessRules(allow_ip=["192.0.2.0/24"]), 403),
        (AccessRules(allow_ip=["127.0.0.0/8"]), 200),
        (AccessRules(allow_ip=["127.0.0.0/8"], deny_ip=["127.0.0.1"]), 403),
        (AccessRules(deny_ip=["192.0.2.0/24"]), 200),
    ],
)
def test_addresses_are_allowed_or_denied(stage: Stage, origin: Origin, rules: AccessRules, status: int) -> None:
    stage.publish(origin, HOST)
    set_rules(stage, rules)

    def story() -> None:
        with stage.caller() as visitor:
            answers = [visitor.get("/", HOST) for _ in range(3)]
            assert [answer.status for answer in answers] == [status] * 3
            if status == 403:
                assert answers[0].code == "address_denied"
                assert b"127.0.0.1" in answers[0].body

    stage.play(story)
    assert len(origin.requests) == (3 if status == 200 else 0)


def test_the_visitor_s_address_counts_behind_a_trusted_proxy(stage_with: MakeStage, origin: Origin) -> None:
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(origin, HOST)
    set_rules(stage, AccessRules(allow_ip=["192.0.2.0/24", "2001:db8::/32"]))

    def story() -> None:
        with stage.caller() as proxy:
            for address, status in (("192.0.2.9", 200), ("198.51.100.1", 403), ("2001:db8::1", 200), ("::ffff:192.0.2.1", 200)):
                assert proxy.get("/", HOST, f"X-Forwarded-For: {address}").status == status
            assert proxy.get("/", HOST).status == 403

    stage.play(story)


def test_a_redirect_names_the_port_only_if_it_is_not_the_usual_one() -> None:
    head = derive_request(b"GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n")
    refusals = [redirect(PublicHttps(port, lambda _name: True), HOST, head) for port in (443, 8443)]
    assert refusals == [
        Refusal("https_redirect", f"https://{HOST}", ((b"Location", b"https://app.example.org/a?b"),)),
        Refusal("https_redirect", f"https://{HOST}:8443", ((b"Location", b"https://app.example.org:8443/a?b"),)),
    ]


# Client certificates


def test_a_request_without_a_verified_certificate_reaches_no_tunnel_that_requires_one(
    stage_with: MakeStage, origin: Origin, identity: Identity
) -> None:
    """A proxy in front that terminates TLS cannot stand in for the handshake."""
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(origin, HOST)
    set_rules(stage, AccessRules(client_ca=identity.cert_file.read_text()))

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/", HOST, "X-Forwarded-Proto: https", "Client-Cert: :AAAA:")
            assert (answer.status, answer.code) == (403, "client_certificate_required")
        with stage.caller() as visitor:
            answer = visitor.get("/", HOST)
            assert (answer.status, answer.code) == (426, "https_required")

    stage.play(story)
    assert origin.requests == []


def test_a_connection_that_other_cas_verified_does_not_count(stage: Stage, origin: Origin, identity: Identity) -> None:
    stage.publish(origin, HOST)
    set_rules(stage, AccessRules(client_ca=identity.cert_file.read_text()))
    lease, _ = stage.lease_and_holder(HOST)
    cached = derive_request(b"GET / HTTP/1.1\r\nHost: " + HOST.encode() + b"\r\n\r\n")
    decide = stage.edge.access.decide
    for client in (None, VerifiedClient("other CAs", b"der")):
        assert decide(lease, HOST, cached, "https", "192.0.2.1", client) == Refusal("client_certificate_required")
    assert decide(lease, HOST, cached, "https", "192.0.2.1", VerifiedClient(identity.cert_file.read_text(), b"der")) == inf
