"""The agent's identity: one secret, another face for each token."""

import json
import logging
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from portway.agent.identity import FILE, ensure_identity, find_identity
from portway.errors import ConfigError
from portway.protocol.join_string import JoinString
from tests.kit.mounts import full_disk, read_only
from tests.kit.programs import SOURCES

JOIN = JoinString("laptop", "s" * 43, "example.org", 4443)


def test_an_identity_is_created_once_and_saved_for_its_owner_only(tmp_path: Path) -> None:
    first = ensure_identity(tmp_path / "data", "laptop", secrets.token_bytes)
    assert len(first) == 32
    assert ensure_identity(tmp_path / "data", "laptop", secrets.token_bytes) == first
    assert (tmp_path / "data" / FILE).stat().st_mode & 0o777 == 0o600
    assert first not in (tmp_path / "data" / FILE).read_bytes()


def test_tokens_and_machines_have_different_identities(tmp_path: Path) -> None:
    faces = {ensure_identity(tmp_path / folder, token, secrets.token_bytes) for folder in "ab" for token in ("x", "y")}
    assert len(faces) == 4


def test_a_damaged_or_readable_file_is_an_error(tmp_path: Path) -> None:
    ensure_identity(tmp_path, "laptop", secrets.token_bytes)
    (tmp_path / FILE).write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        ensure_identity(tmp_path, "laptop", secrets.token_bytes)
    (tmp_path / FILE).chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        ensure_identity(tmp_path, "laptop", secrets.token_bytes)


def test_without_a_disk_it_is_derived_from_the_token(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "portway"):
        first = find_identity(None, JOIN, secrets.token_bytes)
    other = JoinString("laptop", "t" * 43, "example.org", 4443)

    assert "agent identity not saved" in caplog.text
    assert len(first) == 32
    assert find_identity(None, JOIN, secrets.token_bytes) == first
    assert find_identity(None, other, secrets.token_bytes) != first


FIND = """
import json, logging, secrets, sys
from pathlib import Path
from portway.agent.identity import find_identity
from portway.protocol.join_string import JoinString
told = []
logging.getLogger("portway").addHandler(type("H", (logging.Handler,), {"emit": lambda self, record: told.append(record.fields["reason"])})())
join = JoinString("laptop", "s" * 43, "example.org", 4443)
print(json.dumps([find_identity(Path(sys.argv[1]), join, secrets.token_bytes).hex(), told]))
"""


def find_in(folder: Path, before: tuple[str, ...]) -> tuple[str, list[str]]:
    done = subprocess.run(
        [*before, sys.executable, "-c", FIND, str(folder)],
        env={**os.environ, "PYTHONPATH": str(SOURCES)},
        capture_output=True,
        text=True,
        check=True,
    )
    identity, told = json.loads(done.stdout)
    return identity, told


@pytest.mark.parametrize("disk", [read_only, full_disk])
def test_without_write_access_a_saved_one_is_used_or_the_reason_is_logged(disk: object, tmp_path: Path) -> None:
    assert callable(disk)
    kept = ensure_identity(tmp_path / "kept", "laptop", secrets.token_bytes)
    (tmp_path / "new").mkdir(mode=0o700)

    assert find_in(tmp_path / "kept", disk(tmp_path / "kept")) == (kept.hex(), [])
    made, told = find_in(tmp_path / "new", disk(tmp_path / "new"))
    assert made == find_identity(None, JOIN, secrets.token_bytes).hex()
    assert "cannot be written" in told[0]


def test_a_damaged_one_is_never_replaced(tmp_path: Path) -> None:
    ensure_identity(tmp_path, "laptop", secrets.token_bytes)
    (tmp_path / FILE).write_bytes(b"short")

    with pytest.raises(ConfigError, match="damaged"):
        find_identity(tmp_path, JOIN, secrets.token_bytes)
