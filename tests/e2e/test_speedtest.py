"""`portway speedtest` as a user runs it: over a network path with known figures, refused, stopped, and with a server that dies."""

import json
import os
import pty
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from portway.protocol.join_string import JoinString
from tests.e2e.world import World, event, events
from tests.kit.programs import Finished, Program

ROOT = Path(__file__).resolve().parents[2]
LINE_MBIT = 10
"""A piece takes the line's whole attention for 13 ms: a relay that wakes up late on a busy machine still gives most of it."""
RTT_S = 0.04


@contextmanager
def line(world: World) -> Iterator[int]:
    """A line of 10 Mbit/s and 40 ms to the agents' port; yields its own port."""
    target = ["127.0.0.1", str(world.agents_port), str(RTT_S / 2), str(LINE_MBIT * 125_000)]
    with Program([sys.executable, "-m", "bench.load.wan_link", "127.0.0.1", "0", *target], cwd=ROOT, name="line") as relay:
        yield int(relay.expect(r"^(\d+)$")[1])


@pytest.fixture(params=[False, True], ids=["TLS links", "plain links"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    with World(server_flags=("--plaintext-links",) if request.param else ()) as world:
        yield world


@pytest.fixture
def tls_world() -> Iterator[World]:
    with World() as world:
        yield world


def speedtest(world: World, join: JoinString, *flags: str, as_json: bool = True) -> Program:
    plain = ["--plaintext-links"] if join.plaintext else []
    return world.agent(join, "speedtest", *plain, *flags, as_json=as_json)


def told(ended: Finished, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in ended.out.splitlines()]
    return [line for line in lines if line["event"] == name]


def test_a_path_of_10_megabits_is_measured_and_named(world: World) -> None:
    server = world.start_server()
    join = world.token()
    with line(world) as port:
        ended = speedtest(world, replace(join, port=port), "--seconds", "2", "--streams", "4").wait(60)
    measured, verdicts = told(ended, "measurement"), told(ended, "verdict")

    assert ended.code == 0, ended
    assert told(ended, "round_trips")[0]["lowest_s"] >= RTT_S
    assert [(one["direction"], one["streams"]) for one in measured] == [("down", 1), ("up", 1), ("down", 4), ("up", 4)]
    for one in measured:
        assert 0.2 * LINE_MBIT < one["bytes_per_s"] / 125_000 < 1.15 * LINE_MBIT, one  # 0.2: the machine may be busy
        assert one["rtt_s"] >= RTT_S
    assert [(one["direction"], one["limit"]) for one in verdicts] == [("down", "line"), ("up", "line")]
    assert "the network provides" in verdicts[0]["next_step"]
    assert len(list(events(server, "speed_tested"))) >= 4


def test_text_output_fits_a_terminal(tls_world: World) -> None:
    tls_world.start_server()
    ended = speedtest(tls_world, tls_world.token(), "--seconds", "0.5", "--streams", "2", "--max-links", "1", as_json=False).wait(60)

    assert ended.code == 0, ended
    assert ended.out.startswith(f"Speed test with 127.0.0.1:{tls_world.agents_port}, Portway ")
    assert len(re.findall(r"^  (?:down|up)  +[12] streams? +[\d.]+ ", ended.out, re.MULTILINE)) == 4
    assert re.search(r"^  down   \S+ [MG]bit/s\. ", ended.out, re.MULTILINE)
    assert "What limits it" in ended.out
    assert max(map(len, ended.out.splitlines())) < 80
    assert "\x1b" not in ended.out


def test_a_server_that_allows_none_refuses(tls_world: World) -> None:
    tls_world.start_server("--no-speed-test")
    ended = speedtest(tls_world, tls_world.token(), as_json=False).wait()

    assert ended.code == 3, ended
    assert ended.err.splitlines()[-1].startswith("portway: speed tests are disabled on this server (speed_test_off). ")


def test_a_server_killed_during_a_test_ends_it_with_an_error(tls_world: World) -> None:
    server = tls_world.start_server()
    program = speedtest(tls_world, tls_world.token(), "--seconds", "20", as_json=False)
    program.expect("round trip at rest")
    time.sleep(1.5)  # the first measurement begins after 0.3 s, and takes 20
    server.kill()
    ended = program.wait()

    assert ended.code == 1, ended
    assert ended.err.splitlines()[-1].startswith("portway: the speed test was interrupted: ")


def test_ctrl_c_ends_a_test_at_once_at_both_ends(tls_world: World) -> None:
    server = tls_world.start_server()
    program = speedtest(tls_world, tls_world.token(), "--seconds", "20", as_json=False)
    program.expect("round trip at rest")
    time.sleep(1.5)  # the first measurement begins after 0.3 s, and takes 20
    program.signal(signal.SIGINT)
    ended = program.wait(8)

    assert ended.code == 1, ended
    assert "stopped" in ended.err
    assert "Traceback" not in ended.err
    assert event(server, "speed_tested")["seconds"] < 15
    assert event(server, "session_down")["reason"] == "the peer closed the control stream"


def test_memory_does_not_grow_with_the_bytes_of_a_test(tls_world: World) -> None:
    server = tls_world.start_server()
    join = tls_world.token()
    before = server.rss_bytes()
    program = speedtest(tls_world, join, "--seconds", "1.5", "--streams", "64")
    peak_here = program.peak_rss_bytes_to_its_end(60)
    ended = program.wait()
    moved = sum(one["bytes"] for one in events(server, "speed_tested"))

    assert ended.code == 0, ended
    assert moved > 120_000_000  # twice what may be buffered; a slow and busy machine gets that far
    assert server.peak_rss_bytes() - before < 60_000_000
    assert peak_here < 120_000_000


def test_on_a_terminal_rows_are_drawn_while_they_are_measured(tls_world: World) -> None:
    tls_world.start_server()
    file = tls_world.home / "join"
    file.touch(mode=0o600)
    file.write_text(f"{tls_world.token()}\n")
    words = [
        "speedtest",
        "--join-file",
        str(file),
        "--data",
        str(tls_world.home / "agent"),
        "--seconds",
        "0.6",
        "--streams",
        "2",
        "--max-links",
        "1",
    ]
    shown = _on_a_terminal([sys.executable, "-m", "portway", *words], {**tls_world.environment, "TERM": "xterm"})

    assert "\x1b[1A\x1b[2K" in shown
    assert re.search(r"\[.*==*>", shown)
    assert "What limits it" in shown


def _on_a_terminal(argv: list[str], env: dict[str, str]) -> str:
    """Return all that a program writes to a terminal of its own."""
    child, terminal = pty.fork()
    if not child:
        os.execve(argv[0], argv, env)
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:
        pass  # how Linux reports that a terminal's other side is gone
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, shown.decode()
    return shown.decode()
