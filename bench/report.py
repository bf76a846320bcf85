"""Formats results as Markdown: figures, ratios for each Portway system, notes and targets."""

from collections.abc import Sequence

from bench.axes.base import Figure
from bench.results import Results
from bench.targets import Bound, Target, judge

PORTWAY = "portway"
DIRECT = "direct"


def number(value: float) -> str:
    """Format three significant digits with thousands separators: 0.012, 1.23, 12.3, 123, 12,300."""
    if value == 0:
        return "0"
    size = abs(value)
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{float(f'{value:.3g}') if size >= 1 else value:,.{decimals}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an aligned Markdown table: first column left, the others right."""
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(cells: Sequence[str]) -> str:
        first, others = cells[0].ljust(widths[0]), [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "| " + " | ".join([first, *others]) + " |"

    rule = "|" + "|".join(["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]) + "|"
    return "\n".join([line(head), rule, *(line(row) for row in rows)])


def figures_table(results: Results, figures: Sequence[Figure]) -> str:
    """Return medians with their spread, one row per figure, one column per system."""
    rows = [[figure.label, *(_cell(results, system, figure.key) for system in results.systems)] for figure in figures]
    return table(["", *results.systems], rows)


def _cell(results: Results, system: str, key: str) -> str:
    found = results.summary(system, key)
    if found is None:
        return results.absence(system, key)
    return number(found.median) + (f" ±{found.spread:.0%}" if len(found.samples) > 1 else "")


def ratio(results: Results, system: str, peer: str, key: str) -> str:
    """Return `system`'s figure as a multiple of `peer`'s, or "-"."""
    ours, theirs = results.value(system, key), results.value(peer, key)
    return "-" if ours is None or not theirs else f"{ours / theirs:.2f}x"


def ratio_table(results: Results, figures: Sequence[Figure], system: str) -> str:
    """Return the ratios of one system to each peer; empty without peers."""
    peers = [
        peer for peer in results.systems if peer != system and (not peer.startswith(PORTWAY) or peer == DIRECT) and results.measured(peer)
    ]
    if not peers:
        return ""
    rows = []
    for figure in figures:
        better = "more is better" if figure.more_is_better else "less is better"
        rows.append([f"{figure.label} ({better})", *(ratio(results, system, peer, figure.key) for peer in peers)])
    return table([system, *(f"to {peer}" for peer in peers)], rows)


def target_line(target: Target, results: Results, labels: dict[str, str]) -> str:
    """Return the line of one target: met, missed or not measured, with the ratio."""
    verdict = judge(target, results)
    sign = "≥" if target.at_least else "≤"
    peers = " or ".join(target.peers)
    wanted = f"{target.system} · {labels.get(target.key, target.key)} {sign} {target.ratio:g} x {peers}"
    if verdict.ratio is None:
        return f"- not measured: {wanted}"
    return f"- {'met' if verdict.met else 'MISSED'}: {wanted}: {verdict.ratio:.2f}x"


def bound_line(bound: Bound, results: Results, labels: dict[str, str]) -> str:
    """Return the line of one bound."""
    value = results.value(bound.system, bound.key)
    wanted = f"{bound.system} · {labels.get(bound.key, bound.key)} {'≥' if bound.at_least else '≤'} {bound.limit:g}"
    if value is None:
        return f"- not measured: {wanted}"
    return f"- {'met' if bound.is_met_by(value) else 'MISSED'}: {wanted}: {number(value)}"


def report(
    results: Results,
    figures: Sequence[Figure],
    machine: dict[str, str],
    circumstances: Sequence[str],
    target_set: tuple[Sequence[Target], Sequence[Bound]],
) -> str:
    """Return the whole report."""
    labels = {figure.key: figure.label for figure in figures}
    parts = [
        "## Machine",
        ", ".join(f"{name} {value}" for name, value in machine.items()) + ".",
        "\n".join(f"- {each}" for each in circumstances),
    ]
    parts += ["## Figures", figures_table(results, figures)]
    ours = [system for system in results.systems if system.startswith(PORTWAY) and results.measured(system)]
    ratios = [text for system in ours if (text := ratio_table(results, figures, system))]
    if ratios:
        parts += ["## Ratios", *ratios]
    if results.notes:
        parts += ["## Notes", "\n".join(f"- {note}" for note in results.notes)]
    lines = [target_line(target, results, labels) for target in target_set[0] if target.key in labels]
    lines += [bound_line(bound, results, labels) for bound in target_set[1] if bound.key in labels]
    parts += ["## Targets", "\n".join(lines) or "- none on these axes"]
    return "\n\n".join(parts) + "\n"
