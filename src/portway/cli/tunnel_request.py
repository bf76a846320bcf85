"""Turns the options of `portway http`, `tcp` and `tls`, from a command line or a file, into a request for a tunnel."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from portway.agent.settings import TunnelKind, TunnelRequest
from portway.agent.target import Target, parse_target
from portway.cli.access import read_access
from portway.cli.limits import read_limits
from portway.cli.rewriting import read_rewriting
from portway.cli.termination import read_termination
from portway.errors import ConfigError
from portway.protocol.units import parse_duration_s

ORIGIN_TIMEOUT_S_MAX = 30 * 86400.0


def tunnel_request(kind: TunnelKind, options: Mapping[str, Any], label: str = "") -> TunnelRequest:
    """Return the tunnel that `options` (parameters of the command of this kind) describe; `label` is its name in a file.

    Raises:
        ConfigError: an option is invalid, or contradicts another one; begins with their flags.
    """
    if options.get("name") and options.get("host"):
        raise ConfigError("--name, --host: cannot be combined: give a name under the server's domain or a full host name")
    target = _target(kind, options)
    is_http = kind == "http"
    return TunnelRequest(
        kind=kind,
        target=target,
        label=label,
        name=options.get("name") or "",
        host=options.get("host") or "",
        port=options.get("port") or 0,
        takeover=bool(options.get("takeover")),
        rewrite=read_rewriting(target, options) if is_http else None,
        access=read_access(options) if is_http else None,
        origin_timeout_s=_origin_timeout_s(options.get("origin_timeout")),
        policy=read_limits(options),
        termination=read_termination(options) if is_http else None,
        send_proxy=bool(options.get("send_proxy")),
    )


def _target(kind: TunnelKind, options: Mapping[str, Any]) -> Target:
    text, status, body, listing = (options.get(name) for name in ("target", "status", "body", "listing"))
    if body and not status:
        raise ConfigError("--body: requires --status, such as --status 503")
    if status:
        if text:
            raise ConfigError(f"--status: cannot be combined with TARGET {text!r}: every request gets the same response")
        return Target(status=status, body=body or "")
    if not text:
        raise ConfigError("TARGET: missing: give the local service, such as 3000")
    target = parse_target(text, kind)
    if listing and not target.directory:
        raise ConfigError(f"--listing: requires a folder as TARGET, such as ./public, not {text!r}")
    return replace(target, listing=bool(listing)) if target.directory else target


def _origin_timeout_s(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        seconds = parse_duration_s(text)
    except ConfigError as exc:
        raise ConfigError(f"--origin-timeout: {exc}") from exc
    if not 0 < seconds <= ORIGIN_TIMEOUT_S_MAX:
        raise ConfigError(
            f"--origin-timeout: invalid duration {text!r}: expected more than 0s and at most 30d; omit the option for no limit"
        )
    return seconds
