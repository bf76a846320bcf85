"""`portway status`: queries every Portway process of this user on this machine."""

from pathlib import Path

import click
import msgspec

from portway.agent.status import AgentStatus
from portway.cli.examples import examples
from portway.cli.options import json_option
from portway.errors import PortwayError, UnavailableError
from portway.forward.status import ForwardStatus
from portway.server.reporting.status import ServerStatus

Status = AgentStatus | ForwardStatus | ServerStatus

EXAMPLES = examples(
    ("portway status", "all your servers and agents on this machine"),
    ("portway status --json", "the same as JSON"),
    ("sudo -u portway XDG_RUNTIME_DIR=/run portway status", "a server that runs as a systemd service"),
)


@click.command("status", epilog=EXAMPLES)
@json_option("Print a JSON array to stdout, one object per process.")
def status(as_json: bool) -> int:
    """Show the status of your running Portway processes. Exit code 1 if one does not reply."""
    from portway.clock import wall
    from portway.config.paths import runtime_dir

    found, errors = query_all(runtime_dir(make=False))
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif not found and not errors:
        click.echo("No Portway processes of yours are running.")
    else:
        click.echo("\n".join(line for one in found for line in _lines(one, wall())))
    if not as_json:
        _report_hidden({one.pid for one in found})
    for error in errors:
        click.echo(f"portway: {error}", err=True)
    return 1 if errors else 0


def _report_hidden(shown: set[int]) -> None:
    """Print which processes were not queried: those of other users, and those with another runtime directory."""
    from portway.cli.others import processes_of_other_users, processes_with_other_runtime_dir
    from portway.telemetry.terminal import escape

    for pid, command, folder in processes_with_other_runtime_dir(shown):
        value = "that of its service" if folder is None else escape(folder) or "unset"
        click.echo(f"Not shown: {command} {pid}. Run `portway status` with its XDG_RUNTIME_DIR ({value}).", err=True)
    others = [f"{command} {pid} of user {user}" for pid, user, command in processes_of_other_users()]
    if others:
        click.echo(f"Not shown: {', '.join(others)}. Run `portway status` as that user.", err=True)


def query_all(folder: Path) -> tuple[list[Status], list[PortwayError]]:
    """Return the status of each process, servers first, and the errors of others; remove sockets of dead processes."""
    from portway.telemetry.status_socket import query_status

    found: list[Status] = []
    errors: list[PortwayError] = []
    for path in sorted(folder.glob("*.sock"), reverse=True):
        try:
            document = query_status(path)
            if document is None:
                path.unlink(missing_ok=True)
            else:
                found.append(msgspec.json.decode(document, type=Status))
        except msgspec.DecodeError as exc:
            errors.append(UnavailableError(f"{path}: unexpected reply; it may be a different version of Portway: {exc}"))
        except UnavailableError as exc:
            errors.append(exc)
    return found, errors


def _lines(one: Status, now: float) -> list[str]:
    match one:
        case ServerStatus():
            return _server_lines(one, now)
        case ForwardStatus():
            return _proxy_lines(one, now)
        case AgentStatus():
            return _agent_lines(one, now)


def _server_lines(one: ServerStatus, now: float) -> list[str]:
    from portway.protocol.units import format_count, format_duration
    from portway.telemetry.terminal import escape, table

    since = format_duration(max(0.0, now - one.since))
    links = sum(session.links for session in one.sessions)
    agents = f"{len(one.sessions)} logged in" + (f" over {links} links" if links > len(one.sessions) else "")
    workers = f", {len(one.workers)} workers" if one.workers else ""
    lines = [f"server {one.pid}  up {since}  *.{one.domain} at {one.http}, agents at {one.agents}, {agents}{workers}"]
    if one.visitors_turned_away:
        lines.append(f"  {format_count(one.visitors_turned_away, 'visitor')} rejected at capacity")
    if one.connections_shed:
        lines.append(f"  {format_count(one.connections_shed, 'idle or slow connection')} closed to admit new ones")
    if one.logins_refused or one.handshakes_failed:
        refused, failed = format_count(one.logins_refused, "login"), format_count(one.handshakes_failed, "connection")
        lines.append(f"  {refused} refused, {failed} closed before login")
    tokens = {session.session: session.token for session in one.sessions}
    rows = [(escape(lease.url), f"agent {escape(tokens.get(lease.session, 'offline'))}") for lease in one.tunnels]
    return lines + table(rows, indent="  ")


def _proxy_lines(one: ForwardStatus, now: float) -> list[str]:
    from portway.protocol.units import format_duration, format_size

    lines = [f"proxy {one.pid}  up {format_duration(max(0.0, now - one.since))}  at {one.address}"]
    if one.results:
        counts = ", ".join(f"{count:,} {result.replace('_', ' ')}" for result, count in sorted(one.results.items()))
        lines.append(f"  {counts}; {format_size(one.bytes_up)} up, {format_size(one.bytes_down)} down")
    return lines


def _agent_lines(one: AgentStatus, now: float) -> list[str]:
    from portway.protocol.units import format_count, format_duration, format_size
    from portway.telemetry.terminal import escape, table

    away = f", {format_duration(one.rtt_s)} away" if one.rtt_s is not None else ""
    links = f", {_links(one)}" if one.links > 1 else ""
    problem = f": {escape(one.problem)}" if one.problem else ""
    since = format_duration(max(0.0, now - one.since))
    lines = [f"agent {one.pid}  {one.state} for {since}  server {escape(one.server)}{away}{links}{problem}"]
    rows = []
    for tunnel in one.tunnels:
        counts = [format_count(tunnel.requests, "request")] if tunnel.requests else []
        if tunnel.relays:
            counts.append(format_count(tunnel.relays, "relay"))
        if tunnel.bytes_in or tunnel.bytes_out:
            counts.append(f"{format_size(tunnel.bytes_in)} in, {format_size(tunnel.bytes_out)} out")
        rows.append((escape(tunnel.url), escape(tunnel.target), ", ".join(counts) or "no visitors yet"))
    lines += table(rows, indent="  ")
    return [*lines, f"  inspector at {escape(one.inspector)}"] if one.inspector else lines


def _links(one: AgentStatus) -> str:
    return f"{one.links} links" + (f", {one.links_draining} draining" if one.links_draining else "")
