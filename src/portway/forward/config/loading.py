"""Loads the settings of a forward proxy from flags, environment, and one of two kinds of files."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from portway.config.fields import settings_of
from portway.config.files import is_private_file
from portway.config.sources import load_settings, read_toml
from portway.errors import ConfigError
from portway.forward.config.http_tunnel_file import HttpTunnelFile, read_http_tunnel_file
from portway.forward.connect.via import read_routes
from portway.forward.policy.settings import PolicySettings
from portway.forward.settings import ForwardSettings
from portway.forward.users.settings import read_user_tables

TABLE = "proxy"
USER_TABLES = "user"

YAML_SUFFIXES = (".yaml", ".yml")

PolicySettingsT = TypeVar("PolicySettingsT", bound=PolicySettings)

LoadForwardSettings = Callable[[], ForwardSettings]
"""Reads all sources again."""


def load_forward_settings(*, flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> ForwardSettings:
    """Return the settings; a file with the suffix .yaml or .yml is one of http-tunnel, any other is TOML.

    Raises:
        ConfigError: one line per invalid value, with its source and what was expected.
    """
    if file is not None and file.suffix in YAML_SUFFIXES:
        return load_http_tunnel_settings(flags=flags, environ=environ, file=file)
    _refuse_passwords(flags)
    settings = load_settings(ForwardSettings, TABLE, flags=flags, environ=environ, file=file, tables=(USER_TABLES,))
    if file is None:
        return settings
    given = {key for key, value in flags.items() if value not in (None, ())}
    given |= {key for key, one in settings_of(ForwardSettings).items() if environ.get(one.variable)}
    if "via" not in given and any(route.proxy is not None and route.proxy.has_credentials for route in settings.via):
        is_private_file(file)
    settings = _relative_to(file.parent, settings, given)
    tables = read_user_tables(file, read_toml(file).get(TABLE, {}).get(USER_TABLES, {}))
    of_users = {name: _relative_to(file.parent, one, set()) for name, one in tables.items()}
    if of_users and settings.users is None:
        raise ConfigError(f"{file}: $.{TABLE}.{USER_TABLES}: requires a file of users: add `users = FILE`, or --users FILE")
    return dataclasses.replace(settings, of_users=of_users)


def _refuse_passwords(flags: Mapping[str, object]) -> None:
    """Refuse credentials in the URLs of `--via`, which other users of this machine can read."""
    given = flags.get("via")
    for text in given if isinstance(given, tuple) else ():
        if any(route.proxy is not None and route.proxy.has_credentials for route in read_routes(str(text))):
            raise ConfigError(
                "--via: the URL contains credentials, which other users of this machine can read: "
                "set the environment variable PORTWAY_VIA, or `via` in a file that only you can read (--config)"
            )


def _relative_to(folder: Path, settings: PolicySettingsT, given: set[str]) -> PolicySettingsT:
    """Return settings whose paths are relative to the folder of their file, except those that flags or variables have `given`."""
    changed: dict[str, Any] = {}
    for key, one in settings_of(type(settings)).items():
        value = getattr(settings, one.field)
        if key in given:
            continue
        if isinstance(value, Path):
            changed[one.field] = folder / value
        elif isinstance(value, tuple) and value and all(isinstance(item, Path) for item in value):
            changed[one.field] = tuple(folder / item for item in value)
    return dataclasses.replace(settings, **changed) if changed else settings


def load_http_tunnel_settings(*, flags: Mapping[str, object], environ: Mapping[str, str], file: Path | None) -> ForwardSettings:
    """Return settings whose defaults are those of a file of http-tunnel, or those of http-tunnel without one.

    Raises:
        ConfigError: one line per invalid value, with its source and what was expected.
    """
    content = HttpTunnelFile() if file is None else read_http_tunnel_file(file)

    def defaults(_given: Mapping[str, object]) -> Mapping[str, Any]:
        limits = {field.name: getattr(content.client_policy, field.name) for field in dataclasses.fields(content.client_policy)}
        return {
            **limits,
            "initiation_timeout_s": content.initiation_timeout_s,
            "connect_timeout_s": content.connect_timeout_s,
            "dns_cache_ttl_s": content.dns_cache_ttl_s,
            "target_policy": content.target_policy,
            "allow": () if content.allowed_targets is None else (content.allowed_targets,),
            "allow_private": content.allow_private,
        }

    return load_settings(ForwardSettings, TABLE, flags=flags, environ=environ, file=None, defaults=defaults)
