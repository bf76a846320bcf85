"""Replaces references to environment variables in the values of a file: `${NAME}`, `${NAME:-default}`; `$$` is a dollar sign."""

import re
from collections.abc import Mapping

from portway.errors import ConfigError

_REFERENCE = re.compile(r"\$(?:(?P<dollar>\$)|\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>[^}]*))?\}|(?P<other>))")


def expand(text: str, environ: Mapping[str, str]) -> str:
    """Return `text` with its references replaced. A dollar sign before any other character stays.

    Raises:
        ConfigError: a variable without a default is not set.
    """

    def value(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name = found["name"]
        if name is None:
            return "$"
        if name in environ:
            return environ[name]
        if found["default"] is None:
            raise ConfigError(f"environment variable {name} is not set; set it, or give a default: ${{{name}:-value}}")
        return found["default"]

    return _REFERENCE.sub(value, text)
