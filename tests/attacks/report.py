"""Medians of all rounds, the verdict per attack, and the table."""

from collections.abc import Sequence
from statistics import median

from tests.attacks.attack import Attack
from tests.attacks.measure import Side

P99_MS_MIN = 10.0
"""A p99 of an innocent client that is always acceptable."""
TIMES_ALONE = 2.0
LOGIN_P99_MS_MIN = 500.0
"""A login is a handshake, a PBKDF2 and four messages, 20 ms on a free core. An agent logs in once, and users accept half a
second."""


def middle(sides: Sequence[Side], *path: str) -> float:
    """Return the median over all rounds of a figure of the innocent clients, such as ("http", "p99_ms")."""
    kind, name = path
    return median(float(side.innocents[kind][name]) for side in sides)


def judge(attack: Attack, beside: Sequence[Side], alone: Sequence[Side]) -> list[str]:
    """Return the problems found; empty when the attack does no harm."""
    wrong = []
    for kind in attack.innocents:
        enough = LOGIN_P99_MS_MIN if kind == "login" else P99_MS_MIN
        bound = max(TIMES_ALONE * middle(alone, kind, "p99_ms"), enough) if alone else enough
        found = middle(beside, kind, "p99_ms")
        if found > bound:
            wrong.append(f"{kind} p99 {found:.1f} ms, at most {bound:.1f}")
        errors = sum(sum(side.innocents[kind]["errors"].values()) for side in beside)
        if errors:
            wrong.append(f"{errors} {kind} errors")
    crossed = sum(side.outcome["crossed"] + sum(one["crossed"] for one in side.innocents.values()) for side in beside)
    if crossed:
        wrong.append(f"{crossed} responses crossed")
    growth = median(side.rss_peak_mb - side.rss_before_mb for side in beside)
    if growth > attack.growth_max_mb:
        wrong.append(f"{growth:+.0f} MB, at most {attack.growth_max_mb:.0f}")
    if any(side.outcome["fate"] == "free" for side in beside):
        wrong.append("neither cut nor slowed")
    if any(side.logged_errors for side in beside):
        wrong.append("the server logged an error")
    return wrong


HEADER = ("attack", "threat", "p50 alone", "p50", "p99 alone", "p99", "errors", "MB peak", "MB after", "fds", "cpu", "attacker", "verdict")


def row(attack: Attack, beside: Sequence[Side], alone: Sequence[Side]) -> tuple[str, ...]:
    """Return one row of the table."""
    kind = attack.innocents[0]
    wrong = judge(attack, beside, alone)
    last = beside[-1]
    after_s = last.outcome["after_s"]
    errors = sum(sum(one["errors"].values()) for side in beside for one in side.innocents.values())
    return (
        attack.name,
        attack.threat,
        f"{middle(alone, kind, 'p50_ms'):.1f}" if alone else "-",
        f"{middle(beside, kind, 'p50_ms'):.1f}",
        f"{middle(alone, kind, 'p99_ms'):.1f}" if alone else "-",
        f"{middle(beside, kind, 'p99_ms'):.1f}",
        str(errors),
        f"{median(side.rss_peak_mb - side.rss_before_mb for side in beside):+.0f}",
        f"{median(side.rss_after_mb - side.rss_before_mb for side in beside):+.0f}",
        f"{last.descriptors_before}/{max(side.descriptors_peak for side in beside)}/{last.descriptors_after}",
        f"{median(side.cpu_share for side in beside):.0%}",
        last.outcome["fate"] + (f" after {after_s:.1f} s" if after_s is not None else ""),
        "; ".join(wrong) or "holds",
    )


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = ["| " + " | ".join(one) + " |" for one in (HEADER, *rows)]
    lines.insert(1, "|" + "---|" * len(HEADER))
    return "\n".join(lines)
