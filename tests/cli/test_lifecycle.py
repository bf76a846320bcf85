"""Signals end a running command as done; a second one, or too long a goodbye, ends it at once."""

import signal
import sys
from pathlib import Path

import msgspec
import pytest

from portway.telemetry.inspection import Inventory
from portway.telemetry.status_socket import ask_status
from tests.kit.programs import SOURCES, Program

SCRIPT = """
import asyncio, sys
from portway.cli import lifecycle as running
running.STOP_S_MAX = float(sys.argv[2])

async def work():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("goodbye", flush=True)
        await asyncio.sleep(float(sys.argv[1]))

def document():
    return b"{}"

sys.exit(running.run_until_stopped(lambda: running.with_status("test", document, work)))
"""


FAILING = """
import asyncio, sys
from portway.cli import main
from portway.cli import lifecycle as running
from portway.errors import ConfigError, UnavailableError

async def fail():
    raise ConfigError("the file is wrong")

async def work():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        group.create_task(asyncio.Event().wait())

main.portway.main = lambda *_, **__: running.run_until_stopped(work)
sys.exit(main.run())
"""


def test_an_error_in_a_group_of_tasks_is_told_as_itself() -> None:
    with Program([sys.executable, "-c", FAILING], env={"PYTHONPATH": str(SOURCES)}, name="a failing command") as program:
        done = program.wait()

    assert (done.code, done.out, done.err) == (2, "", "portway: the file is wrong")


def start(goodbye_s: float, stop_s_max: float, home: Path) -> Program:
    return start_with({}, goodbye_s, stop_s_max, home)


def start_with(variables: dict[str, str], goodbye_s: float, stop_s_max: float, home: Path) -> Program:
    env = {"PYTHONPATH": str(SOURCES), "XDG_RUNTIME_DIR": str(home), **variables}
    return Program([sys.executable, "-c", SCRIPT, str(goodbye_s), str(stop_s_max)], env=env, name="a running command")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_lets_it_say_goodbye_and_counts_as_done(number: int, home: Path) -> None:
    with start(0.0, 5.0, home) as program:
        program.expect("ready")
        assert [path.name for path in (home / "portway").iterdir()] == [f"test-{program.pid}.sock"]
        program.signal(number)
        done = program.wait()

    assert (done.code, done.out, done.err) == (0, "ready\ngoodbye", "")
    assert list((home / "portway").iterdir()) == []


def test_a_second_signal_ends_it_at_once(home: Path) -> None:
    with start(60.0, 60.0, home) as program:
        program.expect("ready")
        program.signal(signal.SIGINT)
        program.expect("goodbye")
        program.signal(signal.SIGINT)

        assert program.wait(5).code == 1


def test_a_goodbye_that_takes_too_long_is_cut(home: Path) -> None:
    with start(60.0, 0.1, home) as program:
        program.expect("ready")
        program.signal(signal.SIGTERM)

        assert program.wait(5).code == 1


def test_without_a_runtime_directory_it_runs_all_the_same(home: Path) -> None:
    (home / "portway").write_text("in the way")
    with start(0.0, 5.0, home) as program:
        program.expect("ready")
        program.signal(signal.SIGTERM)

        assert program.wait().code == 0


def test_it_tells_what_it_holds_where_the_environment_asks_for_that(home: Path) -> None:
    with start_with({"PORTWAY_INSPECT": "1"}, 0, 5, home) as program:
        program.expect("ready")
        [path] = (home / "portway").glob("*.inspect")
        document = ask_status(path)
        program.stop()
    assert document is not None
    assert msgspec.json.decode(document, type=Inventory).tasks >= 1


def test_otherwise_nobody_can_ask_what_it_holds(home: Path) -> None:
    with start(0, 5, home) as program:
        program.expect("ready")
        assert not list((home / "portway").glob("*.inspect"))
