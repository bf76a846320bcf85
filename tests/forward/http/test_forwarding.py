"""Plain HTTP through the proxy over real sockets: targets, methods, connections, users, policy, failures."""

import base64
import socket
import time
from collections.abc import Callable

import pytest

from portway.forward.events import ClientDone
from portway.forward.interfaces import User
from portway.forward.outcomes import Failure, Outcome
from portway.forward.policy.pattern_set import PatternSet
from portway.forward.policy.patterns import read_pattern
from portway.forward.policy.policy import RulePolicy, RuleSet
from portway.forward.policy.rules import TargetRules
from tests.edge.http.kit import Origin, say
from tests.forward.http.kit import HOST, Client, url
from tests.forward.stage import DEADLINE_S, OneUser, Stage


def basic(name: str, password: str = "secret") -> str:
    """Return the field with credentials."""
    return "Proxy-Authorization: Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def events(stage: Stage, count: int) -> list[ClientDone]:
    """Return the events once there are `count`."""
    until = time.monotonic() + DEADLINE_S
    while len(stage.events) < count:
        assert time.monotonic() < until, stage.events
        time.sleep(0.005)
    return [event for event in stage.events if isinstance(event, ClientDone)]


def test_one_connection_reaches_one_origin_after_another_and_each_keeps_its_connection() -> None:
    with Origin() as one, Origin() as two, Stage() as stage, Client(stage) as client:
        for _ in range(2):
            for origin in (one, two):
                assert client.ask(url(origin, "/a?b")).body == b"/a?b"
        assert [request.connection for request in one.requests] == [0, 0]
        assert [request.connection for request in two.requests] == [0, 0]
        assert one.requests[0].headers == [("host", f"{HOST}:{one.port}")]


def test_the_origin_gets_the_request_as_without_a_proxy() -> None:
    fields = ["User-Agent: x", "X-Forwarded-For: 192.0.2.1", "Via: 1.1 a", "Cookie: a=b", "CDN-Loop: b"]
    hidden = ["Proxy-Connection: keep-alive", "Proxy-Foo: 1", "Connection: keep-alive, X-Mine", "X-Mine: 1", "Proxy: http://x/"]
    with Origin() as origin, Stage() as stage, Client(stage) as client:
        client.ask(url(origin), *fields, *hidden)
        expected = [tuple(field.split(": ")) for field in fields]
        got = [(name, value) for name, value in origin.requests[0].headers if name != "host"]
        assert got == [(name.lower(), value) for name, value in expected]


def test_the_target_s_host_overrides_the_field() -> None:
    with Origin() as origin, Stage() as stage, Client(stage) as client:
        client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: other.example\r\n\r\n".encode())
        assert client.answer().status == 200
        assert origin.requests[0].all("host") == [f"{HOST}:{origin.port}"]


def test_the_response_is_the_origin_s() -> None:
    fields = (b"Set-Cookie: a=b; Domain=test", b"Portway-Error: origin_closed", b"Proxy-Status: other; error=x", b"Via: 1.1 b", b"X-A: 1")
    answer = say(b"body", *fields, b"Proxy-Authenticate: Basic")
    with Origin(lambda _request, _sock: answer) as origin, Stage() as stage, Client(stage) as client:
        heard = client.ask(url(origin))
    assert heard.headers["set-cookie"] == "a=b; Domain=test"
    assert heard.headers["portway-error"] == "origin_closed"
    assert heard.headers["proxy-status"] == "other; error=x"
    assert (heard.headers["via"], heard.headers["x-a"]) == ("1.1 b", "1")
    assert "proxy-authenticate" not in heard.headers


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "DELETE", "PROPFIND", "TRACE", "M-SEARCH"])
def test_any_method(method: str) -> None:
    with (
        Origin(lambda request, _sock: say(b"" if request.method == "HEAD" else b"fine")) as origin,
        Stage() as stage,
        Client(stage) as client,
    ):
        assert client.ask(url(origin, "/x"), method=method).status == 200
        assert client.ask(url(origin, "/y")).body == b"fine"
        assert [request.method for request in origin.requests] == [method, "GET"]


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_responses_without_a_body(status: bytes) -> None:
    head = b"HTTP/1.1 " + status + b"\r\nETag: x\r\n\r\n"
    with (
        Origin(lambda request, _sock: head if request.target == "/empty" else say(b"x")) as origin,
        Stage() as stage,
        Client(stage) as client,
    ):
        assert client.ask(url(origin, "/empty")).status == int(status[:3])
        assert client.ask(url(origin, "/next")).body == b"x"


def test_chunks_and_trailers_pass_both_ways() -> None:
    answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
    with Origin(lambda _request, _sock: answer) as origin, Stage() as stage, Client(stage) as client:
        client.send(
            f"POST {url(origin)} HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nConnection: TE\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n".encode()
        )
        client.send(b"2\r\nhi\r\n0\r\nX-Up: 2\r\n\r\n")
        assert b"Trailer: X-Sum\r\n" in client.read_head()
        assert client.read(len(b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")) == b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
        assert origin.requests[0].body == b"hi"
        assert origin.requests[0].trailers == [("x-up", "2")]


def test_expect_continue_is_the_origin_s_to_answer() -> None:
    def answer(request: object, _sock: socket.socket) -> bytes:
        return say(b"done")

    with Origin(answer) as origin, Stage() as stage, Client(stage) as client:
        client.send(f"POST {url(origin)} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n".encode())
        time.sleep(0.05)
        client.send(b"hi")
        assert client.answer().body == b"done"
        assert origin.requests[0].all("expect") == ["100-continue"]


def test_pipelined_requests_are_answered_in_order() -> None:
    with Origin() as origin, Stage() as stage, Client(stage) as client:
        client.send(b"".join(f"GET {url(origin, f'/{number}')} HTTP/1.1\r\nHost: x\r\n\r\n".encode() for number in range(5)))
        assert [client.answer().body for _ in range(5)] == [b"/0", b"/1", b"/2", b"/3", b"/4"]


def test_connect_follows_plain_requests_on_one_connection() -> None:
    with Origin() as origin, Stage() as stage, Client(stage) as client:
        assert client.ask(url(origin)).status == 200
        client.send(f"CONNECT {HOST}:{origin.port} HTTP/1.1\r\nHost: x\r\n\r\nGET /inside HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.read_head().startswith(b"HTTP/1.1 200 ")
        assert client.answer().body == b"/inside"


def test_an_upgrade_becomes_a_relay_and_is_reported_at_its_end() -> None:
    def answer(_request: object, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello")
        while data := sock.recv(100):
            sock.sendall(data.upper())

    with Origin(answer) as origin, Stage(log_targets=True) as stage:
        with Client(stage) as client:
            client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".encode())
            assert client.read_head().startswith(b"HTTP/1.1 101 ")
            assert client.read(5) == b"hello"
            client.send(b"frames")
            assert client.read(6) == b"FRAMES"
            assert stage.proxy.clients == 1
            assert not stage.events
            client.end()
            assert client.rest() == b""
        (event,) = events(stage, 1)
    assert (event.result, event.target) == ("established", f"{HOST}:{origin.port}")
    assert event.upstream_stats is not None
    assert event.upstream_stats.total_bytes == 6


def test_an_origin_form_request_gets_help() -> None:
    with Stage() as stage, Client(stage) as client:
        heard = client.get("/", "127.0.0.1")
    assert heard.status == 400
    assert b"This is a proxy: expected a request with an absolute URL" in heard.body


@pytest.mark.parametrize("scheme", ["https", "ftp", "HTTPS"])
def test_other_schemes_get_help(scheme: str) -> None:
    with Stage() as stage, Client(stage) as client:
        heard = client.ask(f"{scheme}://example.org/")
    assert heard.status == 400
    if scheme != "ftp":
        assert b"Use CONNECT for https" in heard.body


@pytest.mark.parametrize(
    "target", ["http:///x", "http://a b/", "http://user:pass@here.test/", "http://here.test:0/", "http://here.test:99999/", "http://[::/"]
)
def test_invalid_targets_are_refused(target: str) -> None:
    with Stage() as stage, Client(stage) as client:
        client.send(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert client.answer().status == 400


def test_the_proxy_itself_is_no_target() -> None:
    with Stage() as stage, Client(stage) as client:
        heard = client.ask(url(stage.port, host="127.0.0.1"))
        assert (heard.status, "proxy_loop_detected" in heard.headers["proxy-status"]) == (508, True)
        assert client.ask(url(stage.port, host="localhost")).status == 508


FAILURES: list[tuple[str, int, str, Outcome]] = [
    ("http://nowhere.test/", 502, "dns_error", Outcome.DNS_FAILED),
    ("http://here.test:1/", 502, "connection_refused", Outcome.REFUSED),
]


@pytest.mark.parametrize(("target", "status", "error", "outcome"), FAILURES)
def test_a_failed_connect_is_told_and_the_connection_stays(target: str, status: int, error: str, outcome: Outcome) -> None:
    with Origin() as origin, Stage() as stage, Client(stage) as client:
        for _ in range(2):
            heard = client.ask(target)
            assert heard.status == status
            assert f"error={error};" in heard.headers["proxy-status"]
        assert client.ask(url(origin)).status == 200
        found = events(stage, 3)
    assert [event.result for event in found] == [outcome, outcome, "established"]
    assert found[0].upstream_stats is None


def test_a_connect_that_takes_too_long_gets_504() -> None:
    class Never:
        def connect(self, request: object, on_connected: Callable[[object], None]) -> Callable[[], None]:
            timer = stage.proxy.reactor.call_later(0.1, lambda: on_connected(Failure(Outcome.CONNECT_TIMEOUT, "It does not respond.")))
            return timer.cancel

    with Stage() as stage, Client(stage) as client:
        stage.call(lambda: setattr(stage.proxy.plain._targets, "connector", Never()))
        heard = client.ask("http://here.test/", "Content-Length: 5", method="POST", body=b"12345")
        assert (heard.status, "connection_timeout" in heard.headers["proxy-status"]) == (504, True)
        client.send(b"GET http://here.test/ HTTP/1.1\r\nHost: x\r\n\r\n")
        client.reset()
    assert stage.proxy.plain.visitors == 0


@pytest.mark.parametrize(
    ("answer", "status", "error"),
    [(None, 502, "http_response_incomplete"), (b"nonsense\r\n\r\n", 502, "http_protocol_error")],
    ids=["closed", "invalid"],
)
def test_an_origin_that_fails_is_told_from_one_that_is_not_reached(answer: bytes | None, status: int, error: str) -> None:
    with Origin(lambda _request, _sock: answer) as origin, Stage() as stage, Client(stage) as client:
        heard = client.ask(url(origin))
        assert (heard.status, f"error={error};" in heard.headers["proxy-status"]) == (status, True)
        assert events(stage, 1)[0].result == "established"


def test_a_truncated_response_is_visibly_broken() -> None:
    with (
        Origin(lambda _request, _sock: b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc") as origin,
        Stage() as stage,
        Client(stage) as client,
    ):
        client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        client.read_head()
        assert client.read(3) == b"abc"
        origin.close()
        with pytest.raises(ConnectionResetError):
            client.rest()


def test_each_request_is_judged() -> None:
    with Origin() as allowed, Origin() as blocked:
        rules = TargetRules(block=PatternSet([read_pattern(f"*:{blocked.port}")]), allow_private=True)
        with Stage(policy=RulePolicy(RuleSet(rules))) as stage, Client(stage) as client:
            assert client.ask(url(allowed)).status == 200
            assert client.ask(url(blocked)).status == 403
            assert client.ask(url(allowed)).status == 200
        assert not blocked.requests


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "here.test", "127.1"])
def test_private_targets_are_refused(host: str) -> None:
    with Origin() as origin, Stage(policy=RulePolicy(RuleSet(TargetRules()))) as stage, Client(stage) as client:
        assert client.ask(url(origin, host=host)).status in (403, 502)
        assert not origin.live


def test_users_authenticate_with_each_request_and_never_share_a_connection() -> None:
    class Two(OneUser):
        def check(self, name: str, password: bytes, source: str, on_checked: Callable[[User | Failure], None]) -> None:
            if name == "bob":
                on_checked(User("bob"))
            else:
                super().check(name, password, source, on_checked)

    with Origin() as origin, Stage(users=Two(User("ann")), log_targets=True) as stage, Client(stage) as client:
        refused = client.ask(url(origin), "Content-Length: 2", method="POST", body=b"hi")
        assert (refused.status, refused.headers["proxy-authenticate"][:5]) == (407, "Basic")
        assert client.ask(url(origin), basic("ann", "wrong")).status == 407
        for name in ("ann", "bob", "ann"):
            assert client.ask(url(origin), basic(name)).status == 200
        assert client.ask(url(origin)).status == 407
        assert client.ask(url(origin), basic("ann"), basic("ann")).status == 407
        assert [request.connection for request in origin.requests] == [0, 1, 0]
        assert not [request for request in origin.requests if request.all("proxy-authorization")]
        assert [event.user for event in events(stage, 7)] == [None, None, "ann", "bob", "ann", None, None]


def test_a_check_that_takes_a_while_is_waited_for() -> None:
    class Slow(OneUser):
        def check(self, name: str, password: bytes, source: str, on_checked: Callable[[User | Failure], None]) -> None:
            stage.proxy.reactor.call_later(0.1, lambda: OneUser.check(self, name, password, source, on_checked))

    with Origin() as origin, Stage(users=Slow(User("ann"))) as stage, Client(stage) as client:
        assert client.ask(url(origin), basic("ann"), "Content-Length: 2", method="POST", body=b"hi").status == 200
        assert client.ask(url(origin), basic("ann", "x")).status == 407
        client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\n{basic('ann')}\r\n\r\n".encode())
        client.reset()


def test_too_many_requests_of_a_user_or_connections_of_a_source() -> None:
    with Origin(lambda _request, _sock: None if _sock.recv(1) else b"") as origin:
        with Stage(users=OneUser(User("ann", tunnels_max=1))) as stage, Client(stage) as one, Client(stage) as two:
            one.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\n{basic('ann')}\r\n\r\n".encode())
            while not origin.requests:
                time.sleep(0.005)
            assert two.ask(url(origin), basic("ann")).status == 429
        with Stage(max_per_source=1) as stage, Client(stage) as one, Client(stage) as two:
            one.get("/")
            two.send(b"GET http://here.test:1/ HTTP/1.1\r\nHost: x\r\n\r\n")
            assert two.answer().status in (429, 502)


def test_removing_a_user_resets_its_connections() -> None:
    with Origin(lambda _request, _sock: None if _sock.recv(1) else b"") as origin, Stage(users=OneUser(User("ann"))) as stage:
        with Client(stage) as client:
            client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\n{basic('ann')}\r\n\r\n".encode())
            while not origin.requests:
                time.sleep(0.005)
            stage.call(lambda: stage.proxy.end_tunnels_of("ann"))
            with pytest.raises(ConnectionResetError):
                client.rest()
        assert stage.proxy._of_user == {}


def test_a_half_closed_client_gets_its_response() -> None:
    def answer(_request: object, _sock: socket.socket) -> bytes:
        time.sleep(0.05)
        return say(b"late")

    with Origin(answer) as origin, Stage() as stage, Client(stage) as client:
        client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.end()
        assert client.answer().body == b"late"


def test_limits_of_the_proxy_hold_for_each_request() -> None:
    with Origin(lambda _request, _sock: say(b"x" * 100)) as origin, Stage(max_total_payload=50) as stage, Client(stage) as client:
        client.send(f"GET {url(origin)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        client.read_head()
        with pytest.raises(ConnectionResetError):
            client.rest()
        assert client.pending[:50] == b"x" * len(client.pending[:50])
