"""Warns about unknown PORTWAY_ variables: a misspelled one would be ignored silently."""

import difflib
from collections.abc import Mapping

PREFIX = "PORTWAY_"
INTERNAL = frozenset({"PORTWAY_ENGINE", "PORTWAY_HYPOTHESIS", "PORTWAY_INVENTORY", "PORTWAY_JOIN", "PORTWAY_OFFLINE"})
"""Variables that no option reads: those of the engine and of the tests, and the agent's join string."""


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return one warning for each variable that begins with PORTWAY_ and is unknown."""
    given = [name for name in environ if name.startswith(PREFIX) and name not in INTERNAL]
    if not given:
        return []
    known = known_variables()
    warnings = []
    for name in sorted(given):
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            warnings.append(f"unknown environment variable {name} is ignored{hint}")
    return warnings


def known_variables() -> frozenset[str]:
    """Return every variable that an option of any command reads. Imports all commands."""
    import click

    from portway.cli.main import COMMANDS, portway
    from portway.config.fields import settings_of
    from portway.demo.settings import DemoSettings
    from portway.forward.settings import ForwardSettings
    from portway.forward.tls_context import PASSWORD_VARIABLE
    from portway.server.settings import ServerSettings

    found = {*INTERNAL, PASSWORD_VARIABLE}
    for settings_class in (ServerSettings, ForwardSettings, DemoSettings):
        found |= {setting.variable for setting in settings_of(settings_class).values()}
    context = click.Context(portway)
    commands = [portway.get_command(context, name) for name in COMMANDS]
    while commands:
        command = commands.pop()
        if isinstance(command, click.Group):
            commands += [command.get_command(context, name) for name in command.list_commands(context)]
        for parameter in command.params if command is not None else ():
            envvar = parameter.envvar
            found |= {envvar} if isinstance(envvar, str) else set(envvar or ())
    return frozenset(found)
