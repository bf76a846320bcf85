"""The command `portway`: dispatches to subcommands, and turns errors into messages and exit codes."""

import difflib
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import click

from portway import __version__
from portway.cli.examples import examples
from portway.errors import PortwayError

COMMANDS = {
    "server": ("portway.cli.server", "Run the public server."),
    "token": ("portway.cli.token", "Manage the tokens that agents log in with."),
    "join": ("portway.cli.join", "Save a server's join string for later commands."),
    "http": ("portway.cli.expose", "Expose a local HTTP service."),
    "tcp": ("portway.cli.expose", "Expose a local TCP service."),
    "tls": ("portway.cli.expose", "Expose a local TLS service; the server does not decrypt."),
    "start": ("portway.cli.start", "Start the tunnels of a configuration file."),
    "config": ("portway.cli.config", "Check, edit and locate that file."),
    "logs": ("portway.cli.logs", "List captured requests, and follow new ones."),
    "replay": ("portway.cli.replay", "Send a captured request again, with or without changes."),
    "inspect": ("portway.cli.inspect", "Open the page with captured requests."),
    "passwd": ("portway.cli.passwd", "Set passwords of visitors, for portway http --basic-auth-file."),
    "proxy": ("portway.cli.proxy", "Run a forward proxy: HTTP CONNECT and SOCKS."),
    "speedtest": ("portway.cli.speedtest", "Test the connection to the server and report the bottleneck."),
    "status": ("portway.cli.status", "Show the status of your running Portway processes."),
    "certificates": ("portway.cli.certificates", "List certificates for https with their expiry and errors."),
    "trust": ("portway.cli.trust", "Trust a server's development CA on this machine."),
    "demo": ("portway.cli.demo", "Run a local demo: server, agent and sample site."),
}
"""Name → module, imported only when the command runs, and summary for `portway --help`."""

RENAMED = {"bench": "speedtest"}
"""Former names of commands: not accepted, but the error names the new one."""


class LazyGroup(click.Group):
    """A group that imports each command only when it is used, so that `portway --help` is fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the help text."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; None if it is unknown."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that `args` begin with; for an unknown one, fail with the closest name."""
        name = args[0] if args else ""
        if name and not name.startswith("-") and name not in COMMANDS:
            close = [RENAMED[name]] if name in RENAMED else difflib.get_close_matches(name, COMMANDS, n=1)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"No such command {name!r}.{hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


EXAMPLES = examples(
    ("portway http 3000", "expose the web service on port 3000 of this machine"),
    ("portway tcp 22 --port 20022", "reach this machine's SSH through public port 20022"),
    ("portway server --domain tunnel.example.org", "run a server"),
    ("portway COMMAND --help", "options and examples of a command"),
)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, epilog=EXAMPLES)
@click.version_option(__version__, prog_name="portway", message="%(prog)s %(version)s")
def portway() -> None:
    """Publish local services through your own server.

    Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 refused by the server.
    """


def run(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code. Errors go to stderr, without secrets."""
    if any(name.startswith("PORTWAY_") for name in os.environ):
        from portway.cli.environment import unknown_variables

        for warning in unknown_variables(os.environ):
            _print_error(warning)
    return exit_code_of(lambda: portway.main(args, prog_name="portway", standalone_mode=False))


def exit_code_of(work: Callable[[], object]) -> int:
    """Run `work` and return its exit code; print the error if it raises one."""
    try:
        code = work()
    except click.ClickException as exc:
        _print_usage_error(exc)
        return exc.exit_code
    except click.Abort:
        _print_error("stopped")
        return 1
    except PortwayError as exc:
        for line in str(exc).splitlines():
            _print_error(line)
        return exc.exit_code
    except Exception as exc:  # noqa: BLE001 - the last place where secrets can be masked in the traceback
        _print_internal_error(exc)
        return 1
    return code if isinstance(code, int) else 0


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    sys.exit(run())


def _print_error(text: str) -> None:
    from portway.telemetry.logs import secrets_mask
    from portway.telemetry.terminal import escape

    click.echo(f"portway: {escape(secrets_mask(text))}", err=True)


def _print_usage_error(exc: click.ClickException) -> None:
    """Print what is wrong with a command line. Click's own output would repeat a secret in it."""
    if isinstance(exc, click.exceptions.NoArgsIsHelpError):
        exc.show()
        return
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        click.echo(exc.ctx.get_usage(), err=True)
    _print_error(exc.format_message())
    if isinstance(exc, click.UsageError) and exc.ctx is not None:
        click.echo(f"see `{exc.ctx.command_path} --help`", err=True)


def _print_internal_error(exc: Exception) -> None:
    import traceback

    from portway.telemetry.logs import secrets_mask

    click.echo(secrets_mask("".join(traceback.format_exception(exc))), err=True, nl=False)
    _print_error("internal error; please report it together with the traceback above")
