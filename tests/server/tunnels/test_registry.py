"""The registry: every row of the claim table, and random sequences of events against a model."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from portway.edge.lease import Lease, LeaseKey, OnStatus, Owner
from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.errors import RefusedError, UnavailableError
from portway.server.tunnels import registry as registry_module
from portway.server.tunnels.registry import YIELDING_MAX, Acquired, NeedsProbe, Registry, first_epoch

APP = LeaseKey("http", "app.localhost")
PORT = LeaseKey("tcp", "20001")
ALICE = Owner("alice", b"a" * 32)
ALICE_OTHER_AGENT = Owner("alice", b"b" * 32)
BOB = Owner("bob", b"a" * 32)


@dataclass(eq=False)
class FakeHolder:
    """A session that only has an id."""

    session_id: str
    account: Account = field(default_factory=Account)
    notes: list[int] = field(default_factory=list)

    def open(self, tunnel_id: int, header: bytes, on_status: OnStatus) -> Channel:
        raise UnavailableError("a fake has no links")

    def record_request(self, tunnel_id: int, method: str, path: str, status: int, seconds: float, cut: str = "") -> None:
        self.notes.append(tunnel_id)


class Later:
    """A ready queue that runs on demand."""

    def __init__(self) -> None:
        self.queue: list[Callable[[], None]] = []

    def __call__(self, callback: Callable[[], None]) -> None:
        self.queue.append(callback)

    def run(self) -> None:
        queue, self.queue = self.queue, []
        for callback in queue:
            callback()


def new_registry() -> tuple[Registry, Later]:
    later = Later()
    return Registry(later, grace_s=60.0), later


def granted(outcome: Acquired | NeedsProbe) -> Lease:
    assert isinstance(outcome, Acquired)
    return outcome.lease


def test_a_free_address_is_granted_and_found() -> None:
    registry, _ = new_registry()
    holder = FakeHolder("s1")
    lease = granted(registry.claim(APP, ALICE, holder))
    assert registry.lookup("http", "app.localhost") is lease
    assert lease.holder is holder
    assert registry.lookup("tcp", "app.localhost") is None
    assert registry.count("alice") == 1
    assert registry.count("bob") == 0


@pytest.mark.parametrize("other", [BOB, ALICE_OTHER_AGENT], ids=["another token", "another identity of the same token"])
@pytest.mark.parametrize("state", ["live", "held"])
@pytest.mark.parametrize("takeover", [False, True])
def test_a_name_of_another_identity_is_refused_as_taken(other: Owner, state: str, takeover: bool) -> None:
    registry, _ = new_registry()
    granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    if state == "held":
        registry.session_lost("s1", now=0.0)
    with pytest.raises(RefusedError, match="belongs to another agent") as refusal:
        registry.claim(APP, other, FakeHolder("s2"), takeover=takeover, silent_epoch=1)
    assert refusal.value.code == "name_taken"


def test_a_held_address_returns_to_its_owner_at_once_with_a_new_epoch_and_tunnel_id() -> None:
    registry, _ = new_registry()
    first = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    epoch, tunnel_id = first.epoch, first.tunnel_id
    assert registry.session_lost("s1", now=5.0) == [first]
    assert first.holder is None
    assert first.held_until == 65.0
    second = granted(registry.claim(APP, ALICE, FakeHolder("s2")))
    assert second is first
    assert second.epoch > epoch
    assert second.tunnel_id != tunnel_id
    assert second.held_until is None
    assert registry.expire(now=1000.0) == []


@pytest.mark.parametrize("first", [False, True])
def test_a_name_is_one_tunnels_whatever_its_protocol(first: bool) -> None:
    registry, later = new_registry()
    holder, lost = FakeHolder("s1"), list[str]()
    lease = granted(registry.claim(APP, ALICE, holder, passthrough=first))
    assert (lease.passthrough, lease.protocol) == (first, "tls" if first else "http")
    with pytest.raises(RefusedError, match="belongs to another agent"):
        registry.claim(APP, BOB, FakeHolder("s2"), passthrough=not first)
    before = lease.tunnel_id, lease.epoch
    lease.on_holder_lost = lambda: lost.append("lost")

    assert granted(registry.claim(APP, ALICE, holder, passthrough=first)) is lease
    assert (lease.tunnel_id, lease.epoch) == before, "claimed again, it is the same tunnel"

    assert granted(registry.claim(APP, ALICE, holder, passthrough=not first)) is lease
    later.run()
    assert (lease.passthrough, lease.holder, lost) == (not first, holder, ["lost"])
    assert lease.tunnel_id > before[0]
    assert lease.epoch > before[1]
    assert registry.of_session("s1") == [lease]


def test_a_held_name_may_come_back_as_another_kind_of_tunnel_and_a_live_one_after_a_probe() -> None:
    registry, _ = new_registry()
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    registry.session_lost("s1", now=0.0)
    assert granted(registry.claim(APP, ALICE, FakeHolder("s2"), passthrough=True)).passthrough
    probe = registry.claim(APP, ALICE, FakeHolder("s3"))
    assert isinstance(probe, NeedsProbe)
    assert lease.passthrough, "a probe changes nothing"
    assert not granted(registry.claim(APP, ALICE, FakeHolder("s3"), silent_epoch=probe.epoch)).passthrough


def test_a_live_holder_of_the_same_identity_is_probed_first_and_replaced_only_if_silent() -> None:
    registry, _ = new_registry()
    old, new = FakeHolder("s1"), FakeHolder("s2")
    granted(registry.claim(APP, ALICE, old))
    probe = registry.claim(APP, ALICE, new)
    assert isinstance(probe, NeedsProbe)
    assert probe.holder is old
    outcome = registry.claim(APP, ALICE, new, silent_epoch=probe.epoch)
    assert isinstance(outcome, Acquired)
    assert outcome.replaced is old
    assert outcome.lease.holder is new
    assert registry.of_session("s1") == []


def test_the_result_of_a_probe_is_void_after_the_address_was_granted_again() -> None:
    registry, _ = new_registry()
    granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    probe = registry.claim(APP, ALICE, FakeHolder("s2"))
    assert isinstance(probe, NeedsProbe)
    granted(registry.claim(APP, ALICE, FakeHolder("s3"), takeover=True))
    again = registry.claim(APP, ALICE, FakeHolder("s2"), silent_epoch=probe.epoch)
    assert isinstance(again, NeedsProbe)
    assert again.holder.session_id == "s3"


def test_takeover_needs_no_probe() -> None:
    registry, _ = new_registry()
    old = FakeHolder("s1")
    granted(registry.claim(APP, ALICE, old))
    outcome = registry.claim(APP, ALICE, FakeHolder("s2"), takeover=True)
    assert isinstance(outcome, Acquired)
    assert outcome.replaced is old


@pytest.mark.parametrize("takeover", [False, True])
def test_a_claim_repeated_in_a_session_changes_nothing(takeover: bool) -> None:
    registry, _ = new_registry()
    holder = FakeHolder("s1")
    first = granted(registry.claim(PORT, ALICE, holder))
    epoch, tunnel_id = first.epoch, first.tunnel_id
    again = registry.claim(PORT, ALICE, holder, takeover=takeover)
    assert again == Acquired(first)
    assert (first.epoch, first.tunnel_id) == (epoch, tunnel_id)


def test_a_taken_port_has_its_own_refusal_code() -> None:
    registry, _ = new_registry()
    granted(registry.claim(PORT, ALICE, FakeHolder("s1")))
    with pytest.raises(RefusedError, match="port 20001 belongs") as refusal:
        registry.claim(PORT, BOB, FakeHolder("s2"))
    assert refusal.value.code == "port_taken"


def test_a_release_frees_at_once_but_a_late_one_changes_nothing() -> None:
    registry, _ = new_registry()
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    late = lease.epoch
    registry.session_lost("s1", now=0.0)
    granted(registry.claim(APP, ALICE, FakeHolder("s2")))
    assert not registry.release(lease, late)
    assert registry.lookup("http", "app.localhost") is lease
    assert registry.release(lease, lease.epoch)
    assert registry.lookup("http", "app.localhost") is None
    assert lease.gone
    assert not registry.release(lease, lease.epoch)
    granted(registry.claim(APP, BOB, FakeHolder("s3")))


def test_an_address_is_held_for_the_grace_time_and_free_for_all_after_it() -> None:
    registry, _ = new_registry()
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    registry.session_lost("s1", now=0.0)
    assert registry.expire(now=59.9) == []
    assert registry.expire(now=60.0) == [lease]
    assert lease.gone
    granted(registry.claim(APP, BOB, FakeHolder("s2")))


def test_an_address_held_for_an_agent_that_left_returns_to_it_or_goes_to_any_other() -> None:
    registry, later = new_registry()
    parted: list[str] = []
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    lease.on_holder_lost = lambda: parted.append("parted")
    assert not registry.release_held(lease, lease.epoch - 1, now=0.0)
    assert registry.release_held(lease, lease.epoch, now=0.0)
    assert not parted
    later.run()
    assert parted == ["parted"]
    assert registry.lookup("http", "app.localhost") is lease
    assert (lease.holder, lease.gone, registry.count("alice"), registry.of_session("s1")) == (None, False, 0, [])

    again = granted(registry.claim(APP, ALICE, FakeHolder("s2")))
    assert (again, again.yields, registry.count("alice")) == (lease, False, 1)
    with pytest.raises(RefusedError):
        registry.claim(APP, BOB, FakeHolder("s3"))

    assert registry.release_held(lease, lease.epoch, now=0.0)
    woken: list[str] = []
    lease.waiters[object()] = lambda: woken.append("woken")
    others = granted(registry.claim(APP, BOB, FakeHolder("s4")))
    later.run()
    assert (lease.gone, others.owner, woken) == (True, BOB, ["woken"])


def test_an_address_held_for_an_agent_that_left_is_free_after_the_grace_time() -> None:
    registry, _ = new_registry()
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    registry.release_held(lease, lease.epoch, now=0.0)
    registry.session_lost("s1", now=30.0)
    assert registry.expire(now=60.0) == [lease]


def test_without_a_grace_time_nothing_is_held() -> None:
    registry = Registry(Later(), grace_s=0.0)
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    assert not registry.release_held(lease, lease.epoch, now=0.0)


def test_the_addresses_held_for_agents_that_left_are_bounded_per_token() -> None:
    registry, _ = new_registry()
    for number in range(3 * YIELDING_MAX):
        lease = granted(registry.claim(LeaseKey("http", f"app{number}.localhost"), ALICE, FakeHolder("s1")))
        assert registry.release_held(lease, lease.epoch, now=0.0)
    assert len(registry) == YIELDING_MAX
    assert registry.lookup("http", f"app{3 * YIELDING_MAX - 1}.localhost") is not None
    assert registry.lookup("http", "app0.localhost") is None, "the oldest one is freed"


def test_a_revoked_token_loses_what_it_serves_and_what_is_held_for_it() -> None:
    registry, _ = new_registry()
    granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    granted(registry.claim(PORT, ALICE_OTHER_AGENT, FakeHolder("s2")))
    other = granted(registry.claim(LeaseKey("http", "b.localhost"), BOB, FakeHolder("s3")))
    registry.session_lost("s1", now=0.0)
    assert len(registry.token_revoked("alice")) == 2
    assert list(registry) == [other]
    assert registry.count("alice") == 0


def test_waiters_are_called_once_from_the_ready_queue_when_the_agent_is_back_or_the_address_is_gone() -> None:
    registry, later = new_registry()
    lease = granted(registry.claim(APP, ALICE, FakeHolder("s1")))
    registry.session_lost("s1", now=0.0)
    called: list[str] = []
    lease.waiters[object()] = lambda: called.append("back")
    granted(registry.claim(APP, ALICE, FakeHolder("s2")))
    assert called == []
    later.run()
    assert called == ["back"]
    assert not lease.waiters
    registry.session_lost("s2", now=0.0)
    lease.waiters[object()] = lambda: called.append("gone")
    registry.expire(now=60.0)
    later.run()
    assert called == ["back", "gone"]


def test_on_gone_is_called_when_an_address_is_free_and_not_before() -> None:
    registry, _ = new_registry()
    lease = granted(registry.claim(PORT, ALICE, FakeHolder("s1")))
    closed: list[bool] = []
    lease.on_gone = lambda: closed.append(True)
    registry.session_lost("s1", now=0.0)
    assert not closed
    registry.session_ended("s1")
    assert not closed, "the session has nothing any more: its address is held, not its own"
    registry.expire(now=60.0)
    assert closed == [True]


def test_tunnel_ids_are_exhausted_rather_than_reused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "TUNNEL_IDS_MAX", 2)
    registry, _ = new_registry()
    for name in ("a", "b"):
        granted(registry.claim(LeaseKey("http", name), ALICE, FakeHolder("s1")))
    with pytest.raises(UnavailableError, match="tunnel ids"):
        registry.claim(LeaseKey("http", "c"), ALICE, FakeHolder("s1"))
    assert registry.lookup("http", "c") is None


def test_epochs_of_a_later_run_are_above_those_of_an_earlier_one() -> None:
    assert first_epoch(1_700_000_001.0) - first_epoch(1_700_000_000.0) > 1_000_000, "more than a run grants in a second"


def test_of_fifty_agents_that_race_for_a_name_one_wins() -> None:
    for round_number in range(200):
        registry, _ = new_registry()
        wins: list[str] = []
        for agent in range(50):
            owner = Owner("team", (agent + round_number).to_bytes(32, "big"))
            try:
                granted(registry.claim(APP, owner, FakeHolder(f"s{agent}")))
                wins.append(f"s{agent}")
            except RefusedError:
                continue
        lease = registry.lookup("http", "app.localhost")
        assert wins == ["s0"]
        assert lease is not None
        assert lease.holder is not None
        assert lease.holder.session_id == "s0"


@dataclass
class ModelLease:
    """The expected state of one address."""

    owner: Owner
    session: str | None
    until: float | None = None
    yields: bool = False
    passthrough: bool = False


OWNERS = [ALICE, ALICE_OTHER_AGENT, BOB]
KEYS = [APP, PORT, LeaseKey("http", "b.localhost")]


class RegistryMachine(RuleBasedStateMachine):
    """Claims, losses, releases and time in any order: one owner an address, and epochs that grow."""

    def __init__(self) -> None:
        super().__init__()
        self.registry, _ = new_registry()
        self.model: dict[LeaseKey, ModelLease] = {}
        self.sessions: dict[str, tuple[Owner, FakeHolder]] = {}
        self.count = 0
        self.now = 0.0
        self.highest_epoch = 0
        self.tunnel_ids: set[int] = set()
        self.probes: list[tuple[LeaseKey, str, int]] = []

    @rule(owner=st.sampled_from(OWNERS))
    def connect(self, owner: Owner) -> None:
        self.count += 1
        self.sessions[f"s{self.count}"] = (owner, FakeHolder(f"s{self.count}"))

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), key=st.sampled_from(KEYS), takeover=st.booleans(), passthrough=st.booleans())
    def claim(self, data: st.DataObject, key: LeaseKey, takeover: bool, passthrough: bool) -> None:
        passthrough = passthrough and key.kind == "http"
        session = data.draw(st.sampled_from(sorted(self.sessions)))
        owner, holder = self.sessions[session]
        known = self.model.get(key)
        if known is not None and known.owner != owner and known.yields:
            known = None
        if known is not None and known.owner != owner:
            with pytest.raises(RefusedError):
                self.registry.claim(key, owner, holder, takeover=takeover, passthrough=passthrough)
            return
        outcome = self.registry.claim(key, owner, holder, takeover=takeover, passthrough=passthrough)
        if isinstance(outcome, NeedsProbe):
            assert known is not None
            assert known.session not in (None, session)
            assert not takeover
            self.probes.append((key, session, outcome.epoch))
            return
        if known is not None and known.session == session:
            assert outcome.replaced is None
            if known.passthrough == passthrough:
                assert outcome.lease.epoch <= self.highest_epoch
                return
        self.check_grant(key, session, outcome, passthrough)

    @precondition(lambda self: self.probes)
    @rule(data=st.data())
    def claim_after_silence(self, data: st.DataObject) -> None:
        key, session, epoch = data.draw(st.sampled_from(self.probes))
        if session not in self.sessions:
            return
        owner, holder = self.sessions[session]
        lease = self.registry.lookup(*key)
        passthrough = key in self.model and self.model[key].passthrough
        unchanged = lease is not None and lease.epoch == epoch and lease.holder is not None
        try:
            outcome = self.registry.claim(key, owner, holder, silent_epoch=epoch, passthrough=passthrough)
        except RefusedError:
            assert self.model[key].owner != owner
            assert not self.model[key].yields
            return
        if isinstance(outcome, NeedsProbe):
            assert not unchanged
            return
        if key in self.model and self.model[key].session == session:
            return
        self.check_grant(key, session, outcome, passthrough)

    def check_grant(self, key: LeaseKey, session: str, outcome: Acquired, passthrough: bool) -> None:
        lease = outcome.lease
        assert lease.epoch > self.highest_epoch
        assert lease.tunnel_id not in self.tunnel_ids
        self.highest_epoch = lease.epoch
        self.tunnel_ids.add(lease.tunnel_id)
        self.model[key] = ModelLease(self.sessions[session][0], session, passthrough=passthrough)

    @precondition(lambda self: self.sessions)
    @rule(data=st.data(), clean=st.booleans())
    def disconnect(self, data: st.DataObject, clean: bool) -> None:
        session = data.draw(st.sampled_from(sorted(self.sessions)))
        del self.sessions[session]
        if clean:
            self.registry.session_ended(session)
        else:
            self.registry.session_lost(session, self.now)
        for key, known in list(self.model.items()):
            if known.session == session and clean:
                del self.model[key]
            elif known.session == session:
                known.session, known.until = None, self.now + 60.0

    @rule(key=st.sampled_from(KEYS), late=st.booleans())
    def release(self, key: LeaseKey, late: bool) -> None:
        lease = self.registry.lookup(*key)
        if lease is None:
            return
        assert self.registry.release(lease, lease.epoch - late) is not late
        if not late:
            del self.model[key]

    @rule(key=st.sampled_from(KEYS), late=st.booleans())
    def keep(self, key: LeaseKey, late: bool) -> None:
        lease = self.registry.lookup(*key)
        if lease is None or lease.holder is None:
            return
        assert self.registry.release_held(lease, lease.epoch - late, self.now) is not late
        if not late:
            known = self.model[key]
            known.session, known.until, known.yields = None, self.now + 60.0, True

    @rule(seconds=st.floats(0.0, 90.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.registry.expire(self.now)
        for key, known in list(self.model.items()):
            if known.until is not None and known.until <= self.now and known.session is None:
                del self.model[key]

    @rule(token=st.sampled_from(["alice", "bob"]))
    def revoke(self, token: str) -> None:
        self.registry.token_revoked(token)
        self.model = {key: known for key, known in self.model.items() if known.owner.token_id != token}

    @invariant()
    def the_registry_says_what_the_model_says(self) -> None:
        found = {lease.key: (lease.owner, lease.holder.session_id if lease.holder else None, lease.passthrough) for lease in self.registry}
        assert found == {key: (known.owner, known.session, known.passthrough) for key, known in self.model.items()}
        assert len(self.registry) == len(self.model)
        for owner in OWNERS:
            assert self.registry.count(owner.token_id) == sum(
                k.owner.token_id == owner.token_id and not k.yields for k in self.model.values()
            )
        for session in self.sessions:
            assert {lease.key for lease in self.registry.of_session(session)} == {k for k, v in self.model.items() if v.session == session}


RegistryMachine.TestCase.settings = hypothesis_settings(max_examples=100, stateful_step_count=40, deadline=None)
TestRegistryAgainstModel = RegistryMachine.TestCase
