"""Settings of the policy: flags, environment variables and keys of `[proxy]` in portway.toml."""

from dataclasses import dataclass
from pathlib import Path

from portway.config.fields import setting
from portway.config.values import parse_path, parse_yes_or_no
from portway.errors import ConfigError
from portway.forward.limit_settings import LimitSettings
from portway.forward.policy.patterns import Pattern, read_patterns

PATTERNS_MAX = 1000
"""Patterns of one setting; a host list has room for a million names."""

LISTS_MAX = 32


def read_list_paths(text: str) -> tuple[Path, ...]:
    """Return the paths of host lists, one per line; raises ConfigError."""
    paths = tuple(parse_path(line.strip()) for line in text.splitlines() if line.strip())
    if len(paths) > LISTS_MAX:
        raise ConfigError(f"too many host lists ({len(paths)}): expected at most {LISTS_MAX}")
    return paths


def read_some_patterns(text: str) -> tuple[Pattern, ...]:
    """Return patterns, one per line; raises ConfigError."""
    patterns = read_patterns(text)
    if len(patterns) > PATTERNS_MAX:
        raise ConfigError(f"too many patterns ({len(patterns)}): expected at most {PATTERNS_MAX}; use a host list")
    return patterns


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySettings(LimitSettings):
    """Which targets a proxy or one of its users may connect to, with which limits."""

    allow: tuple[Pattern, ...] = setting(
        (),
        read=read_some_patterns,
        metavar="PATTERN",
        help="Allow only targets that match PATTERN: HOST[:PORTS], *.SUFFIX, a network, or re:EXPRESSION. A network also opens private addresses in it.",
        shown="all public targets",
        many=True,
        separator="\n",
    )

    block: tuple[Pattern, ...] = setting(
        (),
        read=read_some_patterns,
        metavar="PATTERN",
        help="Refuse targets that match PATTERN, also if they are allowed.",
        shown="",
        many=True,
        separator="\n",
    )

    allow_list: tuple[Path, ...] = setting(
        (),
        read=read_list_paths,
        metavar="FILE",
        help="Allow only the hosts listed in FILE, and names under them; reloaded when it changes.",
        shown="",
        many=True,
        separator="\n",
    )

    block_list: tuple[Path, ...] = setting(
        (),
        read=read_list_paths,
        metavar="FILE",
        help="Refuse the hosts listed in FILE (names, hosts file or ||NAME^ rules), and names under them; reloaded when it changes.",
        shown="",
        many=True,
        separator="\n",
    )

    allow_private: bool = setting(
        False,
        read=parse_yes_or_no,
        help="Allow private, loopback and other special addresses, but not the metadata services of clouds.",
    )

    @property
    def list_paths(self) -> tuple[Path, ...]:
        """All host lists."""
        return self.allow_list + self.block_list
