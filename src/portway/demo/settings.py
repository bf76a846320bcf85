"""Settings of `portway demo`."""

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
    """Settings of the demo; all are optional."""

    name: str = setting(
        "", read=_read_name, metavar="NAME", help="Publish the site as NAME.", shown="demo, or demo-XXXX if another server runs"
    )
    """Empty: the demo chooses."""

    duration_s: float | None = setting(
        None, read=parse_duration_s, metavar="TIME", key="duration", help="Stop after TIME.", shown="run until Ctrl-C"
    )
    """Seconds since the URL was printed; None: run until a signal."""
