"""The inventory counts live objects; released ones are missing from it."""

import asyncio

import msgspec

from portway.credentials.failure_delays import FailureDelays
from portway.mux.buffer_budget import SessionBufferBudget
from portway.telemetry.inspection import VARIABLE, Inventory, inventory, is_requested


async def _take_inventory() -> Inventory:
    return msgspec.json.decode(inventory(), type=Inventory)


def take_inventory() -> Inventory:
    """Take the inventory of this process."""
    return asyncio.run(_take_inventory())


def test_objects_and_their_tables_are_counted_until_released() -> None:
    name = "portway.credentials.failure_delays.FailureDelays"
    before = take_inventory()
    delays = FailureDelays(300.0, 2.0)
    for number in range(3):
        delays.record_failure(f"192.0.2.{number}", "", 0.0)
    during = take_inventory()
    assert during.instances[name] == before.instances.get(name, 0) + 1
    assert during.tables[f"{name}._failed"] == before.tables.get(f"{name}._failed", 0) + 3
    assert during.tasks == 1
    assert during.objects > 1000
    del delays
    assert take_inventory().instances.get(name, 0) == before.instances.get(name, 0)


def test_containers_in_slots_are_counted() -> None:
    class Slotted(SessionBufferBudget):
        __slots__ = ("table",)

        def __init__(self) -> None:
            super().__init__()
            self.table = [1, 2]

    Slotted.__module__ = "portway.made_up"
    instance = Slotted()
    found = take_inventory().tables
    assert [count for name, count in found.items() if name.endswith("Slotted.table")] == [2]
    assert instance.table


def test_reference_cycles_are_counted() -> None:
    take_inventory()
    one: list[object] = []
    one.append(one)
    del one
    assert take_inventory().garbage >= 1


def test_only_the_value_1_requests_it() -> None:
    assert is_requested({VARIABLE: "1"})
    assert not is_requested({VARIABLE: "0"})
    assert not is_requested({})
