"""`portway proxy` as a command."""

import pytest

from tests.cli.conftest import Portway


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--listen", ":0"), "--listen: :0 is reachable from other machines, and the proxy has no users"),
        (("--listen", "x"), "--listen: expected an address"),
        (("--tls-cert", "a"), "--tls-cert"),
        (("--config", "/nowhere.toml"), "/nowhere.toml: cannot be read"),
    ],
)
def test_what_cannot_work_is_an_error(portway: Portway, words: tuple[str, ...], message: str) -> None:
    done = portway("proxy", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert message in done.stderr
