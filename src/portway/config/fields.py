"""Declares a setting once: its default, how its text is read, and how flags, environment and files call it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_KEY = "portway.setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as every source sees it."""

    field: str
    """Attribute of the settings dataclass."""
    key: str
    """Name in a TOML file; with hyphens the flag, in capitals behind `PORTWAY_` the environment."""
    read: Callable[[str], Any]
    """Turns text into the value; raises ConfigError with what was expected."""
    metavar: str
    """What stands for the value in `--help`; empty for a switch."""
    help: str
    default: str
    """The default in the user's words, for `--help`; empty when there is none."""
    many: bool = False
    """Whether it is a list: flags may come several times, a file may have an array; `read` gets the members joined by comma."""

    @property
    def flag(self) -> str:
        """The command line's name."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment's name."""
        return "PORTWAY_" + self.key.upper()

    @property
    def is_switch(self) -> bool:
        """True when the flag takes no value."""
        return not self.metavar


def setting(  # noqa: PLR0913 - one keyword for each thing that a source shows
    default: T | None = None,
    *,
    read: Callable[[str], T],
    help: str,
    metavar: str = "",
    key: str = "",
    factory: Callable[[], T] | None = None,
    shown: str | None = None,
    many: bool = False,
) -> T:
    """Declare a dataclass field that any source may set.

    `key` when its name in sources is not the attribute's; `factory` for a default that is made at each start; `shown`
    replaces the default in `--help`; `many` for a list. The return type says `T`, as that of `dataclasses.field` does.
    """
    metadata = {_KEY: {"key": key, "read": read, "metavar": metavar, "help": help, "shown": shown, "many": many}}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    field: Any = dataclasses.field(default=default, metadata=metadata)
    return field  # type: ignore[no-any-return]


def settings_of(settings_class: type[Any]) -> dict[str, Setting]:
    """Return the settings that a dataclass declares, by key and in its order."""
    found = {}
    for field in dataclasses.fields(settings_class):
        about = field.metadata.get(_KEY)
        if about is None:
            continue
        key = about["key"] or field.name
        shown = about["shown"] if about["shown"] is not None else str(field.default) if about["metavar"] else ""
        found[key] = Setting(field.name, key, about["read"], about["metavar"], about["help"], shown, about["many"])
    return found
