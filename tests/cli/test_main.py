"""`portway` itself: help, errors, exit codes, and no secret in any of them."""

import subprocess
import sys

import pytest

from portway import __version__
from portway.cli.main import COMMANDS, LazyGroup, portway
from tests.cli.conftest import Portway

JOIN = "portway://abc." + "S3cret" * 7 + "@example.org:4443"


def test_help_lists_every_command() -> None:
    out = subprocess.run([sys.executable, "-m", "portway", "--help"], capture_output=True, text=True, check=True, timeout=30).stdout

    listed = out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in listed.splitlines()] == list(COMMANDS)


def test_help_and_version_import_no_other_package() -> None:
    code = (
        "import sys\n"
        "from portway.cli.main import run\n"
        "assert run(['--help']) == 0 and run(['--version']) == 0\n"
        "heavy = {'asyncio', 'ssl', 'sqlite3', 'cryptography', 'msgspec', 'portway.server', 'portway.agent'} & set(sys.modules)\n"
        "sys.exit(repr(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)

    assert (done.returncode, done.stderr) == (0, "")
    assert f"portway {__version__}" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_examples(name: str, portway: Portway) -> None:
    done = portway(name, "--help")

    assert done.exit_code == 0
    assert done.stdout.startswith(f"Usage: portway {name}")
    assert f"Examples:\n    portway {name}" in done.stdout


@pytest.mark.parametrize("name", ["create", "list", "revoke"])
def test_every_token_command_has_examples(name: str, portway: Portway) -> None:
    assert f"Examples:\n    portway token {name}" in portway("token", name, "--help").stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("nope",), "No such command 'nope'"),
        (("htttp", "3000"), "No such command 'htttp'. Did you mean 'http'?"),
        (("bench", "--json"), "No such command 'bench'. Did you mean 'speedtest'?"),
        (("http",), "TARGET: missing: give the local service, such as 3000"),
        (("http", "3000", "--colour"), "No such option"),
        (("tls", "443", "--name", "a", "--host", "b.example.org"), "--name, --host: cannot be combined"),
        (("tls", "https://localhost:8443"), "a tls tunnel relays bytes as they are; give host:port"),
        (("tls", "8443", "--port", "20001"), "No such option"),
        (("tcp", "22", "--port", "70000"), "70000 is not in the range"),
        (("http", "ftp://x"), "unsupported scheme ftp://"),
        (("http", "3000", "--name", "a", "--host", "b.c"), "--name, --host: cannot be combined"),
        (("http", "3000"), "no join string yet"),
        (("server", "--http", "x"), "--http: expected an address"),
        (("server", "--config", "/nowhere/portway.toml"), "/nowhere/portway.toml: cannot be read"),
        (("token", "create", "a b"), "NAME: expected 1 to 63 letters"),
        (("token", "create", "a", "--expires", "soon"), "--expires: invalid duration 'soon'"),
        (("token", "revoke", "nobody"), "no server has used"),
    ],
)
def test_usage_errors_go_to_stderr_with_exit_code_2(args: tuple[str, ...], message: str, portway: Portway) -> None:
    done = portway(*args)

    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize("args", [(JOIN,), ("join", JOIN), ("token", JOIN), ("http", JOIN), ("http", "3000", JOIN), ("server", JOIN)])
def test_a_secret_on_the_command_line_is_not_repeated(args: tuple[str, ...], portway: Portway) -> None:
    done = portway(*args)

    assert done.exit_code == 2
    assert "S3cret" not in done.output


def test_an_unexpected_error_is_reported_as_internal_without_secrets(portway: Portway, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError(f"with {JOIN}")

    monkeypatch.setattr(LazyGroup, "get_command", broken)
    done = portway("http", "3000")

    assert done.exit_code == 1
    assert "internal error; please report it" in done.stderr
    assert "ZeroDivisionError" in done.stderr
    assert "S3cret" not in done.output


def test_the_group_imports_every_command() -> None:
    import click

    context = click.Context(portway)
    assert portway.get_command(context, "nope") is None
    assert [getattr(portway.get_command(context, name), "name", None) for name in COMMANDS] == list(COMMANDS)
