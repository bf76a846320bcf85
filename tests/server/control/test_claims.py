"""Answers to claims, below the wire: addresses, ports that cannot be opened, and claims that race each other."""

import asyncio
import errno
import re
import secrets
from dataclasses import dataclass, field

import pytest

from portway.config.values import PortRange
from portway.engine.policy import Policy
from portway.errors import RefusedError, UnavailableError
from portway.protocol.control.messages import Claim, ExchangeLimits, Granted
from portway.protocol.scram import make_verifier
from portway.server.access.tokens import Grants, TokenRecord
from portway.server.control import claims as granting
from portway.server.control.claims import ClaimHandler
from portway.server.control.session import Session
from portway.server.events import LeaseDown, LeaseUp, ServerEvent
from portway.server.tunnels import naming
from portway.server.tunnels.addresses import PublicAddresses
from portway.server.tunnels.lease import Lease, Owner
from portway.server.tunnels.registry import Registry
from tests.kit.loops import EngineLoop

VERIFIER = make_verifier("x" * 22, b"s" * 16)
PORTS = PortRange(20000, 20004)


@dataclass
class FakePorts:
    """Public ports of which some are another program's."""

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


class House:
    """A granter with sessions that say themselves whether they answer."""

    def __init__(self, engine: EngineLoop, grants: Grants | None = None) -> None:
        self.engine = engine
        self.registry = Registry(engine.reactor.call_soon, grace_s=60.0)
        self.ports = FakePorts()
        self.events: list[ServerEvent] = []
        self.replaced: list[str] = []
        self.sessions: dict[str, Session] = {}
        self.grants = grants or Grants()
        self.claim_handler = ClaimHandler(
            engine.reactor,
            self.registry,
            self,
            self.ports,
            addresses=PublicAddresses("localhost", frozenset(), 8080, "127.0.0.1"),
            tcp_ports=PORTS,
            on_event=self.events.append,
            random_bytes=secrets.token_bytes,
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
            assert within_s == granting.PROBE_S
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
def house(engine: EngineLoop) -> House:
    return House(engine)


def test_ports_are_given_out_until_there_are_none(house: House) -> None:
    session = house.session("s1")
    urls = {house.grant(session, kind="tcp") for _ in range(5)}
    assert urls == {f"tcp://127.0.0.1:{port}" for port in range(20000, 20005)}
    assert house.ports.opened == set(range(20000, 20005))
    assert house.refused(session, kind="tcp") == "no_free_port"


def test_a_port_of_another_program_is_passed_over(house: House) -> None:
    session = house.session("s1")
    house.ports.errors = {port: [errno.EADDRINUSE] for port in range(20000, 20004)}
    assert house.grant(session, kind="tcp") == "tcp://127.0.0.1:20004"
    assert len(house.registry) == 1
    assert [type(event) for event in house.events] == [LeaseUp], "nobody is told of the end of what never came up"


def test_only_ports_that_the_token_may_have_are_given_out(engine: EngineLoop) -> None:
    house = House(engine, Grants(ports=(PortRange(20002, 20002),)))
    session = house.session("s1")
    assert house.grant(session, kind="tcp") == "tcp://127.0.0.1:20002"
    assert house.refused(session, kind="tcp") == "no_free_port"
    assert house.refused(session, kind="tcp", port=20003) == "port_not_allowed"


def test_an_asked_port_that_was_just_released_is_tried_twice(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(granting, "REBIND_S", 0.01)
    session = house.session("s1")
    house.ports.errors = {20001: [errno.EADDRINUSE]}
    assert house.grant(session, kind="tcp", port=20001) == "tcp://127.0.0.1:20001"
    house.ports.errors = {20002: [errno.EADDRINUSE, errno.EADDRINUSE], 20003: [errno.EACCES]}
    assert house.refused(session, kind="tcp", port=20002) == "port_taken"
    assert house.refused(session, kind="tcp", port=20003) == "port_taken"
    assert len(house.registry) == 1, "what cannot be opened is nobody's"
    assert [type(event) for event in house.events] == [LeaseUp]


def test_a_port_stays_open_for_the_grace_time_and_closes_with_its_lease(house: House) -> None:
    house.grant(house.session("s1"), kind="tcp", port=20001)
    house.registry.session_lost("s1", now=house.engine.reactor.now)
    assert house.ports.opened == {20001}
    house.grant(house.session("s2"), kind="tcp", port=20001)
    house.registry.session_lost("s2", now=house.engine.reactor.now)
    house.registry.expire(now=house.engine.reactor.now + 61)
    assert house.ports.opened == set()
    assert [type(event) for event in house.events] == [LeaseUp, LeaseUp, LeaseDown]


def test_a_holder_that_answers_keeps_its_address_and_a_silent_one_is_replaced(house: House) -> None:
    house.grant(house.session("s1"), kind="http", name="app")
    assert house.refused(house.session("s2"), kind="http", name="app") == "name_in_use"
    house.session("s1", alive=False)
    assert house.grant(house.session("s3"), kind="http", name="app") == "http://app.localhost:8080"
    assert house.replaced == ["s1 app.localhost"]


def test_a_holder_that_nobody_knows_any_more_counts_as_silent(house: House) -> None:
    house.grant(house.session("s1"), kind="http", name="app")
    del house.sessions["s1"]
    house.grant(house.session("s2"), kind="http", name="app")


def test_who_is_lost_while_the_holder_is_probed_gets_nothing(house: House) -> None:
    house.grant(house.session("s1"), kind="http", name="app")
    late = house.session("s2")

    async def lost_meanwhile(within_s: float) -> bool:
        late.closed = True
        return False

    house.sessions["s1"].is_responsive = lost_meanwhile  # type: ignore[method-assign]
    with pytest.raises(UnavailableError):
        house.grant(late, kind="http", name="app")
    lease = house.registry.lookup("http", "app.localhost")
    assert lease is not None
    assert lease.holder is house.sessions["s1"]


def test_a_claim_that_comes_again_while_it_is_decided_is_granted_once(house: House) -> None:
    """Its link died within the probe, and the agent asks again on the next one."""
    house.grant(house.session("s1"), kind="http", name="app")
    second, probes = house.session("s2"), 0

    async def silent(within_s: float) -> bool:
        nonlocal probes
        probes += 1
        await asyncio.sleep(0.05)
        return False

    async def twice() -> list[Granted]:
        claim = Claim(id=9, kind="http", name="app")
        return await asyncio.gather(*(house.claim_handler.grant(second, claim) for _ in range(3)))

    house.sessions["s1"].is_responsive = silent  # type: ignore[method-assign]
    answers = house.engine.run(twice())
    assert len({answer.epoch for answer in answers}) == 1
    assert probes == 1
    assert house.replaced == ["s1 app.localhost"]
    assert not second.pending_claims


def test_of_two_who_wait_for_a_silent_holder_one_wins(house: House) -> None:
    house.grant(house.session("s1"), kind="http", name="app")
    second, third = house.session("s2"), house.session("s3")

    async def faster(within_s: float) -> bool:
        lease = house.registry.lookup("http", "app.localhost")
        assert lease is not None
        house.registry.claim(lease.key, third.owner, third, silent_epoch=lease.epoch)
        return False

    house.sessions["s1"].is_responsive = faster  # type: ignore[method-assign]
    assert house.refused(second, kind="http", name="app") == "name_in_use"


def test_what_one_has_already_does_not_count_against_it(engine: EngineLoop) -> None:
    house = House(engine, Grants(tunnels_max=1))
    house.grant(house.session("s1"), kind="http", name="app")
    assert house.refused(house.session("s1b"), kind="http", name="other") == "too_many_tunnels"
    house.registry.session_lost("s1", now=house.engine.reactor.now)
    house.grant(house.session("s2"), kind="http", name="app")


def test_releasing_is_only_for_ones_own_tunnels(house: House) -> None:
    house.grant(house.session("s1"), kind="http", name="app")
    lease = house.registry.lookup("http", "app.localhost")
    assert lease is not None
    house.claim_handler.release(house.session("s2", b"other"), lease.tunnel_id)
    assert not lease.gone
    house.claim_handler.release(house.sessions["s1"], lease.tunnel_id)
    assert lease.gone


def test_an_address_may_be_kept_and_does_not_count_as_a_tunnel_then(engine: EngineLoop) -> None:
    house = House(engine, Grants(tunnels_max=1))
    for number, name in enumerate(("app", "other", "app")):
        session = house.session(f"s{number}")
        house.grant(session, kind="http", name=name)
        lease = house.registry.lookup("http", f"{name}.localhost")
        assert lease is not None
        house.claim_handler.release(session, lease.tunnel_id, keep=True)
        assert (lease.gone, lease.holder, lease.yields) == (False, None, True)


def test_random_ports_are_free_ones_first_and_then_those_of_agents_that_left(engine: EngineLoop) -> None:
    house = House(engine, Grants())
    first, other = house.session("s1"), house.session("s2", identity=b"other")
    kept = house.grant(first, kind="tcp")
    (lease,) = house.registry.of_session("s1")
    house.claim_handler.release(first, lease.tunnel_id, keep=True)
    others = [house.grant(other, kind="tcp") for _ in range(5)]
    assert others[4] == kept
    assert len(set(others)) == 5
    assert house.refused(first, kind="tcp") == "no_free_port"


def test_all_leases_of_a_token_share_its_limits_and_those_without_have_none(engine: EngineLoop) -> None:
    house = House(engine, Grants(policy=Policy(bandwidth_bps=1000)))
    for session_id in ("s1", "s2"):
        session = house.session(session_id, identity=session_id.encode())
        house.grant(session, kind="tcp")
        house.grant(session, kind="http", name=session_id)
    leases = [lease for session_id in ("s1", "s2") for lease in house.registry.of_session(session_id)]
    assert len(leases) == 4
    (scope,) = leases[0].scopes
    assert all(lease.scopes == (scope,) for lease in leases)
    assert scope.policy.bandwidth_bps == 1000
    house.grant(house.sessions["s1"], kind="http", name="more", limits=ExchangeLimits(max_total_payload=5, idle_timeout_s=2.0))
    limited = house.registry.lookup("http", "more.localhost")
    assert limited is not None
    assert limited.scopes[0] is scope, "its own limits are kept in addition"
    assert limited.scopes[1].policy == Policy(max_total_payload=5, idle_timeout_s=2.0)
    free = House(engine)
    free.grant(free.session("s3"), kind="tcp")
    assert [lease.scopes for lease in free.registry.of_session("s3")] == [()]


# Names and ports that the server chooses.

SEED = b"s" * 32


def test_a_seed_has_the_same_name_again_in_a_later_session(house: House) -> None:
    first = house.grant(house.session("s1"), kind="http", seed=SEED)
    house.registry.session_lost("s1", now=house.engine.reactor.now)
    assert house.grant(house.session("s2"), kind="http", seed=SEED) == first
    house.registry.session_ended("s2")
    assert house.grant(house.session("s3"), kind="http", seed=SEED) == first, "also long after the lease was over"
    assert house.grant(house.session("s4"), kind="http", seed=b"another") != first


def test_two_terminals_with_the_same_seed_have_a_name_each_and_keep_it(house: House) -> None:
    one = house.grant(house.session("s1"), kind="http", seed=SEED)
    other = house.grant(house.session("s2"), kind="http", seed=SEED)
    assert other != one
    assert house.replaced == []
    house.registry.session_lost("s2", now=house.engine.reactor.now)
    assert house.grant(house.session("s3"), kind="http", seed=SEED) == other, "the second one is back while the first one lives"
    assert house.grant(house.session("s4", alive=False), kind="http", seed=SEED) not in (one, other)


def test_a_terminal_that_went_silent_gives_its_name_to_the_next(house: House) -> None:
    first = house.grant(house.session("s1", alive=False), kind="http", seed=SEED)
    assert house.grant(house.session("s2"), kind="http", seed=SEED) == first
    assert house.replaced == [f"s1 {first.removeprefix('http://').removesuffix(':8080')}"]


def test_one_agent_with_two_tunnels_to_the_same_target_has_two_names(house: House) -> None:
    session = house.session("s1")
    names = {house.grant(session, kind="http", seed=SEED) for _ in range(3)}
    assert len(names) == 3
    house.registry.session_lost("s1", now=house.engine.reactor.now)
    again = house.session("s2")
    assert {house.grant(again, kind="http", seed=SEED) for _ in range(3)} == names


def test_more_terminals_than_a_seed_has_names_get_random_ones(house: House) -> None:
    session = house.session("s1")
    assert len({house.grant(session, kind="http", seed=SEED) for _ in range(naming.SEEDED_MAX + 2)}) == naming.SEEDED_MAX + 2


def test_somebody_elses_name_is_passed_over(house: House) -> None:
    first = house.grant(house.session("s1", b"somebody"), kind="http", seed=SEED)
    assert house.grant(house.session("s2", b"else"), kind="http", seed=SEED) != first


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
    house = House(engine, Grants(hosts=hosts))
    assert re.fullmatch(url, house.grant(house.session("s1"), kind="http", seed=seed))


def test_names_that_a_token_lists_are_given_out_until_there_are_none(engine: EngineLoop) -> None:
    house = House(engine, Grants(hosts=("www", "app", "shop")))
    session = house.session("s1")
    assert [house.grant(session, kind="http", seed=SEED) for _ in range(2)] == ["http://app.localhost:8080", "http://shop.localhost:8080"]
    assert house.refused(house.session("s2"), kind="http", seed=SEED) == "name_in_use"
    assert house.refused(house.session("s3", b"somebody"), kind="http") == "name_taken"


def test_a_token_whose_names_cannot_be_completed_says_so(engine: EngineLoop) -> None:
    house = House(engine, Grants(hosts=("d" * 60 + "*",)))
    with pytest.raises(RefusedError, match="no name for this tunnel matches that.*--name"):
        house.grant(house.session("s1"), kind="http", seed=SEED)


def test_what_was_granted_last_is_tried_first_and_another_is_as_good(engine: EngineLoop) -> None:
    house = House(engine, Grants(hosts=("dev-*",)))
    assert house.grant(house.session("s1"), kind="http", seed=SEED, name="dev-mine") == "http://dev-mine.localhost:8080"
    for name in ("dev-mine", "other", "www", "-"):
        assert house.grant(house.session(f"s {name}"), kind="http", seed=SEED, name=name).startswith("http://dev-")
    assert house.refused(house.session("s9"), kind="http", name="dev-mine") == "name_in_use", "who asked for this very name is told"
    assert house.refused(house.session("s9"), kind="http", name="other") == "host_not_allowed"


def test_what_no_other_name_would_help_is_told_at_once(engine: EngineLoop) -> None:
    house = House(engine, Grants(tunnels_max=1))
    session = house.session("s1")
    house.grant(session, kind="http", seed=SEED)
    assert house.refused(session, kind="http", seed=SEED) == "too_many_tunnels"
    assert house.refused(session, kind="http", seed=SEED, name="other") == "too_many_tunnels"
    only_tcp = House(engine, Grants(protocols=("tcp",)))
    assert only_tcp.refused(only_tcp.session("s1"), kind="http", seed=SEED) == "protocol_not_allowed"


def test_a_port_that_was_chosen_comes_back_too(house: House) -> None:
    first = house.grant(house.session("s1"), kind="tcp", seed=SEED)
    second = house.grant(house.session("s2"), kind="tcp", seed=SEED)
    assert second != first
    house.registry.session_lost("s1", now=house.engine.reactor.now)
    assert house.grant(house.session("s3"), kind="tcp", seed=SEED) == first
    house.registry.session_ended("s3")
    assert house.grant(house.session("s4"), kind="tcp", seed=SEED) == first
    taken = int(first.rpartition(":")[2])
    house.grant(house.session("s5", b"somebody"), kind="tcp", port=20000 + (taken - 20000 + 2) % 5)
    assert house.grant(house.session("s6"), kind="tcp", seed=SEED, port=taken) not in (first, second)
    assert house.refused(house.session("s7"), kind="tcp", port=taken) == "name_in_use"


def test_answers_are_remembered_for_addresses_that_a_session_has_and_no_others(house: House) -> None:
    session = house.session("s1")

    def claim(number: int, **wish: object) -> Granted:
        return house.engine.run(house.claim_handler.grant(session, Claim(id=number, **wish)))  # type: ignore[arg-type]

    port, name = claim(1, kind="tcp"), claim(2, kind="http")
    for number in range(3, 300):
        granted = claim(number, kind="http", name=f"app-{number}")
        house.claim_handler.release(session, granted.tunnel)
    assert len(session.granted_claims) <= 2 * 3 + granting.SPARE_REPLIES
    assert claim(1, kind="tcp") == port, "asked again, a claim of any port gets the same one"
    assert claim(2, kind="http") == name

    for number in range(300, 600):
        assert claim(number, kind="tcp", port=port.port).epoch == port.epoch
    assert len(session.granted_claims) <= 2 * 3 + granting.SPARE_REPLIES
