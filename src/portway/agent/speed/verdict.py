"""Derives the bottleneck from the measurements, with its explanation. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from portway.agent.speed.events import DelayVerdict, Limit, Measurement, Verdict
from portway.agent.speed.rates import format_rate, format_rtt

BUSY = 0.9
"""A process is busy if it used this share of a core or waited for one that others used: a reactor is one thread."""

CONTENDED = 0.15
"""Share of the time that a process had to wait for a core, from which it is reported."""

CLEAR_GAIN = 1.5
"""Many streams that reach this multiple of one show capacity that a single one cannot use; a smaller gain may be noise."""

ADDS_UP = 0.7
"""Streams (or links) that each reach this share of a single one do not compete yet."""

DELAY_S = 0.03
"""A smaller increase of the round trip does not matter: it is not noticeable while typing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinksAllowed:
    """Maximum numbers of links."""

    by_server: int
    by_command: int
    """`--max-links`."""


def judge(one: Measurement, many: Measurement, allowed: LinksAllowed) -> Verdict:
    """Return the verdict on one direction, from the measurements with one stream and with many."""
    limit = find_limit(one, many)
    best = max(one.bytes_per_s, many.bytes_per_s)
    reason, next_step = _explain(limit, one, many, allowed)
    return Verdict(direction=many.direction, limit=limit, bytes_per_s=best, reason=reason, next_step=next_step)


def find_limit(one: Measurement, many: Measurement) -> Limit:
    """Return the bottleneck; a busy process comes first, because it hides all others."""
    if not one.bytes_per_s or not many.bytes_per_s:
        return "unknown"
    here, server = is_busy(many.here_cpu, many.here_waited), is_busy(many.server_cpu, many.server_waited)
    if here and server:
        return "both_cpus"
    if here or server:
        return "here_cpu" if here else "server_cpu"
    gain = many.bytes_per_s / one.bytes_per_s
    if gain < CLEAR_GAIN:
        return "line"
    if gain >= ADDS_UP * many.streams:
        return "streams"
    if many.links > one.links and gain >= ADDS_UP * many.links:
        return "links"
    return "line"


def is_busy(used: float, waited: float) -> bool:
    """Return whether a process was busy."""
    return used + waited >= BUSY


def _any_busy(measured: Measurement) -> bool:
    return is_busy(measured.here_cpu, measured.here_waited) or is_busy(measured.server_cpu, measured.server_waited)


def judge_delay(rest_s: float, measured: Sequence[Measurement]) -> DelayVerdict | None:
    """Return how a saturated path affects the round trip, in the worse direction; None without a pong under load."""
    known = [(one.rtt_s, one) for one in measured if one.rtt_s is not None]
    if not known:
        return None
    full_s, worst = max(known, key=lambda pair: pair[0])
    added_s = max(0.0, full_s - rest_s)
    direction = {"down": "Download", "up": "Upload"}[worst.direction]
    adds = f"{direction} at full speed adds {format_rtt(added_s)} to a round trip of {format_rtt(rest_s)}"
    if added_s < DELAY_S:
        reason, next_step = f"{adds}: small requests stay fast.", ""
    elif _any_busy(worst):
        reason, next_step = f"{adds}: bytes wait for the busy CPU.", "Less load on that CPU also helps small requests."
    else:
        reason = f"{adds}: buffers on the network path fill up and delay all traffic."
        next_step = "A router with smart queues (fq_codel, CAKE) avoids that."
    return DelayVerdict(rest_s=rest_s, full_s=full_s, reason=reason, next_step=next_step)


def _explain(limit: Limit, one: Measurement, many: Measurement, allowed: LinksAllowed) -> tuple[str, str]:
    """Return the reason and the next step."""
    here, server = (
        _cpu_usage("this machine", many.here_cpu, many.here_waited),
        _cpu_usage("the server", many.server_cpu, many.server_waited),
    )
    match limit:
        case "unknown":
            return "No data arrived.", "Check the server's output, and try again."
        case "here_cpu":
            return f"CPU of {here}.{_single_stream_note(one, many)}", _cpu_advice("this machine", many.here_waited)
        case "server_cpu":
            return f"CPU of {server}.{_single_stream_note(one, many)}", _cpu_advice("the server", many.server_waited)
        case "both_cpus":
            waited = max(many.here_waited, many.server_waited)
            return f"CPUs at both ends: {here}; {server}.{_single_stream_note(one, many)}", _cpu_advice("both ends", waited)
        case "streams":
            reason = (
                f"Single streams: {many.streams} streams reach {_gain(one, many)} times the rate of one, so the network is not saturated."
            )
            return (
                f"{reason}{_single_stream_note(one, many)}",
                f"To find the maximum, test with more streams: --streams {min(64, many.streams * 4)}.",
            )
        case "links":
            reason = (
                f"TCP of each link: {many.links} links reach {_gain(one, many)} times the rate of one; the network may have capacity left."
            )
            return reason, _more_links(many, allowed)
        case "line":
            same = "" if _single_stream_note(one, many) else f"1 and {many.streams} streams reach about the same rate, and "
            reason = f"Network: {same}neither CPU is busy.{_single_stream_note(one, many)}"
            best = format_rate(max(one.bytes_per_s, many.bytes_per_s))
            return reason, f"No Portway setting will help; the network provides {best}."


def _cpu_usage(place: str, used: float, waited: float) -> str:
    contended = f" and waited for a free core {waited:.0%} of the time" if waited >= CONTENDED else ""
    return f"{place}: Portway used {used:.0%} of a core{contended}"


def _cpu_advice(where: str, waited: float) -> str:
    if waited >= CONTENDED:
        return f"Other programs use the cores of {where}: stop or move them."
    return f"A faster core at {where} would help; the network is not saturated."


def _single_stream_note(one: Measurement, many: Measurement) -> str:
    """Return a note on the single stream, if many are clearly faster and no CPU limited the single one."""
    if many.bytes_per_s < CLEAR_GAIN * one.bytes_per_s or _any_busy(one):
        return ""
    rtt = f" of {format_rtt(one.rtt_s)}" if one.rtt_s is not None else ""
    return f" One stream alone reaches {format_rate(one.bytes_per_s)}: its window and its link's TCP limit it at a round trip{rtt}."


def _gain(one: Measurement, many: Measurement) -> str:
    return f"{many.bytes_per_s / one.bytes_per_s:.1f}".removesuffix(".0")


def _more_links(many: Measurement, allowed: LinksAllowed) -> str:
    if allowed.by_command < allowed.by_server:
        return f"Allow more links: --max-links {allowed.by_server}, here and for your tunnels."
    if many.links < allowed.by_server:
        return f"More streams would open more links: {many.links} of {allowed.by_server} were used."
    return f"All {many.links} links that the server allows are in use; a network path with less loss would help."
