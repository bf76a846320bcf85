"""A certificate from two files."""

import asyncio
import shutil
from pathlib import Path

import pytest

from portway.agent.termination import pair_source
from portway.agent.termination.pair_source import PairSource
from portway.certificates.contexts import CONTEXT_S_MAX
from portway.errors import ConfigError
from tests.kit.certificates import Identity, make_identity


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return make_identity(tmp_path, "app.example.org")


def source_of(identity: Identity, clock: list[float] | None = None) -> PairSource:
    now = clock or [0.0]
    return PairSource(Path(identity.cert_file), Path(identity.key_file), lambda: now[0])


def test_the_context_is_replaced_daily(identity: Identity) -> None:
    clock = [0.0]
    source = source_of(identity, clock)
    first = source.context_for("any.name")
    assert source.context_for("other.name") is first
    clock[0] = CONTEXT_S_MAX + 1
    assert source.context_for("any.name") is not first


def test_what_cannot_be_used_is_an_error_with_both_files(identity: Identity, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--cert, --key: .*missing: cannot be read"):
        PairSource(tmp_path / "missing", Path(identity.key_file), lambda: 0.0)
    (tmp_path / "other").mkdir()
    other = make_identity(tmp_path / "other", "app.example.org")
    with pytest.raises(ConfigError, match="--cert, --key: .* and .*: invalid certificate or key"):
        PairSource(Path(identity.cert_file), Path(other.key_file), lambda: 0.0)
    (tmp_path / "huge").write_bytes(bytes(pair_source.FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="too large"):
        PairSource(tmp_path / "huge", Path(identity.key_file), lambda: 0.0)


def test_changed_files_are_read_again_and_a_broken_pair_is_reported_once(
    identity: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_source, "CHECK_S", 0.02)
    (tmp_path / "new").mkdir()
    new = make_identity(tmp_path / "new", "app.example.org")
    errors: list[str] = []

    async def check() -> None:
        source = source_of(identity)
        first = source.context_for("")
        watching = asyncio.create_task(source.watch(errors.append))
        await asyncio.sleep(0.05)
        shutil.copy(new.cert_file, identity.cert_file)
        async with asyncio.timeout(10):
            while not errors:  # noqa: ASYNC110 - conditions on plain values
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert source.context_for("") is first
        shutil.copy(new.key_file, identity.key_file)
        async with asyncio.timeout(10):
            while source.context_for("") is first:  # noqa: ASYNC110 - see above
                await asyncio.sleep(0.01)
        watching.cancel()

    asyncio.run(check())
    assert len(errors) == 1
    assert "the previous certificate stays in use" in errors[0]
