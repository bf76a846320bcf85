"""Runs atheris as a separate process: to search for new paths through a parser, or to extend its corpus with inputs that reach new lines."""

import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.target import CORPUS, Target, corpus_of

FOUND = Path(__file__).parent / "found"
FILES_MAX = 48
"""Inputs saved in a corpus, the shortest ones: it should be readable at a glance, and is tried in each run."""
FILE_BYTES_MAX = 1500


def run(target: Target, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run atheris on a target, with libFuzzer's arguments."""
    argv = [sys.executable, "-m", "tests.fuzz.coverage", target.name, f"-max_len={target.bytes_max}", "-timeout=5", *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=False)


def with_atheris(target: Target, seconds: float) -> list[str]:
    """Search for inputs that break a parser; return the output of atheris about one."""
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as new:
        # Findings go to the first folder, which is deleted; a run changes no file of the repository.
        folders = [new, _with_seeds(target, Path(new) / "seeds")]
        done = run(target, f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={FOUND / target.name}-", *folders)
    return [] if done.returncode == 0 else (done.stdout + done.stderr).splitlines()[-25:]


def grow(target: Target, seconds: float) -> int:
    """Fuzz, save the shortest of the inputs that reach new code, and return their number."""
    FOUND.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as new:
        work = Path(new) / "work"
        work.mkdir()
        limits = [f"-max_total_time={max(1, int(seconds))}", f"-artifact_prefix={FOUND / target.name}-"]
        run(target, *limits, str(work), _with_seeds(target, Path(new) / "seeds"))
        found = sorted((path.read_bytes() for path in work.iterdir()), key=lambda data: (len(data), data))
    kept = [data for data in found if len(data) <= FILE_BYTES_MAX and data not in target.seeds][:FILES_MAX]
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for data in kept:
        (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    return len(kept)


def _with_seeds(target: Target, folder: Path) -> str:
    """Write seeds and corpus to a folder."""
    folder.mkdir()
    for number, data in enumerate([*target.seeds, *corpus_of(target.name)]):
        (folder / f"{number:05}").write_bytes(data)
    return str(folder)
