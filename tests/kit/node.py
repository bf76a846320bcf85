"""Origins in Node, started for a test; skips it where Node is missing."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which

import pytest

from tests.kit.programs import Program

START_S = 30.0


def node_command() -> str:
    path = which("node")
    if path is None:
        pytest.skip("no node on this machine")
    return path


@contextmanager
def node_server(folder: Path, script: str) -> Iterator[int]:
    """Run `script`, which defines `server` (of `http` or `net`, both there already); yield the port that it listens on."""
    file = folder / "server.js"
    file.write_text(
        "const http = require('http'), net = require('net');\n"
        + script
        + "\nserver.listen(0, '127.0.0.1', () => console.log('port ' + server.address().port));\n"
    )
    with Program([node_command(), file], name="node") as program:
        yield int(program.expect(r"port (\d+)", START_S)[1])
