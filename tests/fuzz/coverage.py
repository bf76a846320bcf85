"""Runs one target under atheris, which instruments the parsers and saves inputs that reach new lines; libFuzzer's arguments follow the name.

`python -m tests.fuzz.coverage yamux -max_total_time=60 tests/fuzz/corpus/yamux`. Not part of what is locked in requirements/: `.venv/bin/pip install atheris`.
"""

import sys
from importlib import import_module


def main() -> None:
    """Fuzz one target until time is up or something breaks."""
    atheris = import_module("atheris")
    with atheris.instrument_imports(include=["portway"]):
        from tests.fuzz.target import all_targets

        targets = all_targets()
    target = targets[sys.argv.pop(1)]

    def one(data: bytes) -> None:
        target.check(data)

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
