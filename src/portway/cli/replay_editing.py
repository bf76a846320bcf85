"""Edits a captured request as text: request line, fields, an empty line, the body."""

import base64
from collections.abc import Callable
from typing import Any

import click

from portway.errors import ConfigError
from portway.inspector.replay import ReplayEdits

COMMENT = "#! Lines with #! are removed. *** stands for a secret: it is sent as it was if its line stays as it is. Save an empty file to send nothing.\n"


def edited_request(detail: dict[str, Any], edit: Callable[[str], str | None] | None = None) -> ReplayEdits | None:
    """Let the user edit a request (a document of the API); return what has changed, None if the file is empty.

    Raises:
        ConfigError: the file is not a request.
    """
    text = request_text(detail)
    found = (edit or _edit)(COMMENT + text)
    if found is None:  # closed without saving
        found = COMMENT + text
    found = "".join(line for line in found.splitlines(keepends=True) if not line.startswith("#!"))
    return changes(text, found) if found.strip() else None


def _edit(text: str) -> str | None:
    try:
        return click.edit(text, extension=".http")
    except click.ClickException as exc:
        raise ConfigError(f"--edit: {exc.format_message()}; set VISUAL or EDITOR") from exc


def request_text(detail: dict[str, Any]) -> str:
    """Return a request as text.

    Raises:
        ConfigError: its body is no text.
    """
    request = detail["request"]
    if request is None:
        raise ConfigError(f"{detail['id']}: a connection cannot be edited: only requests can")
    body = request["body"] or {}
    if body.get("base64"):
        size = len(base64.b64decode(body["base64"]))
        raise ConfigError(f"--edit: the body of {size} bytes is not text; replace it with --data @FILE")
    head = [request["start_line"], *(f"{name}: {value}" for name, value in request["headers"])]
    return "\n".join([*head, "", body.get("text") or ""])


def changes(before: str, after: str) -> ReplayEdits:
    """Return what differs between two requests as text.

    Raises:
        ConfigError: `after` is not a request, or changes one of several fields with the same name.
    """
    (old_method, old_target, old_fields, old_body), (method, target, fields, body) = _parsed(before), _parsed(after)
    headers: dict[str, str | None] = {}
    for name in dict.fromkeys([*old_fields, *fields]):
        values = fields.get(name, [])
        if values == old_fields.get(name):
            continue
        if len(values) > 1:
            raise ConfigError(f"--edit: {name} is there {len(values)} times: expected once, where it is changed")
        headers[name] = values[0] if values else None
    if not old_body.endswith("\n"):
        body = body.removesuffix("\n")  # editors add a line break
    return ReplayEdits(
        method=None if method == old_method else method,
        target=None if target == old_target else target,
        headers=headers or None,
        body=None if body == old_body else body,
    )


def _parsed(text: str) -> tuple[str, str, dict[str, list[str]], str]:
    head, _, body = text.partition("\n\n")
    start, *lines = head.strip("\n").split("\n")
    words = start.split(" ")
    if len(words) not in (2, 3):
        raise ConfigError(f"--edit: invalid first line {start[:80]!r}: expected METHOD PATH HTTP/1.1")
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            raise ConfigError(f"--edit: invalid field {line[:80]!r}: expected Name: value")
        fields.setdefault(name.strip(), []).append(value.strip())
    return words[0], words[1], fields, body
