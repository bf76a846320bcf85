"""Options of `portway http` that change heads: the Host sent to the origin, and single header fields."""

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
    return f"Set FIELD in {message}s ('Name: value'; Name=env:VARIABLE or Name=file:PATH for secrets), or remove it (-Name). Repeatable."


_OPTIONS = (
    click.option(
        "--host-header",
        metavar="HOST",
        default="",
        envvar="PORTWAY_HOST_HEADER",
        show_envvar=True,
        help="Set the Host field of requests to HOST, or to the service's own address with 'rewrite'. For services that check it (Vite, Django, Jupyter).",
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
    """Return the changes that the options of `rewriting_options` define; None if there are none.

    Raises:
        ConfigError: an option is invalid, or the server would refuse it.
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
    """Return the Host value that a browser on the target's own machine would send."""
    if target.path:
        return "localhost"
    host = "localhost" if target.host in ("127.0.0.1", "::1") else f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == (443 if target.tls else 80) else f"{host}:{target.port}"


def _changes(flag: str, texts: Sequence[str]) -> list[FieldChange]:
    if len(texts) > FIELD_CHANGES_MAX:
        raise ConfigError(f"{flag}: too many fields: expected at most {FIELD_CHANGES_MAX}, got {len(texts)}")
    return [_change(flag, text) for text in texts]


def _change(flag: str, text: str) -> FieldChange:
    removal = _REMOVAL.fullmatch(text)
    if removal is not None:
        return removal["name"], None
    found = _CHANGE.fullmatch(text)
    if found is None:
        raise ConfigError(f"{flag}: invalid field {text[:80]!r}: expected {FORMS}")
    if found["source"] is None:
        value = found["value"].rstrip(" \t")
    elif found["source"] == "env":
        if found["place"] not in os.environ:
            raise ConfigError(f"{flag}: {found['name']}: environment variable {found['place']} is not set")
        value = os.environ[found["place"]]
    else:
        try:
            value = Path(found["place"]).read_text("utf-8").rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as exc:
            raise ConfigError(f"{flag}: {found['name']}: cannot read {found['place']}: {exc}") from exc
    if len(value) > FIELD_CHARS_MAX:
        raise ConfigError(f"{flag}: {found['name']}: value too long: expected at most {FIELD_CHARS_MAX} characters, got {len(value)}")
    return found["name"], value
