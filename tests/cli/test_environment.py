"""Unknown PORTWAY_ variables are reported, with the closest known name."""

from portway.cli.environment import known_variables, unknown_variables


def test_a_misspelled_variable_is_reported_with_the_closest_name() -> None:
    (warning,) = unknown_variables({"PORTWAY_JION_FILE": "x", "HOME": "/", "PORTWAY_JOIN": "y"})
    assert warning == "unknown environment variable PORTWAY_JION_FILE is ignored; did you mean PORTWAY_JOIN_FILE?"


def test_an_unknown_variable_without_a_close_name_is_reported_alone() -> None:
    assert unknown_variables({"PORTWAY_ZZZZZZZZ": "1"}) == ["unknown environment variable PORTWAY_ZZZZZZZZ is ignored"]


def test_the_variables_of_all_commands_are_known() -> None:
    known = known_variables()
    assert {"PORTWAY_DATA", "PORTWAY_DOMAIN", "PORTWAY_NAME", "PORTWAY_SECONDS", "PORTWAY_LOG_LEVEL", "PORTWAY_CONFIG"} <= known
    assert {"PORTWAY_ALLOW", "PORTWAY_USERS", "PORTWAY_TLS_PASSWORD"} <= known
    assert unknown_variables(dict.fromkeys(known, "1")) == []
