"""Definition and outcome of an attack, and the list of all attacks."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Literal

from tests.attacks.context import AttackContext

Fate = Literal["cut", "refused", "slowed", "harmless", "free"]
"""What became of an attacker. `slowed`: back-pressure limited it to its share; `harmless`: it was served like any client, without
harm to others; `free`: the attack succeeded, which is a failure of the test."""


@dataclass
class Outcome:
    """Result of an attack, as seen by the attacker."""

    fate: Fate
    after_s: float | None = None
    """Time of the first cut or refusal."""
    crossed: int = 0
    """Bytes or responses that reached another client than theirs."""
    counts: dict[str, float] = field(default_factory=dict)
    """Amount of work: connections, bytes, requests …"""
    note: str = ""


Script = Callable[[AttackContext], Generator[None, None, Outcome]]
"""Prepares, yields once, attacks until `context.over`, returns the outcome."""


@dataclass(frozen=True)
class Attack:
    """One script and its parameters."""

    name: str
    threat: str
    """Its number in docs/threats.md."""
    about: str
    script: Script
    seconds: float
    """Duration in a campaign."""
    innocents: tuple[str, ...]
    """Innocent clients: `http` makes requests, `login` logs in as an agent."""
    descriptors: int
    """Descriptor limit of the server; 0: unlimited."""
    growth_max_mb: float
    """Allowed growth of the server; a number other than the default needs a reason next to it."""


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
    """Register a script as an attack; the first line of its docstring is its description."""

    def register(script: Script) -> Script:
        assert name not in ATTACKS, name
        about = (script.__doc__ or "").splitlines()[0]
        ATTACKS[name] = Attack(name, threat, about, script, seconds, innocents, descriptors, growth_max_mb)
        return script

    return register


def all_attacks() -> dict[str, Attack]:
    """Return all attacks by name."""
    for path in sorted((Path(__file__).parent / "scripts").glob("[a-z]*.py")):
        import_module(f"tests.attacks.scripts.{path.stem}")
    return ATTACKS
