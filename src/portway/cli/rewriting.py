"""The options of `portway http` that change heads on their way: the host that the origin is asked for, and single fields."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from portway.agent.target import Target
from portway.errors import ConfigError, RefusedError
from portway.protocol.control.messages import FIELD_CHANGES_MAX, FIELD_CHARS_MAX, FieldChange, HeadRewrite

Command = TypeVar("Command", bound=Callable[..., Any])

FORMS = "'Name: value', 'Name=env:VARIABLE', 'Name=file:PATH' or '-Name'"
_CHANGE = re.compile(r"(?P<name>[!#$%&'*+\-.^_`|~0-9A-Za-z]+)(?::[ \t]*(?P<value>.*)|=(?P<source>env|file):(?P<place>.+))", re.DOTALL)
_REMOVAL = re.compile(r"-(?P<name>[!#$%&'*+.^_`|~0-9A-Za-z][!#$%&'*+\-.^_`|~0-9A-Za-z]*)")


def _help(message: str) -> str:
    return f"Set a {message} field ('Name: value'; Name=env:VARIABLE and Name=file:PATH for secrets), or remove it (-Name). Repeatable."


_OPTIONS = (
    click.option(
        "--host-header",
        metavar="HOST",
        default="",
        envvar="PORTWAY_HOST_HEADER",
        show_envvar=True,
        help="Host that the service is asked for: 'rewrite' for its own address, or a name. For services that check it (Vite, Django, Jupyter).",
    ),
    click.option("--request-header", "request_headers", metavar="FIELD", multiple=True, help=_help("request")),
    click.option("--response-header", "response_headers", metavar="FIELD", multiple=True, help=_help("response")),
)


def rewriting_options(command: Command) -> Command:
    """Add the options that change heads."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def read_rewriting(target: Target, options: Mapping[str, Any]) -> HeadRewrite | None:
    """Return what the options of `rewriting_options` ask for; None where they change nothing.

    Raises:
        ConfigError: an option cannot be read, or the server would refuse it.
    """
    from portway.protocol.http1.head_changes import check_rewrite

    host = options.get("host_header") or ""
    request = _changes("--request-header", options.get("request_headers") or ())
    response = _changes("--response-header", options.get("response_headers") or ())
    if not (host or request or response):
        return None
    rewrite = HeadRewrite(
        host=own_authority(target) if host == "rewrite" else host,
        scheme="https" if target.tls else "http",
        request=request,
        response=response,
    )
    try:
        check_rewrite(rewrite)
    except RefusedError as exc:
        raise ConfigError(f"{exc.reason}. {exc.next_step}") from exc
    return rewrite


def own_authority(target: Target) -> str:
    """Return the Host value of somebody who opens the target in a browser on its own machine."""
    if target.path:
        return "localhost"
    host = "localhost" if target.host in ("127.0.0.1", "::1") else f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == (443 if target.tls else 80) else f"{host}:{target.port}"


def _changes(flag: str, texts: Sequence[str]) -> list[FieldChange]:
    if len(texts) > FIELD_CHANGES_MAX:
        raise ConfigError(f"{flag}: {len(texts)} fields, at most {FIELD_CHANGES_MAX} can be changed")
    return [_change(flag, text) for text in texts]


def _change(flag: str, text: str) -> FieldChange:
    removal = _REMOVAL.fullmatch(text)
    if removal is not None:
        return removal["name"], None
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{flag}: {text[:80]!r} cannot be read: expected {FORMS}")
    if found["source"] is None:
        value = found["value"].rstrip(" \t")
    elif found["source"] == "env":
        if found["place"] not in os.environ:
            raise ConfigError(f"{flag}: {found['name']}: the environment variable {found['place']} is not set")
        value = os.environ[found["place"]]
    else:
        try:
            value = Path(found["place"]).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{flag}: {found['name']}: cannot read {found['place']}: {exc}") from exc
    if len(value) > FIELD_CHARS_MAX:
        raise ConfigError(f"{flag}: {found['name']}: {len(value)} characters, at most {FIELD_CHARS_MAX} fit")
    return found["name"], value
