"""Errors of a benchmark, by how the run reacts."""


class BenchError(Exception):
    """A measurement or a system failed; the run notes the reason and continues."""


class StartFailed(BenchError):
    """A system did not start; further measurements of it would fail for the same reason."""


class NotInstalled(BenchError):
    """A program is not on PATH; the message names the package to install."""
