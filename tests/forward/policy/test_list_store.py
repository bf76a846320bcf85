import os
from pathlib import Path

import pytest

from portway.errors import ConfigError
from portway.forward.policy.list_store import HostListStore, pause_for_reactor


def write(path: Path, text: str, age: int) -> Path:
    path.write_text(text)
    os.utime(path, ns=(age, age))
    return path


def test_a_list_is_read_again_only_when_it_has_changed(tmp_path: Path) -> None:
    store = HostListStore()
    a, b = write(tmp_path / "a", "a.example\n", 1), write(tmp_path / "b", "b.example\n", 1)
    first = store.load([a, b], pause_for_reactor)
    write(a, "other.example\n", 2)
    second = store.load([a, b])

    assert second[b] is first[b]
    assert first[a].matches("a.example")
    assert not second[a].matches("a.example")
    assert second[a].matches("other.example")


def test_a_broken_list_changes_nothing(tmp_path: Path) -> None:
    store = HostListStore()
    a, b = write(tmp_path / "a", "a.example\n", 1), write(tmp_path / "b", "b.example\n", 1)
    first = store.load([a, b])
    write(a, "more.example\n", 2)
    write(b, "not a list\n", 2)

    with pytest.raises(ConfigError, match=r"b: invalid host list"):
        store.load([a, b])
    write(b, "b.example\n", 1)
    assert store.load([a, b])[b] is first[b]


def test_a_list_that_is_broken_now_stays_as_it_was(tmp_path: Path) -> None:
    store = HostListStore()
    a = write(tmp_path / "a", "a.example\n", 1)
    first = store.load([a])
    write(a, "not a list\n", 2)
    errors: list[ConfigError] = []

    assert store.load([a], on_error=errors.append)[a] is first[a]
    assert "invalid host list" in str(errors[0])
    assert store.load([a], on_error=errors.append)[a] is first[a]
    assert len(errors) == 1, "the same broken file is not read again"
    with pytest.raises(ConfigError):
        store.load([a, tmp_path / "missing"], on_error=errors.append)
