"""Programs raise their own limit of descriptors, as far as the system lets them."""

import sys

import pytest

from portway.cli.descriptors import WANTED
from tests.kit.programs import SOURCES, Program

SCRIPT = """
import resource
from portway.cli import lifecycle as running

async def work():
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
    return 0

running.run_until_stopped(work)
"""


@pytest.mark.parametrize(("limits", "expected"), [("ulimit -Sn 256", WANTED), ("ulimit -Sn 256; ulimit -Hn 700", 700)])
def test_a_command_that_runs_takes_the_descriptors_it_may_have(limits: str, expected: int) -> None:
    argv = ["/bin/sh", "-c", f'{limits}; exec "$0" -c "$1"', sys.executable, SCRIPT]
    with Program(argv, env={"PYTHONPATH": str(SOURCES)}, name="a command") as program:
        done = program.wait()
    soft, hard = map(int, done.out.split())
    assert soft == min(expected, hard), done.err
