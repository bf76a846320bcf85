"""`portway token`: creates, lists and revokes tokens in a server's data directory, whether the server runs or not."""

import dataclasses
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from portway.cli.examples import examples
from portway.cli.limits import describe_policy, limits_options, read_limits
from portway.cli.options import config_option, json_option, settings_options
from portway.config.values import PortRange
from portway.errors import ConfigError
from portway.server.settings import ServerSettings

Value = TypeVar("Value")

if TYPE_CHECKING:
    from portway.protocol.join_string import JoinString
    from portway.server.access.tokens import Grants, TokenRecord
    from portway.server.storage.token_store import Store


GROUP_EXAMPLES = examples(
    ("portway token create laptop", "a token for any name and port"),
    ("portway token list", "tokens with their grants"),
    ("portway token revoke laptop", "revoke it; its sessions end within a second"),
)
CREATE_EXAMPLES = examples(
    ("portway token create laptop --out laptop.join", "with the join string in a file of mode 0600"),
    ("portway token create ci --hosts 'ci-*' --protocols http --expires 30d", "for names that begin with ci-, for a month"),
    ("portway token create guest --bandwidth 5mb --max-tunnels 2", "with limits"),
)
LIST_EXAMPLES = examples(("portway token list --json", "as JSON"))
REVOKE_EXAMPLES = examples(("portway token revoke laptop", "by name or by id"))


@click.group("token", epilog=GROUP_EXAMPLES)
def token() -> None:
    """Manage the tokens that agents log in with."""


@token.command("create", epilog=CREATE_EXAMPLES)
@click.argument("name")
@click.option(
    "--hosts",
    metavar="PATTERNS",
    multiple=True,
    help="Allow names that match PATTERNS, like app, dev-* or *.example.org.  [default: any name under the domain]",
)
@click.option(
    "--ports", metavar="RANGES", multiple=True, help="Allow public TCP ports in RANGES, like 22000 or 21000-21999.  [default: all]"
)
@click.option("--protocols", metavar="LIST", multiple=True, help="Allow the protocols in LIST: http (with tls), tcp, tls.  [default: all]")
@click.option("--expires", metavar="TIME", help="Expire after TIME, like 12h or 30d.  [default: never]")
@click.option("--max-tunnels", metavar="N", type=int, help="Allow at most N names and ports at the same time.  [default: 64]")
@click.option(
    "--out",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the join string to the new file FILE with mode 0600, instead of to stdout.",
)
@click.option("--init", is_flag=True, help="Create missing files in the data directory, before the server's first start or to start over.")
@limits_options()
@settings_options(ServerSettings, "data", "advertise")
@config_option
def create(
    name: str,
    hosts: tuple[str, ...],
    ports: tuple[str, ...],
    protocols: tuple[str, ...],
    expires: str | None,
    max_tunnels: int | None,
    out: Path | None,
    init: bool,
    config: Path | None,
    **flags: object,
) -> None:
    """Create a token and print only its join string on stdout. It cannot be shown again.

    Run this as the server's user, with the server's data directory.

    PATTERNS, RANGES and LIST are separated by commas; these options are repeatable. SIZE is like 100mb, 10MiB or 4096 (bytes),
    TIME like 90s, 1h30m or 500ms. Limits apply to the TCP connections, WebSockets and HTTP requests of the token's tunnels.
    """
    from portway.clock import wall
    from portway.protocol.scram import make_verifier
    from portway.protocol.units import parse_duration_s
    from portway.server.access.tokens import Grants, TokenRecord, check_token_name, new_credentials

    given: dict[str, object] = {
        "hosts": _split(hosts),
        "ports": tuple(_read("--ports", PortRange.parse, text) for text in _split(ports)),
        "protocols": _split(protocols),
        "tunnels_max": max_tunnels,
        "expires_at": wall() + _read("--expires", parse_duration_s, expires) if expires else None,
        "policy": read_limits(flags),
    }
    try:
        grants = Grants(**{key: value for key, value in given.items() if value not in (None, ())})  # type: ignore[arg-type]
    except ConfigError as exc:
        raise ConfigError(f"--{str(exc).replace('max tunnels', 'max-tunnels', 1)}") from exc
    check_token_name(name)
    settings = _settings(config, {key: flags[key] for key in ("data", "advertise")})
    token_id, secret = new_credentials(secrets.token_bytes)
    verifier = make_verifier(secret, secrets.token_bytes(16))
    record = TokenRecord(id=token_id, name=name, verifier=verifier, grants=grants, created_at=wall())
    with _store(settings, init=init) as store:
        join = _join_string(settings, token_id, secret)
        if out is None:
            store.create_token(record)
            click.echo(str(join))
        else:
            _write_join_string(out, join, lambda: store.create_token(record))
    saved = "" if out is None else f" Join string saved to {out}."
    click.echo(f"Token {name} created: {_describe_grants(grants)}.{saved} Next, on the agent's machine: portway join", err=True)


@token.command("list", epilog=LIST_EXAMPLES)
@settings_options(ServerSettings, "data")
@config_option
@json_option("Print a JSON array to stdout.")
def list_tokens(config: Path | None, as_json: bool, **flags: object) -> None:
    """List all tokens with their grants; secrets are never shown."""
    from portway.clock import wall
    from portway.server.storage.data_directory import open_store
    from portway.telemetry.event_lines import timestamp
    from portway.telemetry.terminal import table

    with open_store(_settings(config, flags).data, "read") as store:
        tokens = store.tokens()
    now = wall()
    if as_json:
        import msgspec

        click.echo(msgspec.json.encode([_as_json(one, now) for one in tokens]))
        return
    if not tokens:
        click.echo("No tokens yet; create one with `portway token create NAME`.", err=True)
        return
    rows = [("NAME", "ID", "STATE", "CREATED", "GRANTS")]
    for one in tokens:
        grants = one.grants
        rows.append((one.name, one.id, _state(one, now), timestamp(one.created_at)[:10], _describe_grants(grants)))
    click.echo("\n".join(table(rows)))


@token.command("revoke", epilog=REVOKE_EXAMPLES)
@click.argument("name")
@settings_options(ServerSettings, "data")
@config_option
def revoke(name: str, config: Path | None, **flags: object) -> None:
    """Revoke a token by its NAME or id. Its sessions on a running server end within a second."""
    from portway.clock import wall

    with _store(_settings(config, flags)) as store:
        ended = store.revoke(name, wall())
    click.echo(f"Token {ended.name} ({ended.id}) revoked.", err=True)


def _settings(config: Path | None, flags: dict[str, object]) -> ServerSettings:
    from portway.config.sources import load_settings
    from portway.server.settings import defaults_for

    return load_settings(ServerSettings, "server", flags=flags, environ=os.environ, file=config, defaults=defaults_for)


def _store(settings: ServerSettings, *, init: bool = False) -> "Store":
    """Open the tokens for a change; with `init`, create what is missing."""
    from portway.server.storage.data_directory import open_state, open_store

    return open_state(settings, init=True).store if init else open_store(settings.data, "write")


def _write_join_string(file: Path, join: "JoinString", create: Callable[[], None]) -> None:
    """Write the join string to a new file, then create the token; remove the file if that fails."""
    from portway.config.files import write_secret

    if not write_secret(file, f"{join}\n".encode(), replace=False, own_folder=False):
        raise ConfigError(f"--out: {file} already exists; remove it or choose another file")
    try:
        create()
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _join_string(settings: ServerSettings, token_id: str, secret: str) -> "JoinString":
    """Return the join string for the server that uses this data directory, or used it last."""
    from portway.protocol.join_string import JoinString
    from portway.server.identity import Advertised, identity_of, read_advertised

    advertised = read_advertised(settings.data)
    if advertised is None:
        pin = None if settings.plaintext_links else identity_of(settings).pin
        address = settings.advertised
        advertised = Advertised(address.host, address.port, pin.hex() if pin else "", settings.plaintext_links)
        if settings.advertise is None:
            click.echo(f"No server has run on {settings.data} yet; the join string uses the address {address}.", err=True)
    elif settings.advertise is not None:
        advertised = Advertised(settings.advertise.host, settings.advertise.port, advertised.pin, advertised.plaintext)
    pin = bytes.fromhex(advertised.pin) if advertised.pin else None
    return JoinString(token_id, secret, advertised.host, advertised.port, pin, advertised.plaintext)


def _read(flag: str, parse: Callable[[str], Value], text: str) -> Value:
    """Return the parsed value of an option; errors name the option."""
    try:
        return parse(text)
    except ConfigError as exc:
        raise ConfigError(f"{flag}: {exc}") from exc


def _split(values: tuple[str, ...]) -> tuple[str, ...]:
    """Return the items of options that take comma-separated lists."""
    items = tuple(item.strip(" ") for value in values for item in value.split(","))
    if "" in items:
        raise ConfigError(f"expected a list separated by single commas, got {','.join(values)!r}")
    return items


def _describe_grants(grants: "Grants") -> str:
    """Return grants as text."""
    hosts, ports = ", ".join(grants.hosts), ", ".join(map(str, grants.ports)) or "any port"
    protocols = {"http": f"http as {hosts}", "tcp": f"tcp on {ports}", "tls": f"tls as {hosts}"}
    return "; ".join([*(protocols[protocol] for protocol in grants.protocols), *filter(None, [describe_policy(grants.policy)])])


def _state(one: "TokenRecord", now: float) -> str:
    from portway.protocol.units import format_duration

    if one.revoked_at is not None:
        return "revoked"
    if one.grants.expires_at is None:
        return "live"
    left_s = one.grants.expires_at - now
    return f"{format_duration(left_s)} left" if left_s > 0 else "expired"


def _as_json(one: "TokenRecord", now: float) -> dict[str, object]:
    from portway.telemetry.event_lines import timestamp

    ends = one.grants.expires_at
    return {
        "name": one.name,
        "id": one.id,
        "state": "revoked" if one.revoked_at is not None else "expired" if ends is not None and ends <= now else "live",
        "hosts": list(one.grants.hosts),
        "ports": [str(ports) for ports in one.grants.ports],
        "protocols": list(one.grants.protocols),
        "max_tunnels": one.grants.tunnels_max,
        "limits": {key: value for key, value in dataclasses.asdict(one.grants.policy).items() if value is not None},
        "created": timestamp(one.created_at),
        "expires": timestamp(ends) if ends is not None else None,
        "revoked": timestamp(one.revoked_at) if one.revoked_at is not None else None,
    }
