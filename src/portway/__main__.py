"""Runs `portway` for `python -m portway`."""

from portway.cli.main import main

main()
