"""`portway speedtest`: its options and errors. Complete speed tests run in tests/e2e/test_speedtest.py and tests/agent/speed."""

import pytest

from tests.cli.conftest import Portway

JOIN = "portway://abc." + "S" * 43 + "@127.0.0.1:1"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--seconds", "31"), "31.0 is not in the range"),
        (("--seconds", "0.1"), "0.1 is not in the range"),
        (("--streams", "65"), "65 is not in the range"),
        (("--streams", "1"), "1 is not in the range"),
        ((), "no join string yet"),
    ],
)
def test_invalid_options_are_errors_before_anything_is_dialled(args: tuple[str, ...], message: str, portway: Portway) -> None:
    done = portway("speedtest", *args)

    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_links_without_tls_need_the_option_at_both_ends(portway: Portway) -> None:
    plain = portway("speedtest", env={"PORTWAY_JOIN": f"{JOIN}?links=plaintext"})
    encrypted = portway("speedtest", "--plaintext-links", env={"PORTWAY_JOIN": JOIN})

    assert (plain.exit_code, encrypted.exit_code) == (2, 2)
    assert "--plaintext-links" in plain.stderr
    assert "remove the option" in encrypted.stderr


def test_a_ca_file_cannot_be_combined_with_a_pin(portway: Portway) -> None:
    done = portway("speedtest", "--ca-file", __file__, env={"PORTWAY_JOIN": f"{JOIN}?pin=sha256:{'ab' * 32}"})

    assert done.exit_code == 2
    assert "--ca-file" in done.stderr


def test_an_unreachable_server_is_an_error(portway: Portway) -> None:
    done = portway("speedtest", "--plaintext-links", env={"PORTWAY_JOIN": f"{JOIN}?links=plaintext"})

    assert done.exit_code == 1
    assert "cannot connect to 127.0.0.1:1" in done.stderr
    assert "S" * 10 not in done.stderr
