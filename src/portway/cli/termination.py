"""Options of `portway http` for ending visitors' TLS at the agent."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from portway.agent.termination.settings import Termination
from portway.errors import ConfigError

Command = TypeVar("Command", bound=Callable[..., Any])

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)

_OPTIONS = (
    click.option(
        "--terminate",
        type=click.Choice(["server", "agent"]),
        default="server",
        show_default=True,
        envvar="PORTWAY_TERMINATE",
        show_envvar=True,
        help="End visitors' TLS at the server, or at this agent: the server then relays only encrypted bytes.",
    ),
    click.option("--cert", metavar="FILE", type=_FILE, help="With --terminate agent: use the PEM chain in FILE; reread when it changes."),
    click.option("--key", metavar="FILE", type=_FILE, help="Read the private key of that chain from FILE."),
    click.option(
        "--acme-email",
        metavar="EMAIL",
        default="",
        help="With --terminate agent: order the certificate from a CA (ACME), with EMAIL as its contact; you agree to its terms of service by that.",
    ),
    click.option(
        "--acme-directory", metavar="URL", default="", help="Order it from the CA with the ACME directory URL.  [default: Let's Encrypt]"
    ),
    click.option("--acme-ca", metavar="FILE", type=_FILE, help="Verify that CA's own https with the root certificates in FILE."),
)


def termination_options(command: Command) -> Command:
    """Add the options."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_termination(options: Mapping[str, Any]) -> Termination | None:
    """Return the termination that the options ask for; None: at the server.

    Raises:
        ConfigError: options contradict each other.
    """
    given = [name for name in ("cert", "key", "acme_email", "acme_directory", "acme_ca") if options.get(name)]
    if (options.get("terminate") or "server") == "server":
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')}: requires --terminate agent; at the server, its operator has the certificates"
            )
        return None
    if ("cert" in given) != ("key" in given):
        raise ConfigError("--cert, --key: a certificate and its key belong together: give both")
    if "cert" in given and "acme_email" in given:
        raise ConfigError("--cert, --acme-email: two sources of one certificate: give one of them")
    if not options.get("acme_email") and (options.get("acme_directory") or options.get("acme_ca")):
        raise ConfigError("--acme-directory, --acme-ca: requires --acme-email")
    if (options.get("plain_http") or "redirect") != "redirect":
        raise ConfigError("--plain-http: cannot be combined with --terminate agent: the server sees no requests of this tunnel")
    from portway.certificates.acme.settings import LETS_ENCRYPT

    return Termination(
        cert=options.get("cert"),
        key=options.get("key"),
        acme_email=options.get("acme_email") or "",
        acme_directory=options.get("acme_directory") or LETS_ENCRYPT,
        acme_ca=options.get("acme_ca"),
    )
