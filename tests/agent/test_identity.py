"""The agent's identity: one secret, another face for each token."""

import secrets
from pathlib import Path

import pytest

from portway.agent.identity import FILE, ensure_identity
from portway.errors import ConfigError


def test_an_identity_is_made_once_and_kept_for_its_owner_alone(tmp_path: Path) -> None:
    first = ensure_identity(tmp_path / "data", "laptop", secrets.token_bytes)
    assert len(first) == 32
    assert ensure_identity(tmp_path / "data", "laptop", secrets.token_bytes) == first
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o777 == 0o600
    assert first not in (tmp_path / "data" / FILE).read_bytes()


def test_no_two_tokens_and_no_two_machines_share_one(tmp_path: Path) -> None:
    faces = {ensure_identity(tmp_path / folder, token, secrets.token_bytes) for folder in "ab" for token in ("x", "y")}
    assert len(faces) == 4


def test_a_damaged_or_open_file_is_told_and_not_used(tmp_path: Path) -> None:
    ensure_identity(tmp_path, "laptop", secrets.token_bytes)
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        ensure_identity(tmp_path, "laptop", secrets.token_bytes)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ensure_identity(tmp_path, "laptop", secrets.token_bytes)
