"""`--plain-http` and `--hsts`, as users write them."""

import pytest
from click.testing import CliRunner

from portway.cli.access import read_access
from portway.cli.expose import http
from portway.errors import ConfigError
from portway.protocol.control.messages import AccessRules


def test_without_options_there_are_no_rules() -> None:
    assert read_access({"plain_http": "redirect", "hsts": None}) is None


def test_options_become_rules() -> None:
    assert read_access({"plain_http": "refuse"}) == AccessRules(plain_http="refuse")
    assert read_access({"plain_http": "serve", "hsts": "180d"}) == AccessRules(plain_http="serve", hsts_s=180 * 86400)
    assert read_access({"hsts": "0s"}) == AccessRules(hsts_s=0)


@pytest.mark.parametrize("text", ["4000d", "soon", "-1s"])
def test_invalid_durations_are_errors(text: str) -> None:
    with pytest.raises(ConfigError, match="--hsts: invalid duration"):
        read_access({"hsts": text})


def test_another_word_for_plain_http_is_refused() -> None:
    result = CliRunner().invoke(http, ["3000", "--plain-http", "block"])
    assert result.exit_code == 2
    assert "'redirect', 'serve', 'refuse'" in result.output
