"""Streams that the server opens: only for exported tunnels, answered by a status byte, then relayed."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from portway.agent import origins as origins_module
from portway.agent.events import AgentEvent, RelayDone
from portway.agent.origins import Origins
from portway.agent.settings import TunnelRequest
from portway.agent.target import Target
from portway.engine.memory_channel import MemoryChannel, memory_pair
from portway.engine.policy import UNLIMITED, Policy
from portway.errors import BrokenChannel
from portway.protocol.control.messages import Granted
from portway.protocol.proxy_header import TLV_ALPN, TLV_AUTHORITY, TLV_UNIQUE_ID, ProxyHeader, decode, encode, encode_local, encode_visitor
from portway.protocol.stream_status import StreamStatus
from portway.session.claims import Claims, TunnelClaim
from tests.kit.loops import EngineLoop
from tests.kit.origins import RawOrigin, echo, send_half_then_reset
from tests.kit.raw_agent import read_now
from tests.kit.sockets import free_port, reset

VISITOR = ("203.0.113.9", 4711)


@dataclass
class Stage:
    """An agent's origins with one exported tunnel (7), and the server's ends of its streams."""

    engine: EngineLoop
    target: Target
    kind: str = "tcp"
    policy: Policy = UNLIMITED
    send_proxy: bool = False
    events: list[AgentEvent] = field(default_factory=list)

    def __post_init__(self) -> None:
        request = TunnelRequest(kind=self.kind, target=self.target, policy=self.policy, send_proxy=self.send_proxy)  # type: ignore[arg-type]
        self.claims: Claims[TunnelRequest] = Claims([TunnelClaim(self.kind, request)])  # type: ignore[arg-type]
        (claim,) = self.claims.pending()
        self.claims.apply_reply(Granted(id=claim.id, tunnel=7, epoch=1, url="x"))

        async def make() -> Origins:
            return Origins(self.engine.reactor, self.claims, self.events.append)

        self.origins = self.engine.run(make())
        self.nears: list[MemoryChannel] = []

    def open(self, preamble: bytes) -> MemoryChannel:
        near, far = memory_pair(self.engine.reactor)
        self.nears.append(near)
        near.send(preamble)
        self.origins.accept(far)
        return near

    def hear(self, near: MemoryChannel, count: int) -> bytes:
        got = bytearray()

        def enough() -> bool:
            got.extend(read_now(near))
            return len(got) >= count

        self.engine.run_until(enough)
        return bytes(got)


NewStage = Callable[..., Stage]


@pytest.fixture
def new_stage(engine: EngineLoop) -> Iterator[NewStage]:
    made: list[Stage] = []

    def make(target: Target, kind: str = "tcp", policy: Policy = UNLIMITED, *, send_proxy: bool = False) -> Stage:
        made.append(Stage(engine, target, kind, policy, send_proxy))
        return made[-1]

    yield make
    for stage in made:
        for near in stage.nears:
            near.abort()
    engine.settle()


@pytest.fixture
def origin() -> Iterator[RawOrigin]:
    with RawOrigin(echo) as origin:
        yield origin


def visitor(tunnel_id: int = 7) -> bytes:
    return encode_visitor(VISITOR, ("192.0.2.1", 20001), tunnel_id, b"u")


def test_a_stream_of_an_exported_tunnel_reaches_its_origin(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    near = stage.open(visitor() + b"early")
    assert stage.hear(near, 6) == b"\0early"
    near.send(b" and late")
    near.shutdown_write()
    assert stage.hear(near, 9) == b" and late"
    engine.run_until(lambda: bool(stage.events))
    (done,) = stage.events
    assert isinstance(done, RelayDone)
    assert (done.tunnel, done.bytes_in, done.bytes_out, done.reason) == (7, 14, 14, "closed")
    assert done.relay == b"u".hex()
    assert done.forward is not None
    assert done.backward is not None
    assert (done.forward.shutdown_reason, done.backward.shutdown_reason) == ("ended", "ended")
    assert not stage.origins.streams


def test_a_stream_on_a_full_link_is_served_when_it_has_room(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    near, far = memory_pair(engine.reactor, 100)
    stage.nears.append(near)
    far.send(b"x" * 100)
    near.send(visitor() + b"early")
    stage.origins.accept(far)
    engine.run_until(lambda: origin.accepted == 1)
    engine.settle()
    assert read_now(near) == b"x" * 100
    assert stage.hear(near, 6) == b"\0early"


def test_a_visitor_that_leaves_a_full_link_closes_its_origin_connection(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    near, far = memory_pair(engine.reactor, 100)
    far.send(b"x" * 100)
    near.send(visitor())
    stage.origins.accept(far)
    engine.run_until(lambda: origin.accepted == 1)
    engine.settle()
    assert stage.origins.streams
    near.abort()
    engine.run_until(lambda: not stage.origins.streams)


@pytest.mark.parametrize(
    "preamble",
    [visitor(8), encode_local(0), encode(ProxyHeader(local=True)), encode(ProxyHeader(local=True, tlvs=((0xE0, b"\0\0\0\7"),) * 2))],
    ids=["another tunnel", "tunnel 0", "no tunnel", "two tunnels"],
)
def test_a_stream_for_an_unknown_tunnel_is_refused_and_reaches_no_origin(
    engine: EngineLoop, new_stage: NewStage, origin: RawOrigin, preamble: bytes
) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    assert stage.hear(stage.open(preamble), 1) == bytes((StreamStatus.UNKNOWN_TUNNEL,))
    assert stage.origins.refused == 1
    assert origin.accepted == 0


def test_a_tunnel_of_a_lost_session_is_no_longer_exported(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    stage.claims.session_lost()
    assert stage.hear(stage.open(visitor()), 1) == bytes((StreamStatus.UNKNOWN_TUNNEL,))


def test_a_stream_that_arrives_before_its_grant_waits_for_it(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    stage.claims.session_lost()
    (claim,) = stage.claims.pending()
    near = stage.open(visitor(9) + b"early")
    engine.settle()
    assert read_now(near) == b""
    stage.claims.apply_reply(Granted(id=claim.id, tunnel=9, epoch=2, url="x"))
    stage.origins.on_claim_reply()
    assert stage.hear(near, 6) == b"\0early"


def test_a_stream_whose_grant_never_arrives_is_refused(
    engine: EngineLoop, new_stage: NewStage, origin: RawOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins_module, "PENDING_S_MAX", 0.1)
    monkeypatch.setattr(origins_module, "PENDING_MAX", 1)
    stage = new_stage(Target("127.0.0.1", origin.port))
    stage.claims.session_lost()
    stage.claims.pending()
    first = stage.open(visitor(9))
    engine.settle()
    assert read_now(first) == b""
    second = stage.open(visitor(9))
    assert stage.hear(second, 1) == bytes((StreamStatus.UNKNOWN_TUNNEL,)), "few may wait"
    assert stage.hear(first, 1) == bytes((StreamStatus.UNKNOWN_TUNNEL,))
    assert origin.accepted == 0


def test_a_stream_without_a_preamble_is_aborted_and_counted(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    near = stage.open(b"GET / HTTP/1.1\r\n\r\n")
    engine.settle()
    with pytest.raises(BrokenChannel):
        near.send(b"x")
    assert stage.origins.refused == 1
    assert origin.accepted == 0


def test_an_unreachable_origin_is_reported_in_one_byte(engine: EngineLoop, new_stage: NewStage) -> None:
    stage = new_stage(Target("127.0.0.1", free_port()))
    assert stage.hear(stage.open(visitor()), 1) == bytes((StreamStatus.REFUSED,))
    (done,) = stage.events
    assert isinstance(done, RelayDone)
    assert done.reason == StreamStatus.REFUSED.description
    assert (done.relay, done.forward) == (b"u".hex(), None)


def test_streams_of_http_tunnels_are_reported_as_such(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port), kind="http")
    near = stage.open(encode_local(7, b"u") + b"hello")
    assert stage.hear(near, 6) == b"\0hello"
    near.shutdown_write()
    engine.run_until(lambda: not stage.origins.streams)
    (done,) = stage.events
    assert isinstance(done, RelayDone)
    assert (done.kind, done.relay, done.bytes_in, done.bytes_out) == ("http", b"u".hex(), 5, 5)


def test_an_origin_that_dies_during_a_response_breaks_the_stream(engine: EngineLoop, new_stage: NewStage) -> None:
    with RawOrigin(send_half_then_reset) as origin:
        stage = new_stage(Target("127.0.0.1", origin.port))
        near = stage.open(visitor() + b"8000000 1\n")
        broken = False

        def read() -> None:
            nonlocal broken
            try:
                read_now(near)
            except BrokenChannel:
                broken = True

        near.on_readable = near.on_broken = read  # from the reactor, so that the window's update is flushed
        engine.run_until(lambda: broken)
        assert not near.ended
        engine.run_until(lambda: bool(stage.events))
        (done,) = stage.events
        assert isinstance(done, RelayDone)
        assert done.reason == "the origin broke the connection"


def test_a_visitor_that_leaves_during_the_connect_aborts_it(new_stage: NewStage, engine: EngineLoop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stage = new_stage(Target("127.0.0.1", silent.getsockname()[1], tls=True, scheme="https"))
        near = stage.open(visitor())
        engine.run_until(lambda: len(stage.origins.streams) == 1)
        near.abort()
        engine.run_until(lambda: not stage.origins.streams)
        silent.settimeout(5)
        connection, _ = silent.accept()
        connection.settimeout(5)
        with connection, contextlib.suppress(ConnectionResetError):
            while connection.recv(10000):
                pass
    assert stage.events == []


def test_a_visitor_that_leaves_before_the_origin_answers_aborts_the_connect(
    engine: EngineLoop, new_stage: NewStage, origin: RawOrigin
) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port))
    near = stage.open(visitor())
    near.abort()
    engine.settle()
    engine.run_until(lambda: not stage.origins.streams)
    assert not origin.live or stage.events


def test_streams_beyond_the_bound_are_refused(
    engine: EngineLoop, new_stage: NewStage, origin: RawOrigin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins_module, "STREAMS_MAX", 1)
    stage = new_stage(Target("127.0.0.1", origin.port))
    first = stage.open(visitor())
    assert stage.hear(first, 1) == b"\0"
    second = stage.open(visitor())
    assert stage.hear(second, 1) == bytes((StreamStatus.OVERLOADED,))
    first.abort()
    engine.run_until(lambda: not stage.origins.streams)


@pytest.mark.parametrize(
    ("policy", "reason"),
    [
        (Policy(idle_timeout_s=0.1), "idle for too long"),
        (Policy(max_lifetime_s=0.1), "lifetime limit reached"),
        (Policy(max_total_payload=5), "payload limit reached"),
    ],
)
def test_the_limits_of_a_tunnel_apply_to_its_relays(
    engine: EngineLoop, new_stage: NewStage, origin: RawOrigin, policy: Policy, reason: str
) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port), policy=policy)
    near = stage.open(visitor() + b"hello")
    assert stage.hear(near, 1)[:1] == b"\0"
    engine.run_until(lambda: bool(stage.events))
    (done,) = stage.events
    assert isinstance(done, RelayDone)
    assert done.reason == reason
    with pytest.raises(BrokenChannel):
        while not near.ended:
            read_now(near)


def test_the_relays_of_a_tunnel_share_one_bandwidth(new_stage: NewStage) -> None:
    stage = new_stage(Target("127.0.0.1", 1), policy=Policy(bandwidth_bps=1000))
    (scope,) = stage.origins.scopes(next(iter(stage.claims)).subject)
    assert scope.policy.bandwidth_bps == 1000


@pytest.mark.parametrize("kind", ["tcp", "tls"])
def test_an_origin_may_get_the_visitor_in_a_proxy_header(engine: EngineLoop, new_stage: NewStage, kind: str) -> None:
    received = bytearray()

    def origin(sock: socket.socket) -> None:
        while data := sock.recv(1000):
            received.extend(data)

    with RawOrigin(origin) as raw:
        stage = new_stage(Target("127.0.0.1", raw.port), kind, send_proxy=True)
        near = stage.open(encode_visitor(VISITOR, ("192.0.2.1", 443), 7, b"unique", "app.example.org", b"h2") + b"hello")
        assert stage.hear(near, 1) == b"\0"
        near.shutdown_write()
        engine.run_until(lambda: bool(stage.events))
    found = decode(received)
    assert found is not None
    header, size = found
    assert received[size:] == b"hello"
    assert (header.local, header.source, header.destination) == (False, VISITOR, ("192.0.2.1", 443))
    assert header.tlvs == ((TLV_UNIQUE_ID, b"unique"), (TLV_AUTHORITY, b"app.example.org"), (TLV_ALPN, b"h2")), "no tunnel id"
    (done,) = stage.events
    assert isinstance(done, RelayDone)
    assert (done.bytes_in, done.kind, done.reason) == (5, kind, "closed")


def test_an_origin_gets_no_proxy_header_by_default(engine: EngineLoop, new_stage: NewStage, origin: RawOrigin) -> None:
    stage = new_stage(Target("127.0.0.1", origin.port), "tls")
    near = stage.open(encode_visitor(VISITOR, ("192.0.2.1", 443), 7, b"unique", "app.example.org", b"h2") + b"hello")
    assert stage.hear(near, 6) == b"\0hello"


def test_an_origin_that_resets_before_its_proxy_header_is_reported(engine: EngineLoop, new_stage: NewStage) -> None:
    with RawOrigin(reset) as raw:
        stage = new_stage(Target("127.0.0.1", raw.port), send_proxy=True)
        for _ in range(20):
            stage.open(visitor() + b"hello")
        engine.run_until(lambda: len(stage.events) == 20)
    assert {event.reason for event in stage.events if isinstance(event, RelayDone)} <= {
        "the origin broke the connection",
        "the visitor broke the connection",
        "the origin refused the connection",  # the reset may be faster than the agent's look at the new connection
    }
    assert not stage.origins.streams
