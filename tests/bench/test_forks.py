"""Children of a load program may end all at once."""

import subprocess
import sys

CROWD = """
import os, time
from bench.load.forks import Forks

forks = Forks()
deadline = time.monotonic() + 20
for _ in range(40):
    barrier_out, barrier_in = os.pipe()
    for _ in range(12):
        forks.start(lambda: os.read(barrier_out, 1), 20)
    os.write(barrier_in, b"x" * 12)
    while not forks.all_alive(0):
        assert time.monotonic() < deadline, "children that ended are still counted"
        time.sleep(0.001)
    os.close(barrier_out), os.close(barrier_in)
print("all reaped")
"""


def test_children_that_end_together_are_all_reaped() -> None:
    done = subprocess.run([sys.executable, "-c", CROWD], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "all reaped\n"), done.stderr
