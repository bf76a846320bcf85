"""Builds the load programs that are written in Go, once for each version of their source."""

import hashlib
import os
import subprocess
from pathlib import Path

from bench.errors import BenchError
from bench.tools import need

HERE = Path(__file__).resolve().parent
BUILD_S_MAX = 300


def build_go(name: str) -> Path:
    """Return the built program of the folder `NAME_go`, from a cache outside of the source tree.

    Raises:
        NotInstalled: the Go toolchain is missing.
        BenchError: the program cannot be built.
    """
    go, source = need("go"), HERE / f"{name}_go"
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(source.iterdir()))).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "portway-bench"
    program = cache / f"{name}-{digest[:16]}"
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    fresh = cache / f"{program.name}.{os.getpid()}"
    argv = [go, "build", "-mod=readonly", "-buildvcs=false", "-o", str(fresh), "."]
    try:
        done = subprocess.run(argv, cwd=source, capture_output=True, text=True, timeout=BUILD_S_MAX, check=False)
    except subprocess.TimeoutExpired as exc:
        raise BenchError(f"building {name} took more than {BUILD_S_MAX} s") from exc
    if done.returncode:
        raise BenchError(f"{name} cannot be built: {done.stderr.strip()[-300:]}")
    fresh.replace(program)
    return program
