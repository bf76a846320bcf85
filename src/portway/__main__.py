"""`python -m portway` is `portway`."""

from portway.cli.main import main

main()
