"""Options with a duration: accepted values, and errors that name the source."""

import click
import pytest
from click.testing import CliRunner

from portway.cli.durations import DRAIN_S_MAX, connect_option, drain_option
from portway.errors import ConfigError


@click.command()
@drain_option
def command(drain: float) -> None:
    click.echo(drain)


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0.0), ("1m30s", 90.0), ("250ms", 0.25), ("1h", DRAIN_S_MAX)])
def test_durations_become_seconds(text: str, seconds: float) -> None:
    assert CliRunner().invoke(command, ["--drain", text]).output == f"{seconds}\n"
    assert CliRunner().invoke(command, env={"PORTWAY_DRAIN": text}).output == f"{seconds}\n"


@click.command()
@connect_option
def connecting(connect_timeout: float | None) -> None:
    click.echo(repr(connect_timeout))


def test_a_connect_timeout_is_none_or_positive() -> None:
    assert CliRunner().invoke(connecting, env={}).output == "None\n"
    assert CliRunner().invoke(connecting, ["--connect-timeout", "30s"]).output == "30.0\n"
    with pytest.raises(ConfigError, match=r"--connect-timeout: expected at least 0\.1 s, got 0s"):
        CliRunner().invoke(connecting, ["--connect-timeout", "0s"], catch_exceptions=False)


def test_the_default_applies_without_the_option() -> None:
    assert CliRunner().invoke(command, env={}).output == "10.0\n"


@pytest.mark.parametrize(
    ("text", "problem"), [("10", "expected a value like 90s"), ("", "expected a value"), ("2h", "expected at most 3600 s")]
)
def test_an_error_names_the_flag_or_the_variable(text: str, problem: str) -> None:
    for arguments, environment, source in ((["--drain", text], {}, "--drain: "), ([], {"PORTWAY_DRAIN": text}, "PORTWAY_DRAIN: ")):
        if not text and environment:
            continue  # an empty variable counts as unset
        with pytest.raises(ConfigError, match=problem) as error:
            CliRunner().invoke(command, arguments, env=environment, catch_exceptions=False)
        assert str(error.value).startswith(source)
