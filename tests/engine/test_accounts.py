"""Accounts: the order of service when the costs of turns are known only afterwards."""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterable
from weakref import ref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portway.engine.accounts import Account


class Machine:
    """A root account, and time that only turns take."""

    def __init__(self) -> None:
        self.root = Account()
        self.now = 0.0
        self.served: list[str] = []
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def keep_busy(self, account: Account, name: str, cost_s: float | Callable[[], float]) -> None:
        """Give an account a turn that queues itself again, for ever."""

        def turn() -> None:
            seconds = cost_s if isinstance(cost_s, float) else cost_s()
            self.now += seconds
            self.served.append(name)
            self.seconds[name] += seconds
            account.add(turn)

        account.add(turn)

    def once(self, account: Account, name: str, cost_s: float = 0.001) -> None:
        """Give an account one turn."""

        def turn() -> None:
            self.now += cost_s
            self.served.append(name)

        account.add(turn)

    def run(self, seconds: float = float("inf")) -> None:
        """Serve turns for `seconds`, or until there are none."""
        until = self.now + seconds
        while self.root.heap and self.now < until:
            account, turn = self.root.take()
            began = self.now
            turn()
            account.charge(self.now - began)


def shares(machine: Machine, names: Iterable[str]) -> list[float]:
    return [machine.seconds[name] / sum(machine.seconds.values()) for name in names]


def test_turns_of_one_account_keep_their_order() -> None:
    machine = Machine()
    account = machine.root.child()
    for name in "abcde":
        machine.once(account, name)
    machine.run()
    assert machine.served == list("abcde")
    assert not machine.root.heap


def test_long_turns_do_not_earn_more_time_than_short_ones() -> None:
    machine = Machine()
    machine.keep_busy(machine.root.child(), "long", 0.001)
    machine.keep_busy(machine.root.child(), "short", 0.00001)
    machine.run(1.0)
    assert shares(machine, ["long", "short"]) == pytest.approx([0.5, 0.5], abs=0.01)


def test_many_links_of_a_tenant_get_one_tenants_share() -> None:
    machine = Machine()
    greedy, modest = machine.root.child(tenant=True), machine.root.child(tenant=True)
    for number in range(24):
        machine.keep_busy(greedy.child(), f"greedy {number}", 0.0005)
    machine.keep_busy(modest.child(), "modest", 0.0002)
    machine.run(2.0)
    assert shares(machine, ["modest"]) == pytest.approx([0.5], abs=0.01)
    assert shares(machine, (f"greedy {number}" for number in range(24))) == pytest.approx([0.5 / 24] * 24, abs=0.002)


def test_a_single_account_gets_all_the_time() -> None:
    machine = Machine()
    machine.keep_busy(machine.root.child(weight=0.1), "alone", 0.001)
    machine.run(1.0)
    assert machine.seconds["alone"] == pytest.approx(1.0, abs=0.002)


def test_a_share_is_in_proportion_to_the_weight() -> None:
    machine = Machine()
    machine.keep_busy(machine.root.child(weight=8.0), "members", 0.0003)
    unauthenticated = machine.root.child()
    for number in range(5):
        machine.keep_busy(unauthenticated.child(tenant=True), f"stranger {number}", 0.0007)
    machine.run(5.0)
    assert shares(machine, ["members"]) == pytest.approx([8 / 9], abs=0.01)


def test_an_account_is_served_next_after_a_pause_without_saved_time() -> None:
    machine = Machine()
    busy = [machine.root.child(tenant=True) for _ in range(3)]
    late = machine.root.child(tenant=True)
    machine.once(late, "late")
    machine.run()
    for number, account in enumerate(busy):
        machine.keep_busy(account, f"busy {number}", 0.001)
    machine.run(10.0)
    machine.served.clear()
    machine.once(late, "late")
    machine.run(0.003)
    assert "late" in machine.served
    machine.served.clear()
    machine.keep_busy(late, "late", 0.001)
    machine.run(0.04)
    assert machine.served.count("late") == pytest.approx(10, abs=2)


def test_one_long_turn_is_paid_for() -> None:
    machine = Machine()
    other = machine.root.child()
    machine.keep_busy(machine.root.child(), "other", 0.001)
    costs = iter([0.02, *[0.001] * 10_000])
    machine.keep_busy(other, "expensive", lambda: next(costs))
    machine.run(0.1)
    assert machine.seconds["expensive"] == pytest.approx(0.05, abs=0.003)


@given(
    tree=st.lists(st.lists(st.floats(0.00001, 0.001), min_size=1, max_size=5), min_size=2, max_size=5),
    pauses=st.lists(st.integers(0, 4), max_size=10),
)
def test_tenants_that_are_always_busy_get_equal_time(tree: list[list[float]], pauses: list[int]) -> None:
    machine = Machine()
    tenants = [machine.root.child(tenant=True) for _ in tree]
    for number, (tenant, costs) in enumerate(zip(tenants, tree, strict=True)):
        for cost in costs:
            machine.keep_busy(tenant.child(), str(number), cost)
    guest = machine.root.child(tenant=True)
    for _ in pauses:
        machine.run(0.01)
        machine.once(guest, "guest", 0.0001)
    machine.run(0.5)
    got = [machine.seconds[str(number)] for number in range(len(tree))]
    assert max(got) - min(got) < 0.003


def test_an_idle_account_lives_as_long_as_it_is_referenced() -> None:
    machine = Machine()
    tenant = machine.root.child(tenant=True)
    link = tenant.child()
    machine.once(link, "turn")
    machine.run()
    alive = [ref(tenant), ref(link)]
    gc.disable()
    try:
        del tenant, link
        assert [one() for one in alive] == [None, None]
    finally:
        gc.enable()
