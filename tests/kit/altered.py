"""Runs a program of this package with changed constants, so that a test reaches in seconds what otherwise takes much longer.

`python altered.py portway.engine.keepalive:KEEPALIVE={...} -- PYTHON -m portway …`; values are Python literals. See `altered`.
"""

import ast
import importlib
import runpy
import sys
from pathlib import Path


def altered(**changes: object) -> tuple[str, ...]:
    """Return the arguments that precede `PYTHON -m portway …`; `changes` are `portway__engine__module__NAME=value`."""
    words = [sys.executable, str(Path(__file__).resolve())]
    for path, value in changes.items():
        module, _, name = path.rpartition("__")
        words.append(f"{module.replace('__', '.')}:{name}={value!r}")
    return (*words, "--")


def _main() -> None:
    end = sys.argv.index("--")
    for change in sys.argv[1:end]:
        path, _, text = change.partition("=")
        module, _, name = path.partition(":")
        getattr(importlib.import_module(module), name)  # fails if the constant does not exist
        setattr(importlib.import_module(module), name, ast.literal_eval(text))
    assert sys.argv[end + 2] == "-m", sys.argv
    sys.argv = sys.argv[end + 3 :]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _main()
