"""Children start without PORTWAY_ settings, are stopped by their id, and never outlive the demo."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from portway.demo.processes import Child, clean_environ, first_line_of, start
from portway.errors import UnavailableError
from tests.kit.programs import SOURCES

ENVIRON = {**os.environ, "PYTHONPATH": str(SOURCES)}


def gone(pid: int) -> bool:
    """Return whether the process is gone or a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def until(condition: Callable[[], bool], deadline_s: float = 10.0) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_child_has_no_portway_settings_of_the_user() -> None:
    assert clean_environ({"PATH": "/bin", "PORTWAY_DOMAIN": "example.org", "PORTWAY_JOIN": "portway://x"}) == {"PATH": "/bin"}


def test_the_first_line_of_a_command_is_returned(tmp_path: Path) -> None:
    assert asyncio.run(first_line_of("version", ["--version"], ENVIRON, tmp_path / "log")).startswith("portway ")


def test_the_error_of_a_failed_command_has_its_stderr(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"(?s)exit code 2.*nonsense"):
        asyncio.run(first_line_of("nonsense", ["nonsense"], ENVIRON, tmp_path / "log"))


def test_a_child_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"

    async def run() -> int:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
        child = Child("stubborn", process, tmp_path / "log")
        assert await anext(child.lines()) == "up"
        await child.stop(stop_s_max=0.2)
        await child.stop()
        return child.pid

    assert gone(asyncio.run(run()))


def test_stopping_an_exited_child_does_nothing(tmp_path: Path) -> None:
    async def run() -> None:
        child = await start("version", ["--version"], ENVIRON, tmp_path / "log")
        await child.ended()
        await child.stop()

    asyncio.run(run())


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux signals the death of a parent")
def test_a_child_ends_when_the_demo_is_killed(tmp_path: Path) -> None:
    # The middle process stands for the demo: it starts a child like the demo, prints its id, and is killed with -9.
    child = "import sys, time; from portway.demo.parent_death import die_with_parent; assert die_with_parent(int(sys.argv[1])); print(1, flush=True); time.sleep(60)"
    demo = (
        "import os, subprocess, sys, time;"
        f"c = subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())], stdout=subprocess.PIPE, start_new_session=True);"
        "c.stdout.readline(); print(c.pid, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", demo], env=ENVIRON, stdout=subprocess.PIPE, text=True) as middle:
        assert middle.stdout is not None
        pid = int(middle.stdout.readline())
        assert not gone(pid)
        middle.send_signal(signal.SIGKILL)
        until(lambda: gone(pid))
