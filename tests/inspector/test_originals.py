"""Originals in memory are bounded, and their representation contains nothing of them."""

from portway.inspector.originals import Original, Originals


def test_the_oldest_are_dropped_beyond_the_bound() -> None:
    originals = Originals(10_000)
    for number in range(100):
        originals.add(number, Original(b"secret", bytes(1000), None))

    assert originals.find(0) is None
    assert originals.find(99) is not None
    assert "secret" not in repr(originals)
    originals.clear()
    assert originals.find(99) is None
