"""`portway status`: asks every program of this user on this machine how it is."""

from pathlib import Path

import click
import msgspec

from portway.agent.status import AgentStatus
from portway.cli.examples import examples
from portway.cli.options import json_option
from portway.errors import PortwayError, UnavailableError
from portway.server.reporting.status import ServerStatus

Status = AgentStatus | ServerStatus


EXAMPLES = examples(
    ("portway status", "every server and agent of yours on this machine"),
    ("portway status --json", "the same for programs"),
    ("sudo -u portway XDG_RUNTIME_DIR=/run portway status", "the server that runs as a systemd service"),
)


@click.command("status", epilog=EXAMPLES)
@json_option("A JSON array on stdout, one object for each program.")
def status(as_json: bool) -> int:
    """Tell what of Portway runs here for you, and how it is. Exit code 1 when a program does not answer."""
    from portway.clock import wall
    from portway.config.paths import runtime_dir

    found, silent = _ask_all(runtime_dir(make=False))
    if as_json:
        click.echo(msgspec.json.encode(found))
    elif not found and not silent:
        click.echo("No Portway program of yours was found on this machine.")
    else:
        click.echo("\n".join(line for one in found for line in _lines(one, wall())))
    if not as_json:
        _name_others({one.pid for one in found})
    for complaint in silent:
        click.echo(f"portway: {complaint}", err=True)
    return 1 if silent else 0


def _name_others(shown: set[int]) -> None:
    """Say what runs here and was not asked: programs of other users, and those whose sockets are in another directory."""
    from portway.cli.others import programs_elsewhere, programs_of_others
    from portway.telemetry.terminal import escape

    for pid, command, folder in programs_elsewhere(shown):
        where = "the one of its service" if folder is None else escape(folder) or "none"
        click.echo(f"Not shown: {command} {pid}. Run `portway status` with its XDG_RUNTIME_DIR: {where}.", err=True)
    others = [f"{command} {pid} of user {user}" for pid, user, command in programs_of_others()]
    if others:
        click.echo(f"Not shown: {', '.join(others)}. Run `portway status` as that user.", err=True)


def _ask_all(folder: Path) -> tuple[list[Status], list[PortwayError]]:
    """Return what the programs say, servers first, and why some said nothing; sockets of dead programs are removed."""
    from portway.telemetry.status_socket import ask_status

    found: list[Status] = []
    silent: list[PortwayError] = []
    for path in sorted(folder.glob("*.sock"), reverse=True):
        try:
            document = ask_status(path)
            if document is None:
                path.unlink(missing_ok=True)
            else:
                found.append(msgspec.json.decode(document, type=Status))
        except msgspec.DecodeError as exc:
            silent.append(UnavailableError(f"{path}: says what this version does not understand: {exc}"))
        except UnavailableError as exc:
            silent.append(exc)
    return found, silent


def _lines(one: Status, now: float) -> list[str]:
    return _server_lines(one, now) if isinstance(one, ServerStatus) else _agent_lines(one, now)


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
        lines.append(f"  {format_count(one.connections_shed, 'idle or slow connection')} closed to admit newcomers")
    if one.logins_refused or one.handshakes_failed:
        refused, strange = format_count(one.logins_refused, "login"), format_count(one.handshakes_failed, "connection")
        lines.append(f"  {refused} refused, {strange} of no agent")
    tokens = {session.session: session.token for session in one.sessions}
    rows = [(escape(lease.url), f"agent {escape(tokens.get(lease.session, 'away'))}") for lease in one.tunnels]
    return lines + table(rows, indent="  ")


def _agent_lines(one: AgentStatus, now: float) -> list[str]:
    from portway.protocol.units import format_count, format_duration, format_size
    from portway.telemetry.terminal import escape, table

    away = f", {format_duration(one.rtt_s)} away" if one.rtt_s is not None else ""
    links = f", {_links(one)}" if one.links > 1 else ""
    why = f": {escape(one.problem)}" if one.problem else ""
    since = format_duration(max(0.0, now - one.since))
    lines = [f"agent {one.pid}  {one.state} for {since}  server {escape(one.server)}{away}{links}{why}"]
    rows = []
    for tunnel in one.tunnels:
        said = [format_count(tunnel.requests, "request")] if tunnel.requests else []
        if tunnel.relays:
            said.append(format_count(tunnel.relays, "relay"))
        if tunnel.bytes_in or tunnel.bytes_out:
            said.append(f"{format_size(tunnel.bytes_in)} in, {format_size(tunnel.bytes_out)} out")
        rows.append((escape(tunnel.url), escape(tunnel.target), ", ".join(said) or "no visitors yet"))
    return lines + table(rows, indent="  ")


def _links(one: AgentStatus) -> str:
    return f"{one.links} links" + (f" of which {one.links_draining} drain" if one.links_draining else "")
