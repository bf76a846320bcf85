"""`portway bench`: its options and complaints. Whole tests run in tests/e2e/test_bench.py and tests/agent/speed."""

import pytest

from tests.cli.conftest import Portway

JOIN = "portway://abc." + "S" * 43 + "@127.0.0.1:1"


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (("--seconds", "31"), "31.0 is not in the range"),
        (("--seconds", "0.1"), "0.1 is not in the range"),
        (("--streams", "65"), "65 is not in the range"),
        (("--streams", "1"), "1 is not in the range"),
        ((), "no join string yet"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_is_dialled(args: tuple[str, ...], complaint: str, portway: Portway) -> None:
    done = portway("bench", *args)

    assert done.exit_code == 2
    assert complaint in done.stderr
    assert done.stdout == ""


def test_both_ends_must_say_that_links_are_plain(portway: Portway) -> None:
    plain = portway("bench", env={"PORTWAY_JOIN": f"{JOIN}?links=plaintext"})
    encrypted = portway("bench", "--plaintext-links", env={"PORTWAY_JOIN": JOIN})

    assert (plain.exit_code, encrypted.exit_code) == (2, 2)
    assert "--plaintext-links" in plain.stderr
    assert "leave the flag away" in encrypted.stderr


def test_a_ca_file_and_a_pin_contradict_each_other(portway: Portway) -> None:
    done = portway("bench", "--ca-file", __file__, env={"PORTWAY_JOIN": f"{JOIN}?pin=sha256:{'ab' * 32}"})

    assert done.exit_code == 2
    assert "--ca-file" in done.stderr


def test_a_server_that_is_not_there_is_an_error(portway: Portway) -> None:
    done = portway("bench", "--plaintext-links", env={"PORTWAY_JOIN": f"{JOIN}?links=plaintext"})

    assert done.exit_code == 1
    assert "cannot connect to 127.0.0.1:1" in done.stderr
    assert "S" * 10 not in done.stderr
