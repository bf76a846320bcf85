"""A program can be asked what it holds, and what is forgotten is missing from the answer."""

import asyncio

import msgspec

from portway.links.sources import Sources
from portway.mux.buffer_budget import SessionBufferBudget
from portway.server.access.login_throttle import LoginThrottle
from portway.telemetry.inspection import VARIABLE, Inventory, inventory, is_wanted


async def _take() -> Inventory:
    return msgspec.json.decode(inventory(), type=Inventory)


def take() -> Inventory:
    """Take the inventory of this process."""
    return asyncio.run(_take())


def test_objects_and_their_tables_are_counted_until_they_are_gone() -> None:
    name = "portway.server.access.login_throttle.LoginThrottle"
    before = take()
    gate = LoginThrottle(Sources(), lambda: 0.0)
    for number in range(3):
        gate.failed(f"192.0.2.{number}", 0.0)
    during = take()
    assert during.instances[name] == before.instances.get(name, 0) + 1
    assert during.tables[f"{name}._failed"] == before.tables.get(f"{name}._failed", 0) + 3
    assert during.tasks == 1
    assert during.objects > 1000
    del gate
    assert take().instances.get(name, 0) == before.instances.get(name, 0)


def test_slots_are_looked_into_as_well() -> None:
    class Slotted(SessionBufferBudget):
        __slots__ = ("table",)

        def __init__(self) -> None:
            super().__init__()
            self.table = [1, 2]

    Slotted.__module__ = "portway.made_up"
    thing = Slotted()
    found = take().tables
    assert [count for name, count in found.items() if name.endswith("Slotted.table")] == [2]
    assert thing.table


def test_cycles_that_only_the_collector_finds_are_told() -> None:
    take()
    one: list[object] = []
    one.append(one)
    del one
    assert take().garbage >= 1


def test_only_one_value_asks_for_it() -> None:
    assert is_wanted({VARIABLE: "1"})
    assert not is_wanted({VARIABLE: "0"})
    assert not is_wanted({})
