from pathlib import Path

import pytest

from portway.config.sources import load_settings
from portway.errors import ConfigError
from portway.forward.policy import settings
from portway.forward.policy.settings import PolicySettings


def load(flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, file: Path | None = None) -> PolicySettings:
    return load_settings(PolicySettings, "proxy", flags=flags or {}, environ=environ or {}, file=file, tables=("user",))


def test_patterns_with_commas_come_from_every_source(tmp_path: Path) -> None:
    file = tmp_path / "portway.toml"
    file.write_text('[proxy]\nblock = ["a.example:80,443", "*.b.example"]\nallow_private = true\n[proxy.user.ann]\nallow = ["*"]\n')
    found = load({"allow": ("c.example:1-9,20", "10.0.0.0/8")}, {"PORTWAY_BLOCK_LIST": "/a b,c\n/d"}, file)

    assert [pattern.text for pattern in found.allow] == ["c.example:1-9,20", "10.0.0.0/8"]
    assert [pattern.text for pattern in found.block] == ["a.example:80,443", "*.b.example"]
    assert found.list_paths == (Path("/a b,c"), Path("/d"))
    assert found.allow_private


def test_an_invalid_pattern_names_its_source(tmp_path: Path) -> None:
    file = tmp_path / "portway.toml"
    file.write_text('[proxy]\nblock = ["a..b"]\n')

    with pytest.raises(ConfigError, match=r"portway.toml: \$.proxy.block: invalid pattern 'a..b': expected"):
        load(file=file)


def test_too_many_patterns_and_lists_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PATTERNS_MAX", 2)
    monkeypatch.setattr(settings, "LISTS_MAX", 1)

    with pytest.raises(ConfigError, match="--allow: too many patterns"):
        load({"allow": ("a", "b", "c")})
    with pytest.raises(ConfigError, match="--allow-list: too many host lists"):
        load({"allow_list": ("a", "b")})
