"""One declaration gives the flag, the environment's name and the file's key."""

from dataclasses import dataclass

from portway.config.fields import setting, settings_of


@dataclass(frozen=True, kw_only=True)
class Room:
    wait_s: float = setting(1.5, read=float, metavar="TIME", help="How long.", key="wait", shown="1.5s")
    tcp_ports: str = setting("1-2", read=str, metavar="PORTS", help="Which.")
    loud: bool = setting(False, read=bool, help="Whether.")
    made: list[str] = setting(factory=list, read=list, metavar="LIST", help="What.", shown="nothing")
    internal: int = 3


def test_every_declared_setting_has_its_three_names() -> None:
    known = settings_of(Room)

    assert list(known) == ["wait", "tcp_ports", "loud", "made"]
    assert (known["wait"].field, known["wait"].flag, known["wait"].variable) == ("wait_s", "--wait", "PORTWAY_WAIT")
    assert (known["tcp_ports"].flag, known["tcp_ports"].variable) == ("--tcp-ports", "PORTWAY_TCP_PORTS")


def test_help_shows_the_default_in_words_where_there_are_some() -> None:
    known = settings_of(Room)

    assert [one.default for one in known.values()] == ["1.5s", "1-2", "", "nothing"]
    assert [one.is_switch for one in known.values()] == [False, False, True, False]


def test_the_dataclass_works_without_any_source() -> None:
    settings_class = Room()

    assert (settings_class.wait_s, settings_class.tcp_ports, settings_class.loud, settings_class.made, settings_class.internal) == (
        1.5,
        "1-2",
        False,
        [],
        3,
    )
    assert Room().made is not settings_class.made
