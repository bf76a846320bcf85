import subprocess
import sys


def test_it_is_the_command_of_the_command_line() -> None:
    """`tests/cli/test_http_tunnel.py` tests the options of portway.forward.http_tunnel."""
    done = subprocess.run(
        [sys.executable, "-m", "portway.forward.http_tunnel", "--help"], capture_output=True, text=True, check=True, timeout=20
    )

    assert done.stdout.startswith("Usage: python -m portway.forward.http_tunnel [OPTIONS] COMMAND")
