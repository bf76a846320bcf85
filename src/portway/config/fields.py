"""Declares a setting once: default, parser, and its names in flags, environment and files."""

import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

_KEY = "portway.setting"


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting, with its name in every source."""

    field: str
    """Attribute of the settings dataclass."""
    key: str
    """Name in a TOML file; the flag has hyphens instead, the environment variable capitals after `PORTWAY_`."""
    read: Callable[[str], Any]
    """Parses text; raises ConfigError with what was expected."""
    metavar: str
    """Placeholder of the value in `--help`; empty for a switch."""
    help: str
    default: str
    """The default as text for `--help`; empty if there is none."""
    many: bool = False
    """Whether it is a list: the flag is repeatable, a file may have an array; `read` gets the items joined by `separator`."""
    separator: str = ","

    @property
    def flag(self) -> str:
        """Name on the command line."""
        return "--" + self.key.replace("_", "-")

    @property
    def variable(self) -> str:
        """Name in the environment."""
        return "PORTWAY_" + self.key.upper()

    @property
    def is_switch(self) -> bool:
        """Whether the flag takes no value."""
        return not self.metavar


def setting(  # noqa: PLR0913 - one keyword per property of a setting
    default: T | None = None,
    *,
    read: Callable[[str], T],
    help: str,
    metavar: str = "",
    key: str = "",
    factory: Callable[[], T] | None = None,
    shown: str | None = None,
    many: bool = False,
    separator: str = ",",
) -> T:
    """Declare a dataclass field that any source may set.

    `key` is its name in sources, if not the attribute's; `factory` creates a default at each start; `shown` replaces the
    default in `--help`; `many` declares a list, whose items are joined by `separator`. The return type is `T`, as with
    `dataclasses.field`.
    """
    one = {"key": key, "read": read, "metavar": metavar, "help": help, "shown": shown, "many": many, "separator": separator}
    metadata = {_KEY: one}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    field: Any = dataclasses.field(default=default, metadata=metadata)
    return field  # type: ignore[no-any-return]


def settings_of(settings_class: type[Any]) -> dict[str, Setting]:
    """Return the settings of a dataclass by key, in its order; those of its base classes come last."""
    own = inspect.get_annotations(settings_class)
    found = {}
    for field in sorted(dataclasses.fields(settings_class), key=lambda field: field.name not in own):
        declared = field.metadata.get(_KEY)
        if declared is None:
            continue
        key = declared["key"] or field.name
        shown = declared["shown"] if declared["shown"] is not None else str(field.default) if declared["metavar"] else ""
        read, metavar, text = declared["read"], declared["metavar"], declared["help"]
        found[key] = Setting(field.name, key, read, metavar, text, shown, declared["many"], declared["separator"])
    return found
