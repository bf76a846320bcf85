"""Compares a direct exchange with the same one through the edge; each difference is a line that rules can match."""

import json
from typing import Any

from tests.transparency.client import CUT, KEPT, RESET, Fields, Outcome, Response

TIMED = ("date",)
"""Fields whose value depends on the moment."""
FRAMING = ("content-length", "transfer-encoding", "connection", "expect", "upgrade", "trailer", "te", "host")
"""Hop-by-hop fields, which each hop writes anew; their order does not matter."""


def differences(direct: Outcome, through: Outcome) -> list[str]:
    """Return one line for each difference that a client or an origin can see."""
    found = _ends(direct, through)
    found += _listed("interim count", len(direct.interims), len(through.interims))
    for one, other in zip(direct.interims, through.interims, strict=False):
        found += [f"interim {line}" for line in _responses(one, other)]
    found += _listed("final count", len(direct.finals), len(through.finals))
    for one, other in zip(direct.finals, through.finals, strict=False):
        found += _responses(one, other)
    return found


def _ends(direct: Outcome, through: Outcome) -> list[str]:
    found = _listed("end", direct.end, through.end)
    if direct.end in (CUT, RESET) and through.end in (CUT, RESET) and direct.partial != through.partial:
        found.append(f"bytes before the break: direct {len(direct.partial)}, through {len(through.partial)}")
    if direct.end == KEPT and through.end != KEPT and direct.finals and not found:
        found.append("connection not kept")
    return found


def _responses(one: Response, other: Response) -> list[str]:
    found = _listed("version", one.version, other.version) + _listed("status", one.status, other.status)
    if one.status != other.status:
        return [*found, f"error {other.value('portway-error')}"]
    found += _listed("reason", one.reason, other.reason) + _listed("framing", one.framing, other.framing)
    seen, seen_through = _echo(one), _echo(other)
    sized = () if seen is None or seen_through is None else ("content-length",)  # the length of an echo depends on its content
    found += _fields("response field", one.fields, other.fields, sized) + _fields("response trailer", one.trailers, other.trailers)
    if seen is None or seen_through is None:
        return found + _listed("body", one.body[:200], other.body[:200]) + _listed("body bytes", len(one.body), len(other.body))
    for name in sorted(seen.keys() | seen_through.keys()):
        if name in ("fields", "trailers"):
            what = "request field" if name == "fields" else "request trailer"
            found += _fields(what, _pairs(seen.get(name)), _pairs(seen_through.get(name)))
        else:
            found += _listed(f"request {name}", seen.get(name), seen_through.get(name))
    return found


def _echo(response: Response) -> dict[str, Any] | None:
    """Return the request that an echoing origin received, None for another response."""
    if "json" not in (response.value("content-type") or ""):
        return None
    try:
        seen = json.loads(response.body)
    except ValueError:
        return None
    return seen if isinstance(seen, dict) else None


def _pairs(listed: object) -> Fields:
    """Return the fields that an origin received; WSGI names are converted to those on the wire."""
    if not isinstance(listed, list):
        return ()
    return tuple((_from_wsgi(str(name)), str(value)) for name, value in listed)


def _from_wsgi(name: str) -> str:
    return name.removeprefix("HTTP_").replace("_", "-").lower() if name.startswith(("HTTP_", "CONTENT_")) else name


def _fields(what: str, one: Fields, other: Fields, ignored: tuple[str, ...] = ()) -> list[str]:
    """Compare two lists of fields: missing, added and changed ones, and the order of the rest."""
    found = []
    left, right = list(one), list(other)
    for pair in one:
        if pair in right:
            left.remove(pair)
            right.remove(pair)
    for name, value in left:
        changed = next((pair for pair in right if pair[0].lower() == name.lower()), None)
        if changed is None:
            found.append(f"{what} missing: {name.lower()}")
        else:
            right.remove(changed)
            if name.lower() not in (*TIMED, *ignored):
                spelled = value != changed[1]
                detail = f"{value[:80]!r} -> {changed[1][:80]!r}" if spelled else f"{name} -> {changed[0]}"
                found.append(f"{what} {'changed' if spelled else 'respelled'}: {name.lower()}: {detail}")
    found += [f"{what} added: {name.lower()}" for name, _ in right]
    kept_one = [pair for pair in one if pair in other and pair[0].lower() not in FRAMING]
    kept_other = [pair for pair in other if pair in one and pair[0].lower() not in FRAMING]
    if kept_one != kept_other:
        found.append(f"{what} order")
    return found


def _listed(what: str, one: object, other: object) -> list[str]:
    return [] if one == other else [f"{what}: direct {one!r}, through {other!r}"]
