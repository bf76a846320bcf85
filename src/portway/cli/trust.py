"""`portway trust`: prints the root of a server's development CA, and adds it to trust stores or removes it."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portway.cli.examples import examples
from portway.cli.options import config_option, settings_options
from portway.errors import ConfigError, UnavailableError
from portway.server.settings import ServerSettings

if TYPE_CHECKING:
    from cryptography import x509

    from portway.certificates.trust_stores import Plan

STORES = ("system", "browsers")

EXAMPLES = examples(
    ("portway trust", "the path of the root certificate, as PEM"),
    ('curl --cacert "$(portway trust)" https://app.localhost:8443/', "trust it once"),
    ("portway trust --install", "trust it on this machine: system, Chromium, Firefox"),
    ("portway trust --install --store browsers", "only in browsers, without root"),
    ("portway trust --install --root dev-ca.pem", "trust the root of a server on another machine"),
    ("portway trust --uninstall", "remove it everywhere"),
)


@click.command("trust", epilog=EXAMPLES)
@click.option("--install", is_flag=True, help="Add the root to the trust stores of this machine, after confirmation.")
@click.option(
    "--uninstall", is_flag=True, help="Remove the root, and earlier ones of this server, from the trust stores, after confirmation."
)
@click.option("--store", "stores", type=click.Choice(STORES), multiple=True, help="Change only this trust store.  [default: both]")
@click.option(
    "--root",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Use the root in FILE, copied from the data directory of a server on another machine.",
)
@click.option("--yes", is_flag=True, help="Skip the confirmation.")
@settings_options(ServerSettings, "data")
@config_option
def trust(
    install: bool, uninstall: bool, stores: tuple[str, ...], root: Path | None, yes: bool, config: Path | None, **flags: object
) -> int:
    """Print the path of the root certificate of the server's development CA.

    Run this as the server's user, with the server's data directory. The root can only sign for names under the server's domain, `localhost` and
    loopback addresses.
    """
    if install and uninstall:
        raise click.UsageError("--install, --uninstall: expected one of them")
    roots, file = _roots_of(config, flags) if root is None else ([_read_copy(root)], root.resolve())
    if install or uninstall:
        return _change(roots, file, stores or STORES, install=install, yes=yes)
    click.echo(str(file))
    return 0


def _roots_of(config: Path | None, flags: dict[str, object]) -> tuple[list["x509.Certificate"], Path]:
    """Return the roots of the server's data directory, the current one first, and its file."""
    from portway.certificates.dev_ca import ROOT_FILE, read_roots
    from portway.config.sources import load_settings
    from portway.server.settings import defaults_for

    settings = load_settings(ServerSettings, "server", flags=flags, environ=os.environ, file=config, defaults=defaults_for)
    roots, file = read_roots(settings.data), settings.data.resolve() / ROOT_FILE
    if not roots or not file.exists():
        raise ConfigError(
            f"data: no development CA in {settings.data} yet. Start the server with --dev-tls once, or give the server's data directory (--data DIR)"
        )
    return roots, file


def _read_copy(file: Path) -> "x509.Certificate":
    """Return the root in a file; no other certificate, because this one is limited to a few names."""
    from cryptography import x509

    from portway.certificates.dev_ca import allowed_domains

    try:
        certificate = x509.load_pem_x509_certificate(file.read_bytes())
        if not allowed_domains(certificate):
            raise ValueError("without a limit to names")
    except (OSError, ValueError, x509.ExtensionNotFound) as exc:
        raise ConfigError(f"--root: {file}: expected the root of a development CA, as PEM: {exc}") from exc
    return certificate


def _change(roots: list["x509.Certificate"], file: Path, stores: tuple[str, ...], *, install: bool, yes: bool) -> int:
    from portway.certificates.trust_stores import TrustStores

    found = TrustStores.of(os.environ)
    plans = [
        plan(roots, file, install=install)
        for name, plan in (("system", found.plan_system), ("browsers", found.plan_browsers))
        if name in stores
    ]
    click.echo("\n".join(_describe(roots[0], file, plans, install=install)), err=True)
    changes = [change for plan in plans for change in plan.changes]
    if changes and not yes:
        if not sys.stdin.isatty():
            raise ConfigError(f"{'--install' if install else '--uninstall'}: requires a terminal for the confirmation; skip it with --yes")
        click.confirm("Continue?", abort=True, err=True)
    failures = []
    for change in changes:
        reason = change.apply()
        failures += [f"{change.store}: {reason}"] if reason else []
        click.echo(f"{'failed' if reason else 'done'}: {change.store}", err=True)
    if failures:
        raise UnavailableError("\n".join(failures))
    if changes:
        click.echo("Restart browsers that are running.", err=True)
    return 0


def _describe(root: "x509.Certificate", file: Path, plans: list["Plan"], *, install: bool) -> list[str]:
    """Return what will be changed, and what cannot be."""
    from portway.certificates.dev_ca import allowed_domains
    from portway.certificates.trust_stores import nickname

    domains = " and ".join(allowed_domains(root))
    lines = [
        f"{nickname(root)}, valid until {root.not_valid_after_utc:%Y-%m-%d}: {file}",
        f"It can only sign for {domains}, names under these, 127.0.0.0/8 and ::1.",
    ]
    changes = [change for plan in plans for change in plan.changes]
    if changes:
        lines.append(f"This will {'add it to' if install else 'remove it from'}:")
        for change in changes:
            lines += [f"  {change.store}", *(f"    {line}" for line in change.lines())]
    lines += [f"{'Already there' if install else 'Not there'}: {store}" for plan in plans for store in plan.done]
    lines += [f"Not changed: {hint}" for plan in plans for hint in plan.hints]
    if not changes and not any(plan.hints for plan in plans):
        lines.append("Nothing to change.")
    return lines
