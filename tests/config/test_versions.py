from pathlib import Path

from portway.config.versions import version_of


def test_a_version_differs_after_a_change_and_is_none_without_a_file(tmp_path: Path) -> None:
    path = tmp_path / "p"
    assert version_of(path) is None
    path.write_text("a")
    first = version_of(path)
    path.write_text("ab")
    assert None not in (first, version_of(path))
    assert first != version_of(path)
