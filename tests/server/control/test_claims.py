"""Decisions on claims, below the wire: addresses, ports that cannot be opened, and claims that race each other."""

import asyncio
import errno
import re
import secrets
from dataclasses import dataclass, field

import pytest

from portway.config.values import PortRange
from portway.edge.lease import Lease, Owner
from portway.engine.policy import Policy
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import Claim, ExchangeLimits, Granted, HeadRewrite
from portway.protocol.scram import make_verifier
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.control import claims as claims_module
from portway.server.control.claims import ClaimHandler
from portway.server.control.session import Session
from portway.server.events import LeaseDown, LeaseUp, ServerEvent
from portway.server.tunnels import naming
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.registry import Registry
from tests.kit.loops import EngineLoop

VERIFIER = make_verifier("x" * 22, b"s" * 16)
PORTS = PortRange(20000, 20004)


@dataclass
class FakePorts:
    """Public ports, some of which are used by another program."""

    opened: set[int] = field(default_factory=set)
    errors: dict[int, list[int]] = field(default_factory=dict)
    """Port → errors of the next tries to open it."""

    def open(self, lease: Lease) -> None:
        port = int(lease.address)
        failures = self.errors.get(port)
        if failures:
            raise OSError(failures.pop(0), "no")
        self.opened.add(port)

    def close(self, lease: Lease) -> None:
        if lease.key.kind == "tcp":
            self.opened.discard(int(lease.address))


@dataclass
class Orders:
    """Names for which certificates are wanted, and whether a token lists them."""

    wanted: dict[str, bool] = field(default_factory=dict)

    def certificate_wanted(self, name: str, *, reserved: bool) -> None:
        self.wanted[name] = reserved

    def certificate_released(self, name: str) -> None:
        self.wanted.pop(name, None)


class Server:
    """A claim handler with sessions whose responsiveness is given."""

    def __init__(self, engine: EngineLoop, grants: Grants | None = None, https_port: int | None = 8443) -> None:
        self.engine = engine
        self.registry = Registry(engine.reactor.call_soon, grace_s=60.0)
        self.ports = FakePorts()
        self.orders = Orders()
        self.events: list[ServerEvent] = []
        self.replaced: list[str] = []
        self.sessions: dict[str, Session] = {}
        self.grants = grants or Grants()
        self.claim_handler = ClaimHandler(
            engine.reactor,
            self.registry,
            self,
            self.ports,
            addresses=PublicAddresses("localhost", frozenset(), 8080, "127.0.0.1", https_port=https_port),
            tcp_ports=PORTS,
            on_event=self.events.append,
            random_bytes=secrets.token_bytes,
            certificates=self.orders,
        )

    def find(self, session_id: str) -> Session | None:
        return self.sessions.get(session_id)

    def replace(self, session_id: str, address: str) -> None:
        self.replaced.append(f"{session_id} {address}")

    def session(self, session_id: str, identity: bytes = b"i", *, alive: bool = True) -> Session:
        token = TokenRecord(id="t", name="laptop", verifier=VERIFIER, grants=self.grants)
        session = Session(self.engine.reactor, session_id, Owner("t", identity), token, b"k")
        self.sessions[session_id] = session

        async def is_responsive(within_s: float) -> bool:
            assert within_s == claims_module.PROBE_S
            return alive

        session.is_responsive = is_responsive  # type: ignore[method-assign]
        return session

    def grant(self, session: Session, **claim: object) -> str:
        return self.engine.run(self.claim_handler.grant(session, Claim(id=1 + len(self.events), **claim))).url  # type: ignore[arg-type]

    def refused(self, session: Session, **claim: object) -> str:
        with pytest.raises(RefusedError) as refusal:
            self.grant(session, **claim)
        return refusal.value.code


@pytest.fixture
def server(engine: EngineLoop) -> Server:
    return Server(engine)


def test_ports_are_assigned_until_none_is_free(server: Server) -> None:
    session = server.session("s1")
    urls = {server.grant(session, kind="tcp") for _ in range(5)}
    assert urls == {f"tcp://127.0.0.1:{port}" for port in range(20000, 20005)}
    assert server.ports.opened == set(range(20000, 20005))
    assert server.refused(session, kind="tcp") == "no_free_port"


def test_a_port_of_another_program_is_skipped(server: Server) -> None:
    session = server.session("s1")
    server.ports.errors = {port: [errno.EADDRINUSE] for port in range(20000, 20004)}
    assert server.grant(session, kind="tcp") == "tcp://127.0.0.1:20004"
    assert len(server.registry) == 1
    assert [type(event) for event in server.events] == [LeaseUp], "no LeaseDown for a lease that never came up"


def test_only_ports_that_the_token_allows_are_assigned(engine: EngineLoop) -> None:
    server = Server(engine, Grants(ports=(PortRange(20002, 20002),)))
    session = server.session("s1")
    assert server.grant(session, kind="tcp") == "tcp://127.0.0.1:20002"
    assert server.refused(session, kind="tcp") == "no_free_port"
    assert server.refused(session, kind="tcp", port=20003) == "port_not_allowed"


def test_a_requested_port_that_was_just_released_is_tried_twice(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "REBIND_S", 0.01)
    session = server.session("s1")
    server.ports.errors = {20001: [errno.EADDRINUSE]}
    assert server.grant(session, kind="tcp", port=20001) == "tcp://127.0.0.1:20001"
    server.ports.errors = {20002: [errno.EADDRINUSE, errno.EADDRINUSE], 20003: [errno.EACCES]}
    assert server.refused(session, kind="tcp", port=20002) == "port_taken"
    assert server.refused(session, kind="tcp", port=20003) == "port_taken"
    assert len(server.registry) == 1, "a port that cannot be opened has no lease"
    assert [type(event) for event in server.events] == [LeaseUp]


def test_a_port_stays_open_for_the_grace_time_and_closes_with_its_lease(server: Server) -> None:
    server.grant(server.session("s1"), kind="tcp", port=20001)
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    assert server.ports.opened == {20001}
    server.grant(server.session("s2"), kind="tcp", port=20001)
    server.registry.session_lost("s2", now=server.engine.reactor.now)
    server.registry.expire(now=server.engine.reactor.now + 61)
    assert server.ports.opened == set()
    assert [type(event) for event in server.events] == [LeaseUp, LeaseUp, LeaseDown]


def test_a_responsive_holder_keeps_its_address_and_a_silent_one_is_replaced(server: Server) -> None:
    server.grant(server.session("s1"), kind="http", name="app")
    assert server.refused(server.session("s2"), kind="http", name="app") == "name_in_use"
    server.session("s1", alive=False)
    assert server.grant(server.session("s3"), kind="http", name="app") == "http://app.localhost:8080"
    assert server.replaced == ["s1 app.localhost"]


def test_an_unknown_holder_counts_as_silent(server: Server) -> None:
    server.grant(server.session("s1"), kind="http", name="app")
    del server.sessions["s1"]
    server.grant(server.session("s2"), kind="http", name="app")


def test_a_session_lost_during_the_probe_gets_nothing(server: Server) -> None:
    server.grant(server.session("s1"), kind="http", name="app")
    late = server.session("s2")

    async def lost_meanwhile(within_s: float) -> bool:
        late.closed = True
        return False

    server.sessions["s1"].is_responsive = lost_meanwhile  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        server.grant(late, kind="http", name="app")
    lease = server.registry.lookup("http", "app.localhost")
    assert lease is not None
    assert lease.holder is server.sessions["s1"]


def test_a_claim_repeated_while_it_is_decided_is_granted_once(server: Server) -> None:
    """Its link was lost during the probe, and the agent repeats the claim on the next one."""
    server.grant(server.session("s1"), kind="http", name="app")
    second, probes = server.session("s2"), 0

    async def silent(within_s: float) -> bool:
        nonlocal probes
        probes += 1
        await asyncio.sleep(0.05)
        return False

    async def twice() -> list[Granted]:
        claim = Claim(id=9, kind="http", name="app")
        return await asyncio.gather(*(server.claim_handler.grant(second, claim) for _ in range(3)))

    server.sessions["s1"].is_responsive = silent  # type: ignore[method-assign]
    replies = server.engine.run(twice())
    assert len({reply.epoch for reply in replies}) == 1
    assert probes == 1
    assert server.replaced == ["s1 app.localhost"]
    assert not second.pending_claims


def test_of_two_claims_that_wait_for_a_silent_holder_one_wins(server: Server) -> None:
    server.grant(server.session("s1"), kind="http", name="app")
    second, third = server.session("s2"), server.session("s3")

    async def faster(within_s: float) -> bool:
        lease = server.registry.lookup("http", "app.localhost")
        assert lease is not None
        server.registry.claim(lease.key, third.owner, third, silent_epoch=lease.epoch)
        return False

    server.sessions["s1"].is_responsive = faster  # type: ignore[method-assign]
    assert server.refused(second, kind="http", name="app") == "name_in_use"


def test_a_reclaimed_address_does_not_count_twice(engine: EngineLoop) -> None:
    server = Server(engine, Grants(tunnels_max=1))
    server.grant(server.session("s1"), kind="http", name="app")
    assert server.refused(server.session("s1b"), kind="http", name="other") == "too_many_tunnels"
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    server.grant(server.session("s2"), kind="http", name="app")


def test_a_session_can_release_only_its_own_tunnels(server: Server) -> None:
    server.grant(server.session("s1"), kind="http", name="app")
    lease = server.registry.lookup("http", "app.localhost")
    assert lease is not None
    server.claim_handler.release(server.session("s2", b"other"), lease.tunnel_id)
    assert not lease.gone
    server.claim_handler.release(server.sessions["s1"], lease.tunnel_id)
    assert lease.gone


def test_an_address_held_after_its_release_does_not_count_as_a_tunnel(engine: EngineLoop) -> None:
    server = Server(engine, Grants(tunnels_max=1))
    for number, name in enumerate(("app", "other", "app")):
        session = server.session(f"s{number}")
        server.grant(session, kind="http", name=name)
        lease = server.registry.lookup("http", f"{name}.localhost")
        assert lease is not None
        server.claim_handler.release(session, lease.tunnel_id, keep=True)
        assert (lease.gone, lease.holder, lease.yields) == (False, None, True)


def test_random_ports_are_free_ones_first_and_then_held_ones_of_agents_that_left(engine: EngineLoop) -> None:
    server = Server(engine, Grants())
    first, other = server.session("s1"), server.session("s2", identity=b"other")
    kept = server.grant(first, kind="tcp")
    (lease,) = server.registry.of_session("s1")
    server.claim_handler.release(first, lease.tunnel_id, keep=True)
    others = [server.grant(other, kind="tcp") for _ in range(5)]
    assert others[4] == kept
    assert len(set(others)) == 5
    assert server.refused(first, kind="tcp") == "no_free_port"


def test_all_leases_of_a_token_share_its_limits_and_those_without_have_none(engine: EngineLoop) -> None:
    server = Server(engine, Grants(policy=Policy(bandwidth_bps=1000)))
    for session_id in ("s1", "s2"):
        session = server.session(session_id, identity=session_id.encode())
        server.grant(session, kind="tcp")
        server.grant(session, kind="http", name=session_id)
    leases = [lease for session_id in ("s1", "s2") for lease in server.registry.of_session(session_id)]
    assert len(leases) == 4
    (scope,) = leases[0].scopes
    assert all(lease.scopes == (scope,) for lease in leases)
    assert scope.policy.bandwidth_bps == 1000
    server.grant(server.sessions["s1"], kind="http", name="more", limits=ExchangeLimits(max_total_payload=5, idle_timeout_s=2.0))
    limited = server.registry.lookup("http", "more.localhost")
    assert limited is not None
    assert limited.scopes[0] is scope, "its own limits are applied in addition"
    assert limited.scopes[1].policy == Policy(max_total_payload=5, idle_timeout_s=2.0)
    free = Server(engine)
    free.grant(free.session("s3"), kind="tcp")
    assert [lease.scopes for lease in free.registry.of_session("s3")] == [()]


# Names and ports that the server chooses.

SEED = b"s" * 32


def test_a_seed_gets_the_same_name_in_a_later_session(server: Server) -> None:
    first = server.grant(server.session("s1"), kind="http", seed=SEED)
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    assert server.grant(server.session("s2"), kind="http", seed=SEED) == first
    server.registry.session_ended("s2")
    assert server.grant(server.session("s3"), kind="http", seed=SEED) == first, "also long after the lease has ended"
    assert server.grant(server.session("s4"), kind="http", seed=b"another") != first


def test_two_agents_with_the_same_seed_have_a_name_each_and_keep_it(server: Server) -> None:
    one = server.grant(server.session("s1"), kind="http", seed=SEED)
    other = server.grant(server.session("s2"), kind="http", seed=SEED)
    assert other != one
    assert server.replaced == []
    server.registry.session_lost("s2", now=server.engine.reactor.now)
    assert server.grant(server.session("s3"), kind="http", seed=SEED) == other, "the second one is back while the first one lives"
    assert server.grant(server.session("s4", alive=False), kind="http", seed=SEED) not in (one, other)


def test_the_name_of_a_silent_agent_goes_to_the_next_one_with_its_seed(server: Server) -> None:
    first = server.grant(server.session("s1", alive=False), kind="http", seed=SEED)
    assert server.grant(server.session("s2"), kind="http", seed=SEED) == first
    assert server.replaced == [f"s1 {first.removeprefix('http://').removesuffix(':8080')}"]


def test_one_agent_with_two_tunnels_to_the_same_target_has_two_names(server: Server) -> None:
    session = server.session("s1")
    names = {server.grant(session, kind="http", seed=SEED) for _ in range(3)}
    assert len(names) == 3
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    again = server.session("s2")
    assert {server.grant(again, kind="http", seed=SEED) for _ in range(3)} == names


def test_agents_beyond_the_names_of_a_seed_get_random_ones(server: Server) -> None:
    session = server.session("s1")
    assert len({server.grant(session, kind="http", seed=SEED) for _ in range(naming.SEEDED_MAX + 2)}) == naming.SEEDED_MAX + 2


def test_a_name_of_another_identity_is_skipped(server: Server) -> None:
    first = server.grant(server.session("s1", b"another"), kind="http", seed=SEED)
    assert server.grant(server.session("s2", b"else"), kind="http", seed=SEED) != first


@pytest.mark.parametrize("seed", [b"", SEED])
@pytest.mark.parametrize(
    ("hosts", "url"),
    [
        (("dev-*",), r"http://dev-[a-z]+-[a-z]+-[a-z0-9]{8}\.localhost:8080"),
        (("*.shop.test",), r"http://[a-z]+-[a-z]+-[a-z0-9]{8}\.shop\.test:8080"),
        (("app", "dev-*"), r"http://dev-[a-z]+-[a-z]+-[a-z0-9]{8}\.localhost:8080"),
        (("app", "shop"), r"http://app\.localhost:8080"),
    ],
)
def test_without_a_name_one_is_chosen_that_the_token_allows(hosts: tuple[str, ...], url: str, seed: bytes, engine: EngineLoop) -> None:
    server = Server(engine, Grants(hosts=hosts))
    assert re.fullmatch(url, server.grant(server.session("s1"), kind="http", seed=seed))


def test_names_that_a_token_lists_are_assigned_until_none_is_free(engine: EngineLoop) -> None:
    server = Server(engine, Grants(hosts=("www", "app", "shop")))
    session = server.session("s1")
    assert [server.grant(session, kind="http", seed=SEED) for _ in range(2)] == ["http://app.localhost:8080", "http://shop.localhost:8080"]
    assert server.refused(server.session("s2"), kind="http", seed=SEED) == "name_in_use"
    assert server.refused(server.session("s3", b"another"), kind="http") == "name_taken"


def test_a_token_whose_patterns_cannot_be_completed_is_refused_with_the_reason(engine: EngineLoop) -> None:
    server = Server(engine, Grants(hosts=("d" * 60 + "*",)))
    with pytest.raises(RefusedError, match="no name for this tunnel matches that.*--name"):
        server.grant(server.session("s1"), kind="http", seed=SEED)


def test_the_previous_name_is_tried_first_and_any_other_is_accepted(engine: EngineLoop) -> None:
    server = Server(engine, Grants(hosts=("dev-*",)))
    assert server.grant(server.session("s1"), kind="http", seed=SEED, name="dev-mine") == "http://dev-mine.localhost:8080"
    for name in ("dev-mine", "other", "www", "-"):
        assert server.grant(server.session(f"s {name}"), kind="http", seed=SEED, name=name).startswith("http://dev-")
    assert server.refused(server.session("s9"), kind="http", name="dev-mine") == "name_in_use", "a request for this very name is refused"
    assert server.refused(server.session("s9"), kind="http", name="other") == "host_not_allowed"


def test_a_refusal_that_no_other_name_would_avoid_is_sent_at_once(engine: EngineLoop) -> None:
    server = Server(engine, Grants(tunnels_max=1))
    session = server.session("s1")
    server.grant(session, kind="http", seed=SEED)
    assert server.refused(session, kind="http", seed=SEED) == "too_many_tunnels"
    assert server.refused(session, kind="http", seed=SEED, name="other") == "too_many_tunnels"
    only_tcp = Server(engine, Grants(protocols=("tcp",)))
    assert only_tcp.refused(only_tcp.session("s1"), kind="http", seed=SEED) == "protocol_not_allowed"


def test_a_seed_gets_the_same_port_in_a_later_session(server: Server) -> None:
    first = server.grant(server.session("s1"), kind="tcp", seed=SEED)
    second = server.grant(server.session("s2"), kind="tcp", seed=SEED)
    assert second != first
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    assert server.grant(server.session("s3"), kind="tcp", seed=SEED) == first
    server.registry.session_ended("s3")
    assert server.grant(server.session("s4"), kind="tcp", seed=SEED) == first
    taken = int(first.rpartition(":")[2])
    server.grant(server.session("s5", b"another"), kind="tcp", port=20000 + (taken - 20000 + 2) % 5)
    assert server.grant(server.session("s6"), kind="tcp", seed=SEED, port=taken) not in (first, second)
    assert server.refused(server.session("s7"), kind="tcp", port=taken) == "name_in_use"


def test_replies_are_stored_only_for_addresses_that_a_session_has(server: Server) -> None:
    session = server.session("s1")

    def claim(number: int, **wish: object) -> Granted:
        return server.engine.run(server.claim_handler.grant(session, Claim(id=number, **wish)))  # type: ignore[arg-type]

    port, name = claim(1, kind="tcp"), claim(2, kind="http")
    for number in range(3, 300):
        granted = claim(number, kind="http", name=f"app-{number}")
        server.claim_handler.release(session, granted.tunnel)
    assert len(session.granted_claims) <= 2 * 3 + claims_module.SPARE_REPLIES
    assert claim(1, kind="tcp") == port, "asked again, a claim of any port gets the same one"
    assert claim(2, kind="http") == name

    for number in range(300, 600):
        assert claim(number, kind="tcp", port=port.port).epoch == port.epoch
    assert len(session.granted_claims) <= 2 * 3 + claims_module.SPARE_REPLIES


# Tls tunnels.


def test_a_tls_tunnel_has_a_name_like_an_http_tunnel_and_an_https_url(engine: EngineLoop) -> None:
    server = Server(engine, Grants(hosts=("*", "www.example.com")))
    assert server.grant(server.session("s1"), kind="tls", name="app") == "https://app.localhost:8443"
    assert server.grant(server.sessions["s1"], kind="tls", host="www.example.com") == "https://www.example.com:8443"
    random = server.grant(server.sessions["s1"], kind="tls", seed=SEED)
    assert re.fullmatch(r"https://[a-z]+-[a-z]+-[a-z0-9]{8}\.localhost:8443", random)
    server.registry.session_ended("s1")
    assert server.grant(server.session("s2"), kind="tls", seed=SEED) == random
    lease = server.registry.of_session("s2")[0]
    assert (lease.passthrough, lease.key.kind) == (True, "http")
    assert [(event.kind, event.url) for event in server.events if isinstance(event, LeaseUp)][-1] == ("tls", random)


def test_a_server_without_https_port_refuses_tls_tunnels_with_the_next_step(engine: EngineLoop) -> None:
    server = Server(engine, https_port=None)
    with pytest.raises(RefusedError, match="has no https port") as refusal:
        server.grant(server.session("s1"), kind="tls", name="app")
    assert refusal.value.code == "protocol_not_allowed"
    assert "portway tcp" in refusal.value.next_step
    assert len(server.registry) == 0


def test_changes_of_heads_are_ignored_where_heads_are_not_read(server: Server) -> None:
    claim = Claim(id=1, kind="tls", name="app", rewrite=HeadRewrite(host="localhost"))
    assert not server.engine.run(server.claim_handler.grant(server.session("s1"), claim)).rewrites
    assert server.registry.of_session("s1")[0].rewrite is None


def test_a_name_that_changes_its_protocol_is_announced_as_another_tunnel(server: Server) -> None:
    server.grant(server.session("s1"), kind="http", name="app")
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    server.grant(server.session("s2"), kind="tls", name="app")
    server.grant(server.sessions["s2"], kind="tls", name="app")
    plain, secure = "http://app.localhost:8080", "https://app.localhost:8443"
    assert [(type(event), event.url) for event in server.events if isinstance(event, LeaseUp | LeaseDown)] == [
        (LeaseUp, plain), (LeaseDown, plain), (LeaseUp, secure), (LeaseUp, secure),
    ]  # fmt: skip

    assert server.refused(server.session("s3"), kind="http", name="app") == "name_in_use"
    assert server.grant(server.sessions["s3"], kind="http", name="app", takeover=True) == plain
    assert server.replaced == ["s2 app.localhost"]
    assert isinstance(server.events[-2], LeaseDown)
    assert server.events[-2].url == secure


def test_a_name_that_its_agent_gave_up_is_announced_as_gone_once(server: Server) -> None:
    granted = server.engine.run(server.claim_handler.grant(server.session("s1"), Claim(id=1, kind="http", name="app")))
    server.claim_handler.release(server.sessions["s1"], granted.tunnel, keep=True)
    server.grant(server.session("s2"), kind="tls", name="app")
    assert [type(event) for event in server.events] == [LeaseUp, LeaseDown, LeaseUp]


def test_http_and_tls_tunnels_count_together(engine: EngineLoop) -> None:
    server = Server(engine, Grants(tunnels_max=1))
    server.grant(server.session("s1"), kind="http", name="app")
    assert server.refused(server.sessions["s1"], kind="tls", name="other") == "too_many_tunnels"
    assert server.grant(server.sessions["s1"], kind="tls", name="app") == "https://app.localhost:8443", "the same name, not one more"
    assert server.refused(server.session("s2", b"another"), kind="tls", name="app") == "too_many_tunnels"


def test_certificates_are_wanted_for_live_http_tunnels_and_those_of_listed_names_are_marked(engine: EngineLoop) -> None:
    server = Server(engine, Grants(hosts=("shop", "dev-*", "www.example.com")))
    for name in ("shop", "dev-1"):
        server.grant(server.session("s1"), kind="http", name=name)
    server.grant(server.sessions["s1"], kind="http", host="www.example.com")
    server.grant(server.sessions["s1"], kind="tcp")

    assert server.orders.wanted == {"shop.localhost": True, "dev-1.localhost": False, "www.example.com": True}
    server.registry.session_lost("s1", now=server.engine.reactor.now)
    assert len(server.orders.wanted) == 3, "the agent may return"
    server.grant(server.session("s2"), kind="tls", name="shop")
    assert "shop.localhost" not in server.orders.wanted, "a tls tunnel has its own"
    server.registry.token_revoked("t")
    assert server.orders.wanted == {}
