"""`--host-header`, `--request-header` and `--response-header`, as users write them."""

from pathlib import Path

import pytest

from portway.agent.target import parse_target
from portway.cli.rewriting import own_authority, read_rewriting
from portway.errors import ConfigError


@pytest.mark.parametrize(
    ("target", "authority"),
    [
        ("5173", "localhost:5173"),
        ("http://127.0.0.1:80", "localhost"),
        ("https://intranet.test", "intranet.test"),
        ("https://intranet.test:8443", "intranet.test:8443"),
        ("[fd00::1]:3000", "[fd00::1]:3000"),
        ("unix:/run/app.sock", "localhost"),
    ],
)
def test_rewrite_sends_the_targets_own_address(target: str, authority: str) -> None:
    parsed = parse_target(target)
    rewrite = read_rewriting(parsed, {"host_header": "rewrite"})
    assert own_authority(parsed) == authority
    assert rewrite is not None
    assert (rewrite.host, rewrite.scheme) == (authority, "https" if target.startswith("https") else "http")


def test_fields_come_from_the_command_line_the_environment_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "from-env")
    (tmp_path / "key").write_text("from-file\n")
    texts = ("X-A: 1", "X-B=env:API_KEY", f"X-C=file:{tmp_path}/key", "-Cookie", "X-D:")
    rewrite = read_rewriting(parse_target("1"), {"request_headers": texts, "response_headers": ("-Server",)})
    assert rewrite is not None
    assert rewrite.request == [("X-A", "1"), ("X-B", "from-env"), ("X-C", "from-file"), ("Cookie", None), ("X-D", "")]
    assert rewrite.response == [("Server", None)]


def test_without_options_there_are_no_changes() -> None:
    assert read_rewriting(parse_target("1"), {"host_header": "", "request_headers": ()}) is None


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (("no separator",), "expected 'Name: value'"),
        (("X=env:NOT_THERE_AT_ALL",), "NOT_THERE_AT_ALL is not set"),
        (("X=file:/does/not/exist",), "cannot read /does/not/exist"),
        (("X: " + "v" * 5000,), "at most 4096"),
        (("Host: x",), "--host-header"),
        (("X: 1",) * 33, "at most 32"),
    ],
)
def test_invalid_fields_are_errors(texts: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_rewriting(parse_target("1"), {"request_headers": texts})
