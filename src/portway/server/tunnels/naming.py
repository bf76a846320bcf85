"""Chooses host names for claims without one: allowed by the token, and the same for the same seed. Pure."""

import hashlib
from collections.abc import Callable, Iterator, Sequence

from portway.protocol.names import LABEL_CHARS_MAX, random_name, random_tail

SEEDED_MAX = 16
"""Names per seed: so many agents may expose the same target at a time, each under a stable name."""

RANDOM_MAX = 4
"""Random names that are tried in addition: with 50 bits each, the first one is free."""

RandomBytes = Callable[[int], bytes]


def chosen_hosts(patterns: Sequence[str], domain: str, seed: bytes, random_bytes: RandomBytes) -> Iterator[str]:
    """Yield host names that match one of a token's `patterns`, in the order in which to try them.

    With a `seed` they are the same each time, followed by random ones. The first pattern with a star that can be completed is used;
    without such patterns, the listed names.
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
    """Return the full host of a pattern or name: without a dot, it is below the server's domain."""
    return name if "." in name else f"{name}.{domain}"


def _completed(pattern: str, random_bytes: RandomBytes) -> str:
    """Return a name that matches a pattern; empty when a label is too long for a name that cannot be guessed."""
    labels = [_completed_label(label, random_bytes) if "*" in label else label for label in pattern.split(".")]
    return ".".join(labels) if all(labels) else ""


def _completed_label(label: str, random_bytes: RandomBytes) -> str:
    first, *others = label.split("*")
    # The first star is replaced by the name; the others could stay empty, but then a hyphen might come last.
    rest = "".join(f"{random_tail(random_bytes)[:2]}{piece}" for piece in others[1:])
    head, tail = first, others[0] + rest
    for word in (random_name(random_bytes), random_tail(random_bytes)):
        if len(head) + len(word) + len(tail) <= LABEL_CHARS_MAX:
            return head + word + tail
    return ""


def drawn_from(seed: bytes, number: int = 0) -> RandomBytes:
    """Return the deterministic byte source for name `number` of a seed."""
    drawn = 0

    def draw(count: int) -> bytes:
        nonlocal drawn
        drawn += 1
        return hashlib.shake_256(b"portway name %d %d " % (number, drawn) + seed).digest(count)

    return draw
