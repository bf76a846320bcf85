"""One declaration defines the flag, the environment variable and the key in a file."""

from dataclasses import dataclass

from portway.config.fields import setting, settings_of


@dataclass(frozen=True, kw_only=True)
class ExampleSettings:
    wait_s: float = setting(1.5, read=float, metavar="TIME", help="How long.", key="wait", shown="1.5s")
    tcp_ports: str = setting("1-2", read=str, metavar="PORTS", help="Which.")
    loud: bool = setting(False, read=bool, help="Whether.")
    made: list[str] = setting(factory=list, read=list, metavar="LIST", help="What.", shown="nothing")
    internal: int = 3


def test_every_setting_has_three_names() -> None:
    known = settings_of(ExampleSettings)

    assert list(known) == ["wait", "tcp_ports", "loud", "made"]
    assert (known["wait"].field, known["wait"].flag, known["wait"].variable) == ("wait_s", "--wait", "PORTWAY_WAIT")
    assert (known["tcp_ports"].flag, known["tcp_ports"].variable) == ("--tcp-ports", "PORTWAY_TCP_PORTS")


def test_help_shows_the_default_or_its_replacement() -> None:
    known = settings_of(ExampleSettings)

    assert [one.default for one in known.values()] == ["1.5s", "1-2", "", "nothing"]
    assert [one.is_switch for one in known.values()] == [False, False, True, False]


def test_the_dataclass_has_defaults_without_any_source() -> None:
    settings = ExampleSettings()

    assert (settings.wait_s, settings.tcp_ports, settings.loud, settings.made, settings.internal) == (1.5, "1-2", False, [], 3)
    assert ExampleSettings().made is not settings.made
