"""A command line with a home of its own."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from portway.cli.main import run

Portway = Callable[..., Result]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place for data and sockets that no other test and no user has; its path is short enough for a unix socket."""
    with tempfile.TemporaryDirectory(prefix="portway-") as folder:
        home = Path(folder)
        for name in ("XDG_DATA_HOME", "XDG_RUNTIME_DIR"):
            (home / name).mkdir(mode=0o700)
            monkeypatch.setenv(name, str(home / name))
        for name in [name for name in os.environ if name.startswith("PORTWAY_")]:
            monkeypatch.delenv(name)
        yield home


@pytest.fixture
def portway(home: Path) -> Portway:
    """Run one command line in this process; the result has exit code, stdout and stderr as a shell would see them."""
    import click

    def call(*args: str, input: str | None = None, env: dict[str, str] | None = None) -> Result:
        @click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
        def shell() -> None:
            raise click.exceptions.Exit(run(args))

        return CliRunner().invoke(shell, [], input=input, env=env)

    return call
