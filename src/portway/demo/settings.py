"""What steers `portway demo`."""

from dataclasses import dataclass

from portway.config.fields import setting
from portway.errors import ConfigError, RefusedError
from portway.protocol.names import check_label
from portway.protocol.units import parse_duration_s


def _read_name(text: str) -> str:
    try:
        check_label(text)
    except RefusedError as exc:
        raise ConfigError(f"name: {exc}") from exc
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSettings:
    """Everything that the demo can be told; it needs nothing."""

    name: str = setting("", read=_read_name, metavar="NAME", help="The tunnel's name.", shown="demo; demo-XXXX beside another server")
    """Empty lets the demo choose."""

    duration_s: float | None = setting(
        None, read=parse_duration_s, metavar="TIME", key="duration", help="Stop by itself after this time.", shown="until Ctrl-C"
    )
    """Seconds from the moment that the URL was told; None runs until a signal comes."""
