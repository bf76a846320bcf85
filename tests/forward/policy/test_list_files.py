import random
import tracemalloc
from pathlib import Path

import pytest

from portway.errors import ConfigError
from portway.forward.policy import list_files
from portway.forward.policy.list_files import read_host_list

KEY = b"k" * 16

BYTES_PER_NAME_MAX = 12
"""Half of what 100 MB for a million names would allow, with room for the growth of short arrays; a set of texts needs 100."""


def test_a_file_may_mix_all_formats(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"# my list\nplain.example\n0.0.0.0 hosts.example\r\n||rule.example^\nlast.example")

    found = read_host_list(path, KEY)

    assert found.count == 4
    assert found.skipped == 0
    assert all(found.matches(f"x.{name}.example") for name in ("plain", "hosts", "rule", "last"))
    assert not found.matches("other.example")


def test_lines_that_are_not_understood_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(b"||a.example^\n||b.example^\nexample.com##.banner\n")

    found = read_host_list(path, KEY)

    assert (found.count, found.skipped) == (2, 1)


@pytest.mark.parametrize("content", [b"\x00\x01\x02 \xff\n" * 100, b"<html> <body>\n</body> </html>\n", b"x" * 10_000])
def test_a_file_that_is_no_host_list_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match="list.txt: .*expected"):
        read_host_list(path, KEY)


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        read_host_list(tmp_path / "missing", KEY)


def test_too_many_names_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_files, "NAMES_MAX", 10)
    path = tmp_path / "list.txt"
    path.write_text("".join(f"n{number}.example\n" for number in range(20)))

    with pytest.raises(ConfigError, match="too many names: expected at most 10"):
        read_host_list(path, KEY)


def test_a_hundred_thousand_names_take_a_few_bytes_each(tmp_path: Path) -> None:
    count = 100_000
    path = tmp_path / "list.txt"
    path.write_text("".join(f"host-{number}.example{number % 97}.org\n" for number in range(count)))
    pauses = []

    tracemalloc.start()
    found = read_host_list(path, KEY, lambda: pauses.append(1))
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert found.count == count
    assert size / count < BYTES_PER_NAME_MAX
    assert peak / count < 2 * BYTES_PER_NAME_MAX
    assert len(pauses) > path.stat().st_size / list_files.BLOCK_BYTES
    chosen = random.Random(1).sample(range(count), 500)
    assert all(found.matches(f"www.host-{number}.example{number % 97}.org") for number in chosen)
    assert not any(found.matches(f"www.host-{number}.example{number % 97}.com") for number in chosen)
