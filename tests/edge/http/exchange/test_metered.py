"""HTTP exchanges under limits: what ends them, what the visitor sees, what passes, and which events are emitted."""

import socket
import threading
import time
from collections.abc import Callable, Iterator

import h11
import pytest

from portway.edge.events import RelayDone, RequestDone
from portway.edge.http.exchange.exchange import Exchange
from portway.edge.http.exchange.metered import MeteredExchange
from portway.edge.http.settings import HttpEdgeSettings
from portway.engine import limits as limits_module
from portway.engine import policy as policy_module
from portway.engine.bucket import BURST_S, Bucket
from portway.engine.limits import Scopes, scopes_of
from portway.engine.policy import Policy
from portway.engine.tally import ABORTED, ENDED, IDLE, LIFETIME, PAYLOAD, READ_BROKE, TOO_SLOW, WRITE_BROKE
from tests.edge.http.kit import Heard, Origin, Request, Stage, chunked, say
from tests.edge.http.test_websocket import echoing, switched
from tests.engine.test_bucket import fairness
from tests.kit.streams import blocks


def limit(stage: Stage, policy: Policy, *hosts: str) -> Scopes:
    """Hold tunnels (`a.localhost`) to a policy, all of them to the same."""
    scopes = scopes_of(stage.engine.reactor, policy)
    for host in hosts or ("a.localhost",):
        lease = stage.registry.lookup("http", host)
        assert lease is not None
        lease.scopes = scopes
    return scopes


@pytest.fixture
def told(stage: Stage) -> list[RequestDone | RelayDone]:
    """Events of finished requests and websockets."""
    told: list[RequestDone | RelayDone] = []
    stage.edge.on_finished = told.append
    numbers = iter(range(1, 1000))
    stage.edge.pools.new_id = lambda: next(numbers).to_bytes(16, "big")
    return told


def reasons(event: RequestDone | RelayDone) -> tuple[str, str]:
    return event.forward.shutdown_reason, event.backward.shutdown_reason


def sizes(event: RequestDone | RelayDone) -> tuple[int, int]:
    return event.forward.total_bytes, event.backward.total_bytes


# What ends an exchange.


def stays_silent(_request: Request, sock: socket.socket) -> None:
    """Answer never."""
    sock.recv(1)


def breaks_off(_request: Request, sock: socket.socket) -> None:
    """Begin an answer, and close."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")


def falls_silent(_request: Request, sock: socket.socket) -> None:
    """Begin an answer, and send no more."""
    breaks_off(_request, sock)
    sock.recv(1)


def trickles(_request: Request, sock: socket.socket) -> bytes | None:
    """Answer a byte at a time, until the connection breaks."""
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    sock.settimeout(0.02)
    while True:
        sock.sendall(b".")
        try:
            if not sock.recv(1):
                return None
        except TimeoutError:
            continue


def hello(_request: Request, _sock: socket.socket) -> bytes:
    """Answer with five bytes."""
    return say(b"hello")


def closes(_request: Request, _sock: socket.socket) -> None:
    """Close without an answer."""


ENDINGS = [
    (ENDED, Policy(), hello, 200, (ENDED, ENDED)),
    (READ_BROKE, Policy(), breaks_off, None, (ENDED, READ_BROKE)),
    (f"{READ_BROKE} before", Policy(), closes, 502, (ENDED, READ_BROKE)),
    (IDLE, Policy(idle_timeout_s=0.1), falls_silent, None, (ENDED, IDLE)),
    (f"{IDLE} before", Policy(idle_timeout_s=0.1), stays_silent, 504, (ENDED, IDLE)),
    (TOO_SLOW, Policy(min_rate_bpm=5000), trickles, None, (ENDED, TOO_SLOW)),
    (f"{TOO_SLOW} before", Policy(min_rate_bpm=5000), stays_silent, 504, (ENDED, TOO_SLOW)),
    (LIFETIME, Policy(max_lifetime_s=0.2), trickles, None, (ENDED, LIFETIME)),
    (f"{LIFETIME} before", Policy(max_lifetime_s=0.1), stays_silent, 504, (ENDED, LIFETIME)),
    (PAYLOAD, Policy(max_total_payload=4), hello, None, (ENDED, PAYLOAD)),
]


@pytest.mark.parametrize("row", [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS])
def test_every_end_has_its_reason_and_a_truncated_one_never_looks_complete(
    stage: Stage,
    told: list[RequestDone],
    row: tuple[Policy, Callable[[Request, socket.socket], bytes | None], int | None, tuple[str, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    policy, origin_does, status, ended = row
    monkeypatch.setattr(policy_module, "MINUTE_S", 0.2)
    with Origin(origin_does) as origin:
        stage.publish(origin)
        limit(stage, policy)

        def story() -> Heard | None:
            with stage.caller() as visitor:
                try:
                    return visitor.get()
                except (ConnectionResetError, h11.RemoteProtocolError):
                    return None
                finally:
                    stage.eventually(lambda: len(told) == 1)

        heard = stage.play(story)
        assert (None if heard is None else heard.status) == status
        (event,) = told
        assert reasons(event) == ended
        assert (event.method, event.visitor, event.tunnel) == ("GET", None, stage.registry.lookup("http", "a.localhost").tunnel_id)  # type: ignore[union-attr]
        assert len(event.relay) == 32
        assert 0 <= event.forward.duration <= event.backward.duration < 10
        if status is not None and status >= 400:
            assert event.status == status
            assert event.why == heard.code  # type: ignore[union-attr]


def test_a_visitor_that_leaves_is_reported_as_such(stage: Stage, told: list[RequestDone]) -> None:
    with Origin(stays_silent) as origin:
        stage.publish(origin)
        limit(stage, Policy(idle_timeout_s=60))

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 10\r\n\r\nhalf")
                stage.eventually(lambda: bool(origin.wires))
                visitor.reset()
            stage.eventually(lambda: len(told) == 1)

        stage.play(story)
        assert (told[0].status, reasons(told[0]), sizes(told[0])) == (499, (READ_BROKE, WRITE_BROKE), (4, 0))


def test_the_limits_of_a_request_end_with_it(stage: Stage, told: list[RequestDone]) -> None:
    """Between requests nothing is timed, and each begins anew."""
    with Origin(hello) as origin:
        stage.publish(origin)
        limit(stage, Policy(idle_timeout_s=0.5, max_lifetime_s=0.5, max_total_payload=5))

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get().body == b"hello"
                time.sleep(0.7)
                assert visitor.get().body == b"hello"

        stage.play(story)
        assert [reasons(event) for event in told] == [(ENDED, ENDED)] * 2
        assert len(origin.wires) == 1, "and the stream is used again"
        assert len({event.relay for event in told}) == 1


# The payload, to the byte.


def coded(body: bytes) -> bytes:
    return chunked([body[:1000], body[1000:2500], body[2500:]])


def until_end(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\n\r\n" + body


FRAMINGS = [say, coded, until_end]


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("total", [1, 2400, 100_001])
def test_exactly_the_payload_arrives_and_then_the_break(
    stage: Stage, told: list[RequestDone], framing: Callable[[bytes], bytes], total: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits_module, "PAYLOAD_QUIET_S", 0.1)
    body = b"".join(blocks(300_000))[:300_000]

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(framing(body))
        return None

    with Origin(answer) as origin:
        stage.publish(origin)
        limit(stage, Policy(max_total_payload=total))

        def story() -> bytes:
            got = b""
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                head = visitor.read_head()
                got, visitor.pending = visitor.pending, b""
                with pytest.raises(ConnectionResetError):
                    while True:
                        piece = visitor.sock.recv(1 << 16)
                        assert piece, "this looks like an end"
                        got += piece
            stage.eventually(lambda: len(told) == 1)
            return payload_of(head, got)

        assert stage.play(story) == body[:total]
        assert (told[0].status, reasons(told[0]), sizes(told[0])) == (200, (ENDED, PAYLOAD), (0, total))


def test_a_slow_visitor_gets_all_of_the_payload_too(stage: Stage) -> None:
    """A reset throws away what the kernel has not sent: it has to wait until everything is there."""
    with Origin(lambda _request, _sock: say(bytes(600_000))) as origin:
        stage.publish(origin)
        limit(stage, Policy(max_total_payload=500_000))

        def story() -> int:
            with stage.caller(receive_buffer=16 * 1024) as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                got = len(visitor.pending)
                time.sleep(0.4)
                with pytest.raises(ConnectionResetError):
                    while piece := visitor.sock.recv(1 << 16):
                        got += len(piece)
                return got

        assert stage.play(story) == 500_000


def payload_of(head: bytes, wire: bytes) -> bytes:
    if b"chunked" not in head:
        return wire
    payload = b""
    while wire:
        size, _, rest = wire.partition(b"\r\n")
        count = int(size, 16)
        assert count, "the last chunk must never come"
        assert len(rest) >= count + 2
        payload += rest[:count]
        wire = rest[count + 2 :]
    return payload


@pytest.mark.parametrize("framing", FRAMINGS)
def test_a_body_that_fits_exactly_is_complete(stage: Stage, told: list[RequestDone], framing: Callable[[bytes], bytes]) -> None:
    body = b"".join(blocks(90_000))[:90_000]

    def answer(request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(framing(body[: 90_000 - len(request.body)]))
        return None

    with Origin(answer) as origin:
        stage.publish(origin)
        limit(stage, Policy(max_total_payload=90_000))

        def story() -> bytes:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                return visitor.answer().body

        assert stage.play(story) == body[:89_997]
        assert (reasons(told[0]), sizes(told[0])) == ((ENDED, ENDED), (3, 89_997))


def test_an_upload_announced_as_too_long_is_refused_before_it_reaches_the_origin(stage: Stage, told: list[RequestDone]) -> None:
    with Origin() as origin:
        stage.publish(origin)
        limit(stage, Policy(max_total_payload=9))

        def story() -> Heard:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 10\r\n\r\n0123456789")
                return visitor.answer()

        heard = stage.play(story)
        assert (heard.status, heard.code) == (413, "body_too_large")
        assert origin.wires == []
        assert (told[0].status, reasons(told[0]), sizes(told[0])) == (413, (PAYLOAD, PAYLOAD), (0, 0))


def test_an_upload_of_unknown_length_is_cut_at_the_byte_and_refused(stage: Stage, told: list[RequestDone]) -> None:
    with Origin() as origin:
        stage.publish(origin)
        limit(stage, Policy(max_total_payload=9))

        def story() -> Heard:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nTransfer-Encoding: chunked\r\n\r\n7\r\n0123456\r\n3\r\n789\r\n")
                return visitor.answer()

        heard = stage.play(story)
        assert (heard.status, heard.code) == (413, "body_too_large")
        assert (reasons(told[0]), sizes(told[0])) == ((PAYLOAD, PAYLOAD), (9, 0))
        assert not origin.requests, "a cut request never looks complete"


# Rates.

RATE_BPS = 500_000


class Meter:
    """How much a rate allowed since it began, by the clock."""

    def __init__(self, stage: Stage) -> None:
        self.began_at = stage.engine.reactor.refresh_now()
        self.now = time.monotonic

    def due(self) -> float:
        """Return the bytes that may have come by now."""
        return RATE_BPS * (self.now() - self.began_at + BURST_S)


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("policy", [Policy(max_rate_bps=RATE_BPS), Policy(bandwidth_bps=RATE_BPS)], ids=["its own", "shared"])
def test_an_answer_keeps_the_rate_and_loses_nothing(stage: Stage, framing: Callable[[bytes], bytes], policy: Policy) -> None:
    body = b"".join(blocks(200_000))[:200_000]

    def answer(_request: Request, sock: socket.socket) -> bytes | None:
        sock.sendall(framing(body))
        return None

    with Origin(answer) as origin:
        stage.publish(origin)
        meter = Meter(stage)
        limit(stage, policy)

        def story() -> bytes:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\nConnection: close\r\n\r\n")
                head = visitor.read_head()
                got = visitor.pending
                while piece := visitor.sock.recv(1 << 16):
                    got += piece
                    assert len(got) <= meter.due()
                return payload_of(head, got.removesuffix(b"0\r\n\r\n")) if b"chunked" in head else got

        assert stage.play(story) == body


def test_an_upload_keeps_the_rate_and_loses_nothing(stage: Stage) -> None:
    body = b"".join(blocks(200_000))[:200_000]
    passed: list[float] = []

    def answer(request: Request, _sock: socket.socket) -> bytes:
        passed.append(time.monotonic())
        return say(b"%d" % len(request.body))

    with Origin(answer) as origin:
        stage.publish(origin)
        began_at = stage.engine.reactor.refresh_now()
        limit(stage, Policy(max_rate_bps=RATE_BPS))

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"PUT / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
                assert visitor.answer().body == b"200000"

        stage.play(story)
        assert origin.requests[0].body == body
        assert passed[0] - began_at >= len(body) / RATE_BPS - BURST_S


def test_a_hundred_small_answers_keep_the_rate_as_one_large_one_does(stage: Stage) -> None:
    with Origin(lambda _request, _sock: say(bytes(2000))) as origin:
        stage.publish(origin)
        meter = Meter(stage)
        limit(stage, Policy(max_rate_bps=RATE_BPS))

        def story() -> None:
            with stage.caller() as visitor:
                for number in range(1, 101):
                    assert len(visitor.get().body) == 2000
                    assert number * 2000 <= meter.due()

        stage.play(story)


def test_an_answer_that_the_rate_holds_up_is_no_stalled_visitor(stage_with: Callable[[HttpEdgeSettings], Stage]) -> None:
    stage = stage_with(HttpEdgeSettings(stall_s=0.4))
    with Origin(lambda _request, _sock: say(bytes(6000))) as origin:
        stage.publish(origin)
        limit(stage, Policy(max_rate_bps=5000))

        def story() -> None:
            with stage.caller() as visitor:
                assert visitor.get().body == bytes(6000)

        stage.play(story)


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[Bucket]:
    """Recorded whenever a bucket is found empty."""
    found: list[Bucket] = []
    sleep = Bucket._set_timer

    def noted(bucket: Bucket) -> None:
        found.append(bucket)
        sleep(bucket)

    monkeypatch.setattr(Bucket, "_set_timer", noted)
    return found


def test_small_answers_below_the_rate_do_not_wait(stage: Stage, sleeps: list[Bucket]) -> None:
    with Origin(hello) as origin:
        stage.publish(origin)
        limit(stage, Policy(max_rate_bps=RATE_BPS, bandwidth_bps=RATE_BPS))

        def story() -> None:
            with stage.caller() as visitor:
                for _ in range(20):
                    assert visitor.get().body == b"hello"

        stage.play(story)
        assert sleeps == []


def test_the_visitors_of_all_tunnels_of_a_token_share_its_bandwidth_in_equal_parts(stage: Stage) -> None:
    """Three visitors download at full speed, one sends small requests; two tunnels, one token."""
    until = threading.Event()

    def pour(_request: Request, sock: socket.socket) -> None:
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while not until.is_set():
            sock.sendall(bytes(1 << 16))

    def answer(request: Request, sock: socket.socket) -> bytes | None:
        if request.target == "/little":
            return hello(request, sock)
        pour(request, sock)
        return None

    with Origin(answer) as origin:
        stage.publish(origin)
        stage.publish(origin, "b.localhost")
        began_at = stage.engine.reactor.refresh_now()
        limit(stage, Policy(bandwidth_bps=2 * RATE_BPS), "a.localhost", "b.localhost")
        parts = [0, 0, 0]

        def take(number: int, host: str) -> None:
            with stage.caller() as visitor:
                visitor.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
                while not until.is_set():
                    parts[number] += len(visitor.sock.recv(1 << 16))

        def story() -> tuple[list[int], float, float]:
            takers = [threading.Thread(target=take, args=row) for row in enumerate(("a.localhost", "a.localhost", "b.localhost"))]
            for taker in takers:
                taker.start()
            waits = []
            with stage.caller() as visitor:
                for _ in range(12):
                    asked_at = time.monotonic()
                    assert visitor.get("/little").body == b"hello"
                    waits.append(time.monotonic() - asked_at)
                    time.sleep(0.05)
            got, passed_s = list(parts), time.monotonic() - began_at
            until.set()
            for taker in takers:
                taker.join()
            return got, passed_s, sorted(waits)[6]

        got, passed_s, wait_s = stage.play(story)
        assert sum(got) <= 2 * RATE_BPS * (passed_s + BURST_S)
        assert sum(got) >= RATE_BPS * passed_s * 0.8
        assert fairness(got) > 0.95, got
        assert wait_s < 0.5


# Effects on other requests, and what is reported.


def test_limits_of_one_tunnel_are_not_those_of_the_next_that_the_same_visitor_asks(
    stage: Stage, told: list[RequestDone], sleeps: list[Bucket]
) -> None:
    with Origin(lambda _request, _sock: say(bytes(100_000))) as origin:
        stage.publish(origin)
        stage.publish(origin, "b.localhost")
        limit(stage, Policy(max_rate_bps=1_000_000, max_lifetime_s=60))

        asleep = []

        def story() -> None:
            with stage.caller() as visitor:
                for host in ("a.localhost", "b.localhost", "a.localhost", "b.localhost"):
                    sleeps.clear()
                    assert len(visitor.get(host=host).body) == 100_000
                    asleep.append(len(sleeps))

        stage.play(story)
        assert [event.status for event in told] == [200] * 4
        assert (asleep[1], asleep[3]) == (0, 0), "nobody shaped these"
        assert asleep[0] > 0 < asleep[2]


def test_without_limits_and_listeners_nothing_is_measured(stage: Stage, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[type[Exchange]] = []
    monkeypatch.setattr(MeteredExchange, "start", lambda *_, **__: made.append(MeteredExchange))
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            assert visitor.get("/plain").body == b"/plain"

    stage.play(story)
    assert made == []


def test_the_visitor_is_reported_if_configured(stage: Stage, told: list[RequestDone], origin: Origin) -> None:
    object.__setattr__(stage.edge.settings, "log_visitors", True)
    stage.publish(origin)

    def story() -> None:
        with stage.caller() as visitor:
            visitor.get()

    stage.play(story)
    assert told[0].visitor == "127.0.0.1"


@pytest.fixture
def websocket() -> Iterator[Origin]:
    """An origin that switches and echoes."""
    with Origin(echoing) as origin:
        yield origin


def test_a_websocket_is_reported_when_it_begins_and_ends(stage: Stage, told: list[RequestDone | RelayDone], websocket: Origin) -> None:
    stage.publish(websocket)
    limit(stage, Policy(max_total_payload=1000))

    def story() -> None:
        with stage.caller() as visitor:
            switched(visitor)
            visitor.send(bytes(500))
            assert len(visitor.read(500)) == 500
            visitor.send(b"!")
            with pytest.raises(ConnectionResetError):
                visitor.rest()
        stage.eventually(lambda: len(told) == 2)

    stage.play(story)
    begun, over = told
    assert isinstance(begun, RequestDone)
    assert isinstance(over, RelayDone)
    assert (begun.status, reasons(begun)) == (101, (ENDED, ENDED))
    assert (over.relay, over.tunnel, over.port, over.visitor) == (begun.relay, begun.tunnel, 0, None)
    assert (reasons(over), sizes(over)) == ((PAYLOAD, PAYLOAD), (500, 500))


def test_a_request_that_ends_with_the_server_is_reported_too(stage: Stage, told: list[RequestDone]) -> None:
    with Origin(falls_silent) as origin:
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"GET / HTTP/1.1\r\nHost: a.localhost\r\n\r\n")
                visitor.read_head()
                stage.on_loop(stage.edge.close)

        stage.play(story)
        assert (told[0].status, reasons(told[0])) == (200, (ENDED, ABORTED))


def test_an_early_response_is_reported_as_one(stage: Stage, told: list[RequestDone]) -> None:
    def answer_at_once(sock: socket.socket, _wire: bytearray, _connection: int) -> None:
        while b"half" not in sock.recv(1 << 16, socket.MSG_PEEK):
            pass
        sock.sendall(say(b"enough", status=b"413 Enough"))
        sock.recv(1 << 16)
        sock.recv(1)

    with Origin() as origin:
        origin._next = answer_at_once  # type: ignore[assignment,method-assign]
        stage.publish(origin)

        def story() -> None:
            with stage.caller() as visitor:
                visitor.send(b"POST / HTTP/1.1\r\nHost: a.localhost\r\nContent-Length: 1000\r\n\r\nhalf")
                assert visitor.answer("POST").status == 413
            stage.eventually(lambda: len(told) == 1)

        stage.play(story)
        assert reasons(told[0]) == (ABORTED, ENDED)
        assert told[0].why == "the origin answered before it had the whole request"
