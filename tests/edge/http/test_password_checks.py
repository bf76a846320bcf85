"""Passwords of http tunnels: right, wrong, guessed at, and many at once."""

import base64
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from portway.edge.http import password_checks
from portway.edge.http.access_control import PublicHttps
from portway.edge.http.settings import HttpEdgeSettings
from portway.protocol.control.messages import AccessRules
from portway.protocol.http_access import HttpAccess
from portway.protocol.password_hash import PasswordHash, hash_password
from tests.edge.http.kit import Heard, MakeStage, Origin, Stage
from tests.edge.http.test_access_control import HOST, PROXIES
from tests.edge.http.visitor.test_relayed import ASK, switch

LOCAL = "a.localhost"
ANN = hash_password(b"sesame", b"s" * 16)


def users(*names: str) -> list[tuple[str, str]]:
    return [(name, str(ANN)) for name in names or ("ann",)]


def protect(stage: Stage, host: str = LOCAL, rules: AccessRules | None = None) -> None:
    lease, _ = stage.lease_and_holder(host)
    lease.access = HttpAccess(rules or AccessRules(users=users()))


def basic(user: str, password: str) -> str:
    return "Authorization: Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def test_a_password_is_asked_for_and_not_forwarded(stage: Stage, origin: Origin) -> None:
    agent = stage.publish(origin)
    protect(stage)

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/secret")
            assert (answer.status, answer.code) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Basic realm="a.localhost", charset="UTF-8"'
            assert "connection" not in answer.headers
            for path in ("/1", "/2"):
                assert visitor.get(path, LOCAL, basic("ann", "sesame")).body == path.encode()
            assert visitor.get("/3").status == 401

    stage.play(story)
    assert [request.target for request in origin.requests] == ["/1", "/2"]
    assert all(not request.all("authorization") for request in origin.requests)
    assert [status for _, _, status in agent.notes] == [401, 200, 200, 401]


@pytest.mark.parametrize(
    "field",
    [
        basic("ann", "Sesame"),
        basic("bob", "sesame"),
        basic("", "sesame"),
        basic("ann", "x" * 1100),
        "Authorization: Bearer abc",
        "Authorization: Basic",
        "Authorization: Basic ann:sesame",
        "Authorization: Basic YW5u",  # ann, without a colon
        "Authorization: Basic " + "A" * 5000,
        basic("ann", "sesame") + "\r\n" + basic("ann", "sesame"),
    ],
)
def test_anything_else_is_refused(stage: Stage, origin: Origin, field: str) -> None:
    stage.publish(origin)
    protect(stage)

    def story() -> None:
        with stage.caller() as visitor:
            for _ in range(2):
                assert visitor.get("/", LOCAL, field).status == 401

    stage.play(story)
    assert origin.requests == []


def test_the_same_credentials_are_hashed_once(stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []
    original = PasswordHash.matches

    def counted(expected: PasswordHash, password: bytes) -> bool:
        hashed.append(password)
        return original(expected, password)

    monkeypatch.setattr(PasswordHash, "matches", counted)
    stage.publish(origin)
    protect(stage)

    def get(password: str) -> int:
        with stage.caller() as visitor:
            return visitor.get("/", LOCAL, basic("ann", password), "X: " + "y" * 2000).status

    def story() -> None:
        with ThreadPoolExecutor(16) as pool:
            assert list(pool.map(get, ["sesame"] * 16)) == [200] * 16
            assert list(pool.map(get, ["wrong"] * 16)) == [401] * 16
        assert get("sesame") == 200

    stage.play(story)
    assert hashed == [b"sesame", b"wrong"]


def test_the_authorization_that_the_tunnel_sets_itself_is_forwarded(stage: Stage, origin: Origin) -> None:
    from portway.protocol.control.messages import HeadRewrite

    stage.publish(origin)
    protect(stage)
    lease, _ = stage.lease_and_holder(LOCAL)
    lease.rewrite = HeadRewrite(request=[("Authorization", "Bearer own")])

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/", LOCAL, basic("ann", "sesame")).status == 200

    stage.play(story)
    assert origin.requests[0].all("authorization") == ["Bearer own"]


def test_a_body_waits_for_the_check(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)
    protect(stage)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(f"POST /form HTTP/1.1\r\nHost: {LOCAL}\r\nContent-Length: 100000\r\n{basic('ann', 'sesame')}\r\n\r\n".encode())
            visitor.send(b"x" * 100_000)
            assert visitor.answer("POST").status == 200

    stage.play(story)
    assert origin.requests[0].body == b"x" * 100_000


def test_an_upgrade_needs_the_password_too(stage: Stage) -> None:
    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(ASK)
            assert visitor.answer().status == 401
        with stage.caller() as visitor:
            visitor.send(ASK[:-2] + basic("ann", "sesame").encode() + b"\r\n\r\n")
            assert b"101" in visitor.read_head()

    with Origin(switch) as origin:
        stage.publish(origin)
        protect(stage)
        stage.play(story)


def test_a_visitor_that_leaves_during_its_check_leaves_nothing_behind(stage: Stage, origin: Origin) -> None:
    stage.publish(origin)
    protect(stage)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.send(f"GET / HTTP/1.1\r\nHost: {LOCAL}\r\n{basic('ann', 'sesame')}\r\n\r\n".encode())
            stage.eventually(lambda: bool(stage.edge.access._passwords._pending))
            visitor.reset()
        stage.eventually(lambda: not stage.edge.visitors and not stage.edge.access._passwords._pending)

    stage.play(story)


# Plain HTTP


@pytest.mark.parametrize(
    ("certificate", "rules", "fields", "status"),
    [
        (True, AccessRules(users=users()), (), 308),
        (False, AccessRules(users=users()), (), 426),
        (None, AccessRules(users=users()), (), 426),
        (True, AccessRules(users=users()), ("Connection: Upgrade", "Upgrade: websocket"), 426),
        (True, AccessRules(users=users(), plain_http="serve"), (), 200),
        (False, AccessRules(users=users(), plain_http="serve"), (), 200),
        (False, AccessRules(users=users(), plain_http="refuse"), (), 426),
        (False, AccessRules(users=users()), ("X-Forwarded-Proto: https",), 200),
    ],
)
def test_passwords_are_not_accepted_over_plain_http_by_mistake(
    stage_with: MakeStage, origin: Origin, certificate: bool | None, rules: AccessRules, fields: tuple[str, ...], status: int
) -> None:
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(origin, HOST)
    protect(stage, HOST, rules)
    if certificate is not None:
        stage.edge.access.https = PublicHttps(443, lambda _name: certificate)

    def story() -> None:
        with stage.caller() as visitor:
            answer = visitor.get("/", HOST, basic("ann", "sesame"), *fields)
            assert answer.status == status
            assert "www-authenticate" not in answer.headers

    stage.play(story)


# Floods


def ask_all(stage: Stage, asks: list[tuple[str, str]]) -> list[Heard]:
    """Send one request per user and password, all at once, each on a connection of its own."""

    def ask(credentials: tuple[str, str]) -> Heard:
        with stage.caller() as visitor:
            visitor.sock.settimeout(30)
            return visitor.get("/", LOCAL, basic(*credentials))

    with ThreadPoolExecutor(64) as pool:
        return list(pool.map(ask, asks))


def fast(monkeypatch: pytest.MonkeyPatch, matches: Callable[[bytes], bool]) -> list[bytes]:
    """Make hashes cost nothing; return what is hashed."""
    hashed: list[bytes] = []

    def quick(_expected: PasswordHash, password: bytes) -> bool:
        hashed.append(password)
        return matches(password)

    monkeypatch.setattr(PasswordHash, "matches", quick)
    return hashed


def test_guesses_of_one_source_are_few_however_many_arrive_at_once(stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = fast(monkeypatch, lambda password: password == b"sesame")
    stage.publish(origin)
    protect(stage)

    def story() -> None:
        answers = ask_all(stage, [("ann", f"guess {number}") for number in range(64)])
        assert {answer.status for answer in answers} == {401, 429}
        delayed = next(answer for answer in answers if answer.status == 429)
        assert (delayed.code, delayed.headers["retry-after"]) == ("too_many_failures", "1")
        assert len(hashed) <= 6

    stage.play(story)


def test_an_honest_crowd_behind_one_address_is_served(stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    fast(monkeypatch, lambda password: password == b"sesame")
    stage.publish(origin)
    names = [f"user{number}" for number in range(120)]
    protect(stage, rules=AccessRules(users=users(*names)))

    def story() -> None:
        asks = [(name, "sesame") for name in names]
        for number in range(0, 120, 10):
            asks.insert(number, (names[number], "typo"))
        answers = ask_all(stage, asks)
        assert sorted(answer.status for answer in answers) == [200] * 120 + [401] * 12

    stage.play(story)


def test_users_that_logged_in_are_served_while_their_source_is_delayed(
    stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch, lambda password: password == b"sesame")
    stage.publish(origin)
    protect(stage, rules=AccessRules(users=users("ann", "bob")))

    def story() -> None:
        assert ask_all(stage, [("ann", "sesame")])[0].status == 200
        ask_all(stage, [("bob", f"guess {number}") for number in range(20)])
        statuses = [answer.status for answer in ask_all(stage, [("ann", "sesame"), ("bob", "sesame")])]
        assert statuses == [200, 429]

    stage.play(story)


def test_a_full_queue_displaces_the_largest_source(stage_with: MakeStage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(password_checks, "QUEUE_MAX", 4)

    def slow(password: bytes) -> bool:
        time.sleep(0.1)
        return password == b"sesame"

    fast(monkeypatch, slow)
    stage = stage_with(HttpEdgeSettings(), PROXIES)
    stage.publish(origin)
    protect(stage, rules=AccessRules(users=users()))

    def ask(ask: tuple[str, str]) -> int:
        address, password = ask
        with stage.caller() as proxy:
            return proxy.get("/", LOCAL, basic("ann", password), f"X-Forwarded-For: {address}").status

    def story() -> None:
        with ThreadPoolExecutor(20) as pool:
            flood = [pool.submit(ask, ("192.0.2.1", f"guess {number}")) for number in range(12)]
            stage.eventually(lambda: len(stage.edge.access._passwords._queue) >= 4)
            assert pool.submit(ask, ("198.51.100.1", "sesame")).result() == 200
            assert {future.result() for future in flood} <= {401, 429, 503}
            assert 503 in {future.result() for future in flood}

    stage.play(story)


def test_a_check_never_blocks_the_reactor(stage: Stage, origin: Origin) -> None:
    """Hashes take 60 ms or more; other visitors' requests meanwhile do not."""
    stage.publish(origin)
    stage.publish(origin, "b.localhost")
    protect(stage)

    def story() -> None:
        with stage.caller() as innocent, ThreadPoolExecutor(4) as pool:
            innocent.get("/", "b.localhost")
            waiting = [pool.submit(ask_all, stage, [("ann", f"guess {number}")]) for number in range(4)]
            took = []
            while not all(future.done() for future in waiting):
                began = time.perf_counter()
                assert innocent.get("/", "b.localhost").status == 200
                took.append(time.perf_counter() - began)
            assert len(took) > 20
            assert sorted(took)[len(took) // 2] < 0.02

    stage.play(story)
