"""What can go wrong in a benchmark, by what happens next."""


class BenchError(Exception):
    """A measurement or a system failed; its row says why, the run goes on."""


class StartFailed(BenchError):
    """A system did not start; whatever is measured next on it has the same reason to fail."""


class NotInstalled(BenchError):
    """A program is not on PATH; the text names the package that brings it."""
