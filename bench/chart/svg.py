"""Draws groups of horizontal bars in two columns as SVG, for light and dark pages."""

import textwrap
from collections.abc import Sequence
from xml.sax.saxutils import escape

from bench.chart.bars import DIRECT, Bar, Group
from bench.report import PORTWAY, number

MARGIN, GUTTER, PANEL = 24, 32, 500
NAMES, VALUES = 172, 84  # width for the system names left of the bars, and for the figures right of them
ROW, BAR, HEAD = 19, 13, 44
WIDTH = 2 * MARGIN + 2 * PANEL + GUTTER
SCALE = PANEL - NAMES - VALUES
LINE_CHARS = 165  # of the small letters under the title

_STYLE = """\
text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #1f2328 }
.page { fill: #ffffff } .title { font-size: 20px; font-weight: 600 } .group { font-size: 13px; font-weight: 600 }
.small { font-size: 11px; fill: #59636e } .name { text-anchor: end } .ours { font-weight: 600 }
.bar { fill: #8c959f } .bar.ours { fill: #0969da } .bar.direct { fill: #d1d9e0 }
.axis { stroke: #d1d9e0 } .spread { stroke: #1f2328; stroke-width: 1.2 } .gap { stroke: #ffffff; stroke-width: 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .page { fill: #0d1117 } .small { fill: #9198a1 }
.bar { fill: #656c76 } .bar.ours { fill: #4493f8 } .bar.direct { fill: #3d444d }
.axis { stroke: #3d444d } .spread { stroke: #e6edf3 } .gap { stroke: #0d1117 }
}"""


def _text(x: float, y: float, kind: str, words: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(words)}</text>'


def _line(kind: str, start: tuple[float, float], end: tuple[float, float]) -> str:
    return f'<line class="{kind}" x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}"/>'


def height_of(group: Group) -> int:
    """Return the height of a group, including the space below it."""
    return HEAD + ROW * len(group.bars) + 14


def _bar(bar: Bar, longest: float, left: float, top: float) -> list[str]:
    kind = "ours" if bar.system.startswith(PORTWAY) else "direct" if bar.system == DIRECT else ""
    full = SCALE * bar.value / longest
    long = min(full, SCALE)
    start, middle = left + NAMES, top + BAR / 2
    label = number(bar.value) + (f" ±{bar.spread:.0%}" if bar.spread >= 0.005 else "")
    drawn = [
        _text(start - 8, top + 11, f"name {kind}", bar.system),
        f'<rect class="bar {kind}" x="{start:g}" y="{top:g}" width="{max(long, 1):.1f}" height="{BAR}" rx="2"/>',
    ]
    if full > SCALE:  # drawn broken, because its end is outside of the chart
        drawn.append(_line("gap", (start + SCALE - 22, top + BAR + 2), (start + SCALE - 14, top - 2)))
    elif bar.spread >= 0.005:
        reach = full * bar.spread
        drawn.append(_line("spread", (start + max(full - reach, 0), middle), (start + min(full + reach, SCALE + 4), middle)))
    behind = start + min(long * (1 + (bar.spread if full <= SCALE else 0)), SCALE + 4) + 6
    return [*drawn, _text(behind, top + 11, kind, label)]


def _panel(group: Group, left: float, top: float) -> list[str]:
    drawn = [
        _text(left, top + 14, "group", group.title),
        _text(left, top + 30, "small", "more is better" if group.more_is_better else "less is better"),
        _line("axis", (left + NAMES, top + HEAD - 8), (left + NAMES, top + HEAD + ROW * len(group.bars))),
    ]
    for place, bar in enumerate(group.bars):
        drawn += _bar(bar, group.longest, left, top + HEAD - 4 + ROW * place)
    return drawn


def draw(title: str, paragraph: str, groups: Sequence[Group]) -> tuple[str, int]:
    """Return the SVG and its height in pixels (its width is `WIDTH`)."""
    lines = textwrap.wrap(paragraph, LINE_CHARS)
    body = [_text(MARGIN, MARGIN + 18, "title", title)]
    body += [_text(MARGIN, MARGIN + 40 + 16 * place, "small", line) for place, line in enumerate(lines)]
    top = MARGIN + 40 + 16 * len(lines) + 20
    ends = [top, top]
    for group in groups:
        column = 0 if ends[0] <= ends[1] else 1
        body += _panel(group, MARGIN + column * (PANEL + GUTTER), ends[column])
        ends[column] += height_of(group)
    height = max(ends) + MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" role="img">'
    page = f'<rect class="page" width="{WIDTH}" height="{height}"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", page, *body, "</svg>"]) + "\n", height
