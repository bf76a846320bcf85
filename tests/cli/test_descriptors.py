"""Commands raise their limit of file descriptors, up to the hard limit."""

import sys

import pytest

from portway.cli.descriptors import DESCRIPTORS_WANTED
from tests.kit.programs import SOURCES, Program

SCRIPT = """
import resource
from portway.cli import lifecycle

async def work():
    print(*resource.getrlimit(resource.RLIMIT_NOFILE))
    return 0

lifecycle.run_until_stopped(work)
"""


@pytest.mark.parametrize(("limits", "expected"), [("ulimit -Sn 256", DESCRIPTORS_WANTED), ("ulimit -Sn 256; ulimit -Hn 700", 700)])
def test_a_running_command_raises_its_descriptor_limit(limits: str, expected: int) -> None:
    argv = ["/bin/sh", "-c", f'{limits}; exec "$0" -c "$1"', sys.executable, SCRIPT]
    with Program(argv, env={"PYTHONPATH": str(SOURCES)}, name="a command") as program:
        done = program.wait()
    soft, hard = map(int, done.out.split())
    assert soft == min(expected, hard), done.err
