"""The units and the Dockerfile hold together with what they install."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
UNITS = sorted((ROOT / "packaging").glob("*.service"))


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_every_line_of_a_unit(unit: Path, tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("no systemd-analyze on this machine")
    program = tmp_path / "portway"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    copy = tmp_path / unit.name.replace("@", "@blog")
    text = unit.read_text().replace("/opt/portway/bin/portway", str(program))
    copy.write_text(re.sub(r"^(User|Group)=.*\n", "", text, flags=re.MULTILINE))  # these users do not exist here

    done = subprocess.run([analyze, "verify", "--man=no", copy], capture_output=True, text=True, check=False, timeout=60)

    told = [line for line in done.stderr.splitlines() if unit.stem.rstrip("@") in line]
    assert told == []


def test_there_are_units_for_server_and_agent() -> None:
    assert [unit.name for unit in UNITS] == ["portway-agent@.service", "portway-server.service"]


def test_the_dockerfile_copies_only_what_is_there_and_sent() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists(), line
                assert source.split("/")[0] in sent, line
