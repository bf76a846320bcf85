"""What an attack is, what comes of it, and the list of all of them."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal

from tests.attacks.ground import Ground

Fate = Literal["cut", "refused", "slowed", "harmless", "free"]
"""What became of an attacker. `slowed`: it got no more than its due, by back-pressure; `harmless`: it was served, as anybody
would be, and that hurt nobody; `free`: it did what it wanted. The last one is a failure."""


@dataclass
class Outcome:
    """How an attack went, seen by the attacker."""

    fate: Fate
    after_s: float | None = None
    """When it was cut or refused first."""
    crossed: int = 0
    """Bytes or answers that reached somebody whom they were not for."""
    counts: dict[str, float] = field(default_factory=dict)
    """What it did: connections, bytes, requests …"""
    note: str = ""


Script = Callable[[Ground], Generator[None, None, Outcome]]
"""Gets ready, yields once, attacks until `ground.over`, returns the outcome."""


@dataclass(frozen=True)
class Attack:
    """One script with what it needs."""

    name: str
    threat: str
    """Its numbers in docs/threats.md."""
    about: str
    script: Script
    seconds: float
    """How long it lasts in a campaign."""
    innocents: tuple[str, ...]
    """`http` makes requests meanwhile, `login` logs in as an agent."""
    descriptors: int
    """The server's limit; 0: as many as there are."""
    growth_max_mb: float
    """By how much the server may grow; another number than the usual one needs a reason beside it."""


ATTACKS: dict[str, Attack] = {}

GROWTH_MAX_MB = 20.0


def attack(
    name: str,
    threat: str,
    *,
    seconds: float = 6.0,
    innocents: tuple[str, ...] = ("http",),
    descriptors: int = 0,
    growth_max_mb: float = GROWTH_MAX_MB,
) -> Callable[[Script], Script]:
    """Put a script on the list; the first line of its docstring says what it does."""

    def note(script: Script) -> Script:
        assert name not in ATTACKS, name
        about = (script.__doc__ or "").splitlines()[0]
        ATTACKS[name] = Attack(name, threat, about, script, seconds, innocents, descriptors, growth_max_mb)
        return script

    return note


def all_attacks() -> dict[str, Attack]:
    """Return every attack by its name."""
    for path in sorted((Path(__file__).parent / "scripts").glob("[a-z]*.py")):
        import_module(f"tests.attacks.scripts.{path.stem}")
    return ATTACKS
