"""Chooses host names for claims that ask for any: such as a token allows, and the same again for the same seed. Pure."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from portway.protocol.names import LABEL_CHARS_MAX, random_name, random_tail

SEEDED_MAX = 16
"""How many names one seed stands for: so many terminals may show one target at a time, each under a name that stays."""

RANDOM_MAX = 4
"""How many names are drawn besides: with 50 bits each the first one is free."""

RandomBytes = Callable[[int], bytes]


def chosen_hosts(patterns: Sequence[str], domain: str, seed: bytes, random_bytes: RandomBytes) -> Iterator[str]:
    """Walk over host names that match one of a token's `patterns`, in the order in which to try them.

    With a `seed` they are the same each time, further random ones excepted. Patterns with a star are completed, the first of
    them; where there are none, the names themselves are what there is.
    """
    open_ones = [pattern for pattern in patterns if "*" in pattern]
    if not open_ones:
        for pattern in patterns:
            yield _whole(pattern, domain)
        return
    for pattern in open_ones:
        if not _completed(pattern, drawn_from(seed)):
            continue
        for number in range((SEEDED_MAX if seed else 0) + RANDOM_MAX):
            draw = drawn_from(seed, number) if seed and number < SEEDED_MAX else random_bytes
            yield _whole(_completed(pattern, draw), domain)
        return


def _whole(name: str, domain: str) -> str:
    """Return the host that a pattern or name means: without a dot, one below the server's domain."""
    return name if "." in name else f"{name}.{domain}"


def _completed(pattern: str, random_bytes: RandomBytes) -> str:
    """Return a name that matches a pattern; empty when a label has no room for anything that nobody guesses."""
    labels = [_completed_label(label, random_bytes) if "*" in label else label for label in pattern.split(".")]
    return ".".join(labels) if all(labels) else ""


def _completed_label(label: str, random_bytes: RandomBytes) -> str:
    first, *others = label.split("*")
    # One star stands for the name; others could stay empty, but then a hyphen might come last.
    rest = "".join(f"{random_tail(random_bytes)[:2]}{piece}" for piece in others[1:])
    head, tail = first, others[0] + rest
    for word in (random_name(random_bytes), random_tail(random_bytes)):
        if len(head) + len(word) + len(tail) <= LABEL_CHARS_MAX:
            return head + word + tail
    return ""


def drawn_from(seed: bytes, number: int = 0) -> RandomBytes:
    """Return what takes the place of chance for the name number `number` of a seed."""
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(b"portway name %d %d " % (number, drawn) + seed).digest(count)

    return draw
