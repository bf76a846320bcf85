"""The command line."""

from pathlib import Path

import pytest

from bench.axes.catalog import AXES, PROXY_AXES, TLS_AXES
from bench.options import matching, parse_options
from bench.plan import FULL_MINUTES_MAX, QUICK, USUAL
from bench.systems.catalog import PROXY_SYSTEMS, SYSTEMS, TLS_SYSTEMS
from bench.systems.portway import SOURCE, Portway


def test_without_options_the_usual_systems_and_axes_are_measured() -> None:
    options = parse_options([])

    assert options.plan == USUAL
    assert [system.name for system in options.systems][:2] == ["direct", "portway tcp TLS"]
    assert len(options.axes) == 9
    assert len(options.systems) == 8
    assert not any(axis.network_path for axis in options.axes)


def test_full_and_all_mean_everything() -> None:
    full = parse_options(["--full"])
    both = parse_options(["--only", "all", "--systems", "all"])

    assert (full.systems, full.axes) == (both.systems, both.axes) == (SYSTEMS, AXES)
    assert full.plan.minutes_max == FULL_MINUTES_MAX
    assert parse_options(["--full", "--minutes", "5"]).plan.minutes_max == 5
    assert len(parse_options(["--full", "--only", "crowd"]).axes) == 1


def test_tls_selects_systems_and_axes_of_visitors_with_tls() -> None:
    usual, full = parse_options(["--tls"]), parse_options(["--tls", "--full"])

    assert (usual.tls, usual.target_set) == (True, "tls")
    assert (parse_options([]).tls, parse_options([]).target_set) == (False, "first")
    assert parse_options(["--tls", "--targets", "engine"]).target_set == "engine"
    assert (full.systems, full.axes) == (TLS_SYSTEMS, TLS_AXES)
    assert {system.name for system in usual.systems} < {system.name for system in full.systems}
    chosen = parse_options(["--tls", "--systems", "caddy,portway https", "--only", "handshakes"])
    assert [system.name for system in chosen.systems] == ["portway https", "caddy https", "portway https plain links"]
    assert [axis.name for axis in chosen.axes] == ["handshakes-full", "handshakes-resumed"]


def test_proxies_selects_forward_proxies() -> None:
    usual, full = parse_options(["--proxies"]), parse_options(["--proxies", "--full"])

    assert (usual.target_set, usual.tls) == ("proxies", False)
    assert (usual.systems, full.axes) == (PROXY_SYSTEMS, PROXY_AXES)
    assert {axis.name for axis in usual.axes} < {axis.name for axis in full.axes}
    chosen = parse_options(["--proxies", "--systems", "socks,dante", "--only", "tunnels"])
    assert [system.name for system in chosen.systems] == ["portway proxy SOCKS5", "microsocks", "dante"]
    assert [axis.name for axis in chosen.axes] == ["tunnels-new", "tunnels-kept"]


def test_words_select_by_part_of_a_name() -> None:
    assert matching("RATHOLE, direct", ["direct", "rathole tls", "haproxy"]) == [0, 1]
    assert matching("x", ["direct"]) == []


def test_quick_has_its_own_default_of_rounds() -> None:
    assert parse_options(["--quick"]).plan.rounds == QUICK.rounds == 1
    assert parse_options(["--quick", "--rounds", "2", "--json", "a.json"]).json_path == Path("a.json")
    assert parse_options(["--quick", "--rounds", "2", "--scale", "2"]).plan.bulk_s == 2 * QUICK.bulk_s


def test_another_source_of_portway_is_measured_as_a_peer(tmp_path: Path) -> None:
    (tmp_path / "portway").mkdir()

    options = parse_options(["--systems", "direct,portway http TLS", "--against", str(tmp_path)])

    assert [system.name for system in options.systems] == ["direct", "portway http TLS", "other portway http TLS"]
    assert [system.source for system in options.systems if isinstance(system, Portway)] == [SOURCE, tmp_path]


@pytest.mark.parametrize(
    "argv",
    [
        ["--against", "."],
        ["--systems", "nobody"],
        ["--only", "nothing"],
        ["--tls", "--systems", "rathole"],
        ["--only", "handshakes"],
        ["--only", "tunnels"],
        ["--tls", "--proxies"],
        ["--rounds", "-1"],
        ["--scale", "0"],
        ["--what"],
    ],
)
def test_a_wrong_command_line_ends_with_2(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse_options(argv)

    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err
