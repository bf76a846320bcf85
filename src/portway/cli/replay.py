"""`portway replay`: sends a captured request again, with or without changes."""

import click
import msgspec

from portway.cli.examples import examples
from portway.cli.options import json_option
from portway.errors import ConfigError
from portway.inspector.replay import ReplayEdits

EXAMPLES = examples(
    ("portway replay 42", "send request 42 of `portway logs` again"),
    ("portway replay 42 --header 'X-Debug: 1' --header 'Cookie:'", "with one field more and one less"),
    ("portway replay 42 --to http://127.0.0.1:3001", "send it to another service"),
    ("portway replay 42 --edit", "edit it in $VISUAL or $EDITOR first"),
)


@click.command("replay", epilog=EXAMPLES)
@click.argument("exchange", metavar="ID", type=click.IntRange(1))
@click.option("--method", metavar="METHOD", default=None, help="Use METHOD instead.")
@click.option("--target", metavar="PATH", default=None, help="Use PATH, with its query, instead.")
@click.option(
    "--header", "headers", metavar="FIELD", multiple=True, help="Set a field, as 'Name: value', or remove it, as 'Name:'. Repeatable."
)
@click.option("--data", "body", metavar="TEXT", default=None, help="Use TEXT as the body instead; @FILE reads a file, @- stdin.")
@click.option(
    "--to", metavar="URL", default=None, help="Send it to another service: http://host:port, https://host:port, unix:/path or a port."
)
@click.option("--edit", is_flag=True, help="Edit the request first.")
@json_option("Print the outcome as JSON.")
def replay(
    exchange: int,
    method: str | None,
    target: str | None,
    headers: tuple[str, ...],
    body: str | None,
    to: str | None,
    edit: bool,
    as_json: bool,
) -> int:
    """Send the captured request ID again, through the running agent that captured it.

    What is not changed is sent as it was. Secrets of earlier runs are not in memory any more and have to be given; an error names them.
    """
    from portway.cli.inspector_client import inspector_of
    from portway.config.paths import runtime_dir
    from portway.telemetry.terminal import escape

    inspector = inspector_of(runtime_dir(make=False), exchange)
    edits = ReplayEdits(method=method, target=target, headers=_fields(headers), to=to)
    if body is not None:
        edits = _with_body(edits, body)
    if edit:
        if method or target or headers or body is not None:
            raise ConfigError("--edit: cannot be combined with --method, --target, --header and --data")
        from portway.cli.replay_editing import edited_request

        found = edited_request(inspector.request("GET", f"/api/requests/{exchange}"))
        if found is None:
            click.echo("portway: nothing was sent: the file is empty", err=True)
            return 1
        edits = msgspec.structs.replace(found, to=to)
    outcome = inspector.request("POST", f"/api/requests/{exchange}/replay", edits)
    if as_json:
        click.echo(msgspec.json.encode(outcome))
    else:
        status = outcome["status"] or "no response"
        suffix = f"  ({escape(outcome['error'], 200)})" if outcome["error"] else ""
        click.echo(f"request {exchange} sent again as {outcome['id']}: {status}{suffix}")
    return 0 if outcome["status"] else 1


def _fields(texts: tuple[str, ...]) -> dict[str, str | None] | None:
    fields: dict[str, str | None] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            raise ConfigError(f"--header: invalid field {text[:60]!r}: expected 'Name: value', or 'Name:' to remove it")
        fields[name.strip()] = value.strip() or None
    return fields or None


def _with_body(edits: ReplayEdits, text: str) -> ReplayEdits:
    import base64

    data = text.encode("utf-8", "surrogateescape")
    if text.startswith("@"):
        try:
            with click.open_file(text[1:], "rb") as file:
                data = file.read()
        except OSError as exc:
            raise ConfigError(f"--data: {text[1:]}: cannot be read: {exc.strerror}") from exc
    return msgspec.structs.replace(edits, body_base64=base64.b64encode(data).decode())
