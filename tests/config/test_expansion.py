"""Environment variables in values of a file."""

import pytest

from portway.config.expansion import expand
from portway.errors import ConfigError

ENVIRON = {"USER": "ada", "EMPTY": ""}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("api-${USER}", "api-ada"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", ""),
        ("${MISSING:-3000}", "3000"),
        ("${MISSING:-}", ""),
        ("$${USER}", "${USER}"),
        ("$USER $1 100$", "$USER $1 100$"),
        ("${not a name}", "${not a name}"),
        ("${USER}${USER}", "adaada"),
    ],
)
def test_references_are_replaced_and_everything_else_stays(text: str, result: str) -> None:
    assert expand(text, ENVIRON) == result


def test_a_value_is_not_expanded_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "x"}) == "${B}"


def test_a_variable_that_is_not_set_is_an_error_with_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"environment variable MISSING is not set; set it, or give a default: \$\{MISSING:-value\}"):
        expand("${MISSING}", ENVIRON)
