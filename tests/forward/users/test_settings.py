from pathlib import Path

import pytest

from portway.engine.policy import Policy
from portway.errors import ConfigError
from portway.forward.users.settings import read_user_tables

FILE = Path("portway.toml")


def test_a_user_has_rules_and_limits() -> None:
    found = read_user_tables(
        FILE,
        {
            "ann": {"allow": ["*.example:80,443"], "allow_private": True, "max_rate": "1MB", "idle_timeout": "5m", "max_tunnels": "3"},
            "bob": {},
        },
    )

    assert [pattern.text for pattern in found["ann"].allow] == ["*.example:80,443"]
    assert found["ann"].allow_private
    assert found["ann"].limits == Policy(max_rate_bps=1_000_000, idle_timeout_s=300)
    assert (found["ann"].max_tunnels, found["bob"].max_tunnels) == (3, 0)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"ann": {"alow": ["*"]}}, r"portway.toml: \$\.proxy\.user\.ann\.alow: unknown setting; did you mean allow\?"),
        ({"ann": {"allow": ["a..b"]}}, r"\$\.proxy\.user\.ann\.allow: invalid pattern"),
        ({"ann": {"max_tunnels": "many"}}, r"\$\.proxy\.user\.ann\.max_tunnels: expected a number"),
        ({"ann": {"min_rate": "1MB", "max_rate": "1B"}}, "min_rate_bpm: invalid minimum"),
        ({"ann": 3}, "expected a table"),
        ([], r"expected tables, \[proxy.user.NAME\]"),
    ],
)
def test_an_invalid_table_is_refused_with_its_key(tables: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_user_tables(FILE, tables)
