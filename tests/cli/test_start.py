"""`portway start`: which tunnels of a file run, and where options come from. tests/e2e/test_start.py runs it."""

from pathlib import Path

from tests.cli.conftest import Portway


def test_start_needs_names_or_all(portway: Portway, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[tunnels.blog]\ntarget = "3000"\n')
    for words, message in (
        ((), "NAME: give names of tunnels or --all, not both;"),
        (("--all", "blog"), "NAME: give names of tunnels or --all, not both;"),
        (("blgo",), "no tunnel or group 'blgo'; did you mean blog?"),
    ):
        found = portway("start", "--config", str(path), *words)
        assert (found.exit_code, message in found.stderr) == (2, True), found.stderr
    path.write_text("[agent]\n")
    assert "no tunnels; add a table such as [tunnels.blog]" in portway("start", "--config", str(path), "--all").stderr


def test_options_of_the_file_come_after_flags_and_the_environment(portway: Portway, tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_text('[agent]\nserver = "from-file"\n[tunnels.blog]\ntarget = "3000"\n')
    command = ("start", "--config", str(path), "--all", "--data", str(tmp_path / "data"))

    assert "from-file" in portway(*command).stderr
    assert "from-env" in portway(*command, env={"PORTWAY_SERVER": "from-env"}).stderr
    assert "from-flag" in portway(*command, "--server", "from-flag", env={"PORTWAY_SERVER": "from-env"}).stderr
