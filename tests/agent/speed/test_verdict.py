"""What limits a direction, from its figures: a table, and the words for it."""

from dataclasses import replace

import pytest

from portway.agent.speed.events import Limit, Measurement
from portway.agent.speed.verdict import LinksAllowed, find_limit, judge, judge_delay

MBIT = 125_000.0
FOUR = LinksAllowed(by_server=4, by_command=4)
IDLE = Measurement(
    direction="down",
    streams=1,
    links=1,
    bytes_per_s=50 * MBIT,
    rtt_s=0.05,
    here_cpu=0.1,
    here_waited=0.0,
    server_cpu=0.1,
    server_waited=0.0,
)


def one(mbit: float = 50, **changes: object) -> Measurement:
    return replace(IDLE, bytes_per_s=mbit * MBIT, **changes)  # type: ignore[arg-type]


def many(mbit: float, streams: int = 8, links: int = 1, **changes: object) -> Measurement:
    return replace(IDLE, bytes_per_s=mbit * MBIT, streams=streams, links=links, **changes)  # type: ignore[arg-type]


TABLE: list[tuple[str, Measurement, Measurement, Limit]] = [
    ("the same with one and many", one(50), many(50), "line"),
    ("a little more with many", one(50), many(74), "line"),
    ("a little less with many", one(50), many(40), "line"),
    ("many get more, but far from eight times", one(50), many(150), "line"),
    ("two get 1.44 times what one gets", one(50), many(72, streams=2), "line"),
    ("eight get eight times, on one link", one(50), many(400), "streams"),
    ("eight get nearly eight times, on four links", one(50), many(300, links=4), "streams"),
    ("four links get four times", one(50), many(200, links=4), "links"),
    ("four links get twice as much", one(50), many(100, links=4), "line"),
    ("one link gets four times", one(50), many(200), "line"),
    ("this machine is busy", one(900), many(1000, here_cpu=0.97), "here_cpu"),
    ("the server is busy", one(900), many(1000, server_cpu=0.9), "server_cpu"),
    ("both are busy", one(900), many(1000, here_cpu=0.95, server_cpu=0.95), "both_cpus"),
    ("busy, although eight get eight times", one(100), many(800, here_cpu=1.0), "here_cpu"),
    ("others have the cores here", one(900), many(1000, here_cpu=0.5, here_waited=0.45), "here_cpu"),
    ("others have the cores of the server", one(900), many(1000, server_cpu=0.4, server_waited=0.55), "server_cpu"),
    ("both have time left", one(900), many(1000, here_cpu=0.89, server_cpu=0.89), "line"),
    ("only the single stream was busy", one(900, here_cpu=1.0), many(1000, here_cpu=0.8), "line"),
    ("nothing arrived", one(0), many(0), "unknown"),
    ("nothing arrived with many", one(50), many(0), "unknown"),
]


@pytest.mark.parametrize(("single", "crowd", "limit"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_the_bottleneck_follows_from_the_figures(single: Measurement, crowd: Measurement, limit: Limit) -> None:
    assert find_limit(single, crowd) == limit


def test_a_saturated_network_is_reported_with_its_rate() -> None:
    verdict = judge(one(49.8), many(50), FOUR)

    assert (verdict.direction, verdict.limit, verdict.bytes_per_s) == ("down", "line", 50 * MBIT)
    assert verdict.reason == "Network: 1 and 8 streams reach about the same rate, and neither CPU is busy."
    assert verdict.next_step == "No Portway setting will help; the network provides 50.0 Mbit/s."


def test_a_single_stream_that_cannot_saturate_the_network_is_explained() -> None:
    verdict = judge(one(20, rtt_s=0.2), many(50), FOUR)

    assert verdict.limit == "line"
    assert "One stream alone reaches 20.0 Mbit/s: its window and its link's TCP limit it at a round trip of 200ms." in verdict.reason


def test_a_single_stream_that_a_cpu_limited_is_not_explained_by_windows() -> None:
    assert "alone" not in judge(one(20, server_cpu=1.0), many(50), FOUR).reason


def test_a_busy_cpu_is_reported_with_its_share_and_machine() -> None:
    here = judge(one(900), many(1000, here_cpu=0.97), FOUR)
    server = judge(one(900), many(1000, server_cpu=0.97), FOUR)
    both = judge(one(900), many(1000, here_cpu=0.95, server_cpu=0.93), FOUR)

    assert here.reason == "CPU of this machine: Portway used 97% of a core."
    assert server.reason == "CPU of the server: Portway used 97% of a core."
    assert both.reason == "CPUs at both ends: this machine: Portway used 95% of a core; the server: Portway used 93% of a core."
    assert "faster core at this machine" in here.next_step
    assert "faster core at the server" in server.next_step


def test_contended_cores_are_attributed_to_other_programs() -> None:
    verdict = judge(one(900), many(1000, server_cpu=0.5, server_waited=0.43), FOUR)

    assert verdict.reason == "CPU of the server: Portway used 50% of a core and waited for a free core 43% of the time."
    assert verdict.next_step == "Other programs use the cores of the server: stop or move them."


@pytest.mark.parametrize(
    ("allowed", "links", "words"),
    [
        (LinksAllowed(by_server=4, by_command=2), 2, "--max-links 4"),
        (LinksAllowed(by_server=4, by_command=4), 2, "2 of 4 were used"),
        (LinksAllowed(by_server=4, by_command=4), 4, "All 4 links"),
    ],
)
def test_saturated_links_suggest_more_links(allowed: LinksAllowed, links: int, words: str) -> None:
    verdict = judge(one(50), many(50 * links, links=links), allowed)

    assert verdict.limit == "links"
    assert words in verdict.next_step


@pytest.mark.parametrize(("streams", "next_try"), [(8, 32), (16, 64), (40, 64)])
def test_streams_that_add_up_suggest_more_streams(streams: int, next_try: int) -> None:
    assert f"--streams {next_try}." in judge(one(5), many(5 * streams, streams), FOUR).next_step


DELAYS = [
    ("next to nothing", many(50, rtt_s=0.06), "adds 20ms to a round trip of 40ms: small requests stay fast", ""),
    ("quicker than at rest", many(50, rtt_s=0.03), "adds 0ms", ""),
    ("full buffers", many(50, rtt_s=0.24), "adds 200ms to a round trip of 40ms: buffers on the network path fill up", "smart queues"),
    ("a busy CPU", many(50, rtt_s=0.24, here_cpu=0.99), "bytes wait for the busy CPU", "also helps"),
]


@pytest.mark.parametrize(("measured", "reason", "next_step"), [row[1:] for row in DELAYS], ids=[row[0] for row in DELAYS])
def test_the_delay_of_a_saturated_path(measured: Measurement, reason: str, next_step: str) -> None:
    verdict = judge_delay(0.04, [many(50, rtt_s=0.02), measured])
    assert verdict is not None

    assert reason in verdict.reason
    assert next_step in verdict.next_step
    assert bool(verdict.next_step) == bool(next_step)


def test_the_worse_direction_counts_and_missing_pongs_do_not() -> None:
    verdict = judge_delay(0.04, [many(50, rtt_s=None), many(50, rtt_s=0.3, direction="up")])
    assert verdict is not None
    assert (verdict.rest_s, verdict.full_s) == (0.04, 0.3)
    assert verdict.reason.startswith("Upload at full speed")

    assert judge_delay(0.04, [many(50, rtt_s=None)]) is None
