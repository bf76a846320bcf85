"""A signal stops a running command gracefully; a second one, or a shutdown that takes too long, ends it at once."""

import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from portway.telemetry.inspection import Inventory
from portway.telemetry.status_socket import query_status
from tests.kit.programs import SOURCES, Program

SCRIPT = """
import asyncio, sys
from portway.cli import lifecycle
lifecycle.STOP_S_MAX = float(sys.argv[2])

async def work():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("stopping", flush=True)
        await asyncio.sleep(float(sys.argv[1]))

def document():
    return b"{}"

sys.exit(lifecycle.run_until_stopped(lambda: lifecycle.with_status("test", document, work)))
"""


FAILING = """
import asyncio, sys
from portway.cli import main
from portway.cli import lifecycle
from portway.errors import ConfigError, UnavailableError

async def fail():
    raise ConfigError("the file is wrong")

async def work():
    async with asyncio.TaskGroup() as group:
        group.create_task(fail())
        group.create_task(asyncio.Event().wait())

main.portway.main = lambda *_, **__: lifecycle.run_until_stopped(work)
sys.exit(main.run())
"""


def test_an_error_in_a_group_of_tasks_is_reported_alone() -> None:
    with Program([sys.executable, "-c", FAILING], env={"PYTHONPATH": str(SOURCES)}, name="a failing command") as program:
        done = program.wait()

    assert (done.code, done.out, done.err) == (2, "", "portway: the file is wrong")


def start(shutdown_s: float, stop_s_max: float, home: Path) -> Program:
    return start_with({}, shutdown_s, stop_s_max, home)


def start_with(variables: dict[str, str], shutdown_s: float, stop_s_max: float, home: Path) -> Program:
    env = {"PYTHONPATH": str(SOURCES), "XDG_RUNTIME_DIR": str(home), **variables}
    return Program([sys.executable, "-c", SCRIPT, str(shutdown_s), str(stop_s_max)], env=env, name="a running command")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_gracefully_with_exit_code_0(number: int, home: Path) -> None:
    with start(0.0, 5.0, home) as program:
        program.expect("ready")
        assert [path.name for path in (home / "portway").iterdir()] == [f"test-{program.pid}.sock"]
        program.signal(number)
        done = program.wait()

    assert (done.code, done.out, done.err) == (0, "ready\nstopping", "")
    assert list((home / "portway").iterdir()) == []


RELOADING = """
import asyncio, sys
from portway.cli import lifecycle

async def work():
    print("ready", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        open(sys.argv[1], "w").close()

sys.exit(lifecycle.run_until_stopped(work, on_hangup=lambda: print("reload", flush=True)))
"""


def test_a_hangup_signal_from_a_program_reloads_if_there_is_something_to_reload(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", RELOADING, str(tmp_path / "stopped")]
    with Program(argv, env={"PYTHONPATH": str(SOURCES)}, name="a reloading command") as program:
        program.expect("ready")
        program.signal(signal.SIGHUP)
        program.expect("reload")
        program.signal(signal.SIGHUP)
        program.expect("reload", start=2)
        assert not (tmp_path / "stopped").exists()
        program.signal(signal.SIGTERM)

        assert program.wait().code == 0


OWN_TERMINAL = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0)"


def test_a_closed_terminal_still_stops_it(tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", OWN_TERMINAL + RELOADING, str(tmp_path / "stopped")],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    try:
        os.close(follower)
        shown = b""
        while b"ready" not in shown:
            shown += os.read(leader, 1024)
        process.send_signal(signal.SIGHUP)
        while b"reload" not in shown:
            shown += os.read(leader, 1024)
        os.close(leader)

        assert process.wait(15) == 0
        assert (tmp_path / "stopped").exists()
    finally:
        process.kill()
        process.wait()


def test_a_second_signal_ends_it_at_once(home: Path) -> None:
    with start(60.0, 60.0, home) as program:
        program.expect("ready")
        program.signal(signal.SIGINT)
        program.expect("stopping")
        program.signal(signal.SIGINT)

        assert program.wait(5).code == 1


def test_a_shutdown_that_takes_too_long_is_cut_off(home: Path) -> None:
    with start(60.0, 0.1, home) as program:
        program.expect("ready")
        program.signal(signal.SIGTERM)

        assert program.wait(5).code == 1


def test_it_runs_without_a_runtime_directory(home: Path) -> None:
    (home / "portway").write_text("in the way")
    with start(0.0, 5.0, home) as program:
        program.expect("ready")
        program.signal(signal.SIGTERM)

        assert program.wait().code == 0


def test_the_inspection_socket_exists_if_the_environment_requests_it(home: Path) -> None:
    with start_with({"PORTWAY_INVENTORY": "1"}, 0, 5, home) as program:
        program.expect("ready")
        [path] = (home / "portway").glob("*.inspect")
        document = query_status(path)
        program.stop()
    assert document is not None
    assert msgspec.json.decode(document, type=Inventory).tasks >= 1


def test_there_is_no_inspection_socket_by_default(home: Path) -> None:
    with start(0, 5, home) as program:
        program.expect("ready")
        assert not list((home / "portway").glob("*.inspect"))
