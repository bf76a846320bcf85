"""Counts what a running program holds: tasks, objects, the sizes of its tables. For tests that look for leaks."""

import asyncio
import gc
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping

import msgspec

VARIABLE = "PORTWAY_INSPECT"
"""Set to 1, the program answers with its inventory at a second socket beside the one for its status."""

_SIZED = (dict, list, set, deque, bytearray)


class Inventory(msgspec.Struct):
    """What there is at one moment, after a full collection of garbage."""

    tasks: int
    objects: int
    """All that the collector knows, without what was there before the program began to run."""
    garbage: int
    """Objects that this look's collection freed: cycles that nothing else would have."""
    instances: dict[str, int]
    """How many there are of each of our classes."""
    tables: dict[str, int]
    """Entries in containers of our objects, by class and attribute, all instances together."""


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether the environment asks for it."""
    return environ.get(VARIABLE) == "1"


def inventory() -> bytes:
    """Return the inventory of this process as JSON; takes about 0.2 µs for each object, in a loop's thread."""
    garbage = gc.collect()
    found = gc.get_objects()
    instances, tables = Counter[str](), Counter[str]()
    for thing in found:
        kind = type(thing)
        if str(kind.__module__).startswith("portway."):  # a class may have made a property of it
            name = f"{kind.__module__}.{kind.__qualname__}"
            instances[name] += 1
            for attribute, value in _attributes(thing):
                if isinstance(value, _SIZED):
                    tables[f"{name}.{attribute}"] += len(value)
    return msgspec.json.encode(Inventory(len(asyncio.all_tasks()), len(found), garbage, dict(instances), dict(tables)))


def _attributes(thing: object) -> Iterator[tuple[str, object]]:
    yield from getattr(thing, "__dict__", {}).items()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and (value := getattr(thing, name, None)) is not None:
                yield name, value
