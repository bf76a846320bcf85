"""Variables that nobody reads are named, with the one that was probably meant."""

from portway.cli.environment import known_variables, unknown_variables


def test_a_misspelled_variable_is_told_with_the_right_one() -> None:
    (warning,) = unknown_variables({"PORTWAY_JION_FILE": "x", "HOME": "/", "PORTWAY_JOIN": "y"})
    assert warning == "unknown environment variable PORTWAY_JION_FILE is ignored; did you mean PORTWAY_JOIN_FILE?"


def test_what_resembles_nothing_is_told_without_a_guess() -> None:
    assert unknown_variables({"PORTWAY_ZZZZZZZZ": "1"}) == ["unknown environment variable PORTWAY_ZZZZZZZZ is ignored"]


def test_every_option_of_every_command_counts() -> None:
    known = known_variables()
    assert {"PORTWAY_DATA", "PORTWAY_DOMAIN", "PORTWAY_NAME", "PORTWAY_SECONDS", "PORTWAY_LOG_LEVEL", "PORTWAY_CONFIG"} <= known
    assert unknown_variables(dict.fromkeys(known, "1")) == []
