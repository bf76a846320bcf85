"""`portway certificates`: lists the certificates of running servers, or those in the files of one that is not running."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from portway.cli.examples import examples
from portway.cli.options import config_option, json_option, settings_options
from portway.server.settings import ServerSettings

if TYPE_CHECKING:
    from portway.server.reporting.certificate_status import CertificateStatus

EXAMPLES = examples(
    ("portway certificates", "certificates of the running server"),
    ("portway certificates --json", "the same as JSON"),
    ("portway certificates --certificates /etc/portway/certificates", "check files before the server uses them"),
)


@click.command("certificates", epilog=EXAMPLES)
@settings_options(ServerSettings, "certificates", "data", "domain", "dev_tls")
@config_option
@json_option("Print a JSON array to stdout, one object per certificate.")
def certificates(config: Path | None, as_json: bool, **flags: object) -> int:
    """List certificates with names, source, issuer, expiry, last error and next attempt.

    Asks the running servers of this user. Without one, or with --certificates, reads the files. Exit code 1 if a certificate has an error.
    """
    from portway.clock import wall

    found = [] if flags["certificates"] else _running()
    if not found:
        found = [(None, _saved(config, flags))]
    rows = [(pid, row) for pid, several in found for row in several]
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode([_as_json(pid, row) for pid, row in rows]))
    elif rows:
        click.echo("\n".join(_lines(rows, wall())))
    else:
        where = "The server has" if found[0][0] else "No server of yours is running, and its files contain"
        click.echo(f"{where} no certificates; see --certificates, --acme-email and --dev-tls of `portway server`.", err=True)
    return 1 if any(row.last_error for _, row in rows) else 0


def _running() -> list[tuple[int | None, list["CertificateStatus"]]]:
    """Return the rows of each running server by process id."""
    from portway.cli.status import query_all
    from portway.config.paths import runtime_dir
    from portway.server.reporting.status import ServerStatus

    found, errors = query_all(runtime_dir(make=False))
    for error in errors:
        click.echo(f"portway: {error}", err=True)
    return [(one.pid, one.certificates) for one in found if isinstance(one, ServerStatus)]


def _saved(config: Path | None, flags: dict[str, object]) -> list["CertificateStatus"]:
    from portway.certificates.acme.files import AcmeFiles
    from portway.certificates.acme.source import AcmeSource
    from portway.certificates.events import CertificateDown, CertificateFailed, CertificateUp
    from portway.certificates.store import CertificateStore
    from portway.clock import wall
    from portway.config.sources import load_settings
    from portway.server.reporting.certificate_status import CertificateTable
    from portway.server.settings import defaults_for

    settings = load_settings(ServerSettings, "server", flags=flags, environ=os.environ, file=config, defaults=defaults_for)
    table = CertificateTable()
    store = CertificateStore(settings, lambda _: None)
    events = store.load()
    if store.acme is None:  # the flags of the server that ordered them are not those of this command
        for files in AcmeFiles.of_all(settings.data):
            events += AcmeSource(files, lambda _: None, wall).load()
    for event in events:
        if isinstance(event, CertificateUp | CertificateFailed | CertificateDown):
            table.update(event)
    return table.rows()


def _lines(rows: list[tuple[int | None, "CertificateStatus"]], now: float) -> list[str]:
    from portway.telemetry.event_lines import timestamp
    from portway.telemetry.terminal import escape, table

    cells = [("NAMES", "SOURCE", "ISSUER", "EXPIRES", "NEXT ATTEMPT", "ERROR")]
    for _, row in rows:
        cells.append(
            (
                escape(", ".join(row.names), 60) or "-",
                row.source if row.source == "dev" or row.id in row.names else escape(f"{row.source}: {row.id}", 80),
                escape(row.issuer, 40) or "-",
                _expiry(row.not_after, now),
                timestamp(row.next_attempt)[:16] + "Z" if row.next_attempt is not None else "-",
                escape(row.last_error, 200) or "-",
            )
        )
    return table(cells)


def _expiry(not_after: float | None, now: float) -> str:
    from portway.protocol.units import format_duration
    from portway.telemetry.event_lines import timestamp

    if not_after is None:
        return "-"
    left_s = not_after - now
    return f"{timestamp(not_after)[:10]} ({format_duration(left_s)} left)" if left_s > 0 else f"{timestamp(not_after)[:10]} (expired)"


def _as_json(pid: int | None, row: "CertificateStatus") -> dict[str, object]:
    from portway.telemetry.event_lines import timestamp

    return {
        "names": list(row.names),
        "source": row.source,
        "id": row.id,
        "issuer": row.issuer,
        "not_after": timestamp(row.not_after) if row.not_after is not None else None,
        "last_error": row.last_error,
        "next_attempt": timestamp(row.next_attempt) if row.next_attempt is not None else None,
        "server": pid,
    }
