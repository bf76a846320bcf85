"""Recognises a service that refuses requests because of their Host field. Pure."""

REFUSALS = (400, 403)
"""Statuses of Django, Jupyter (400, 403) and Vite (403) for an unknown host."""

HINT = (
    "the service refused the first request. If it checks the Host field (Vite, Django and Jupyter do), restart the agent with "
    "--host-header rewrite, or allow this host in the service's configuration"
)


class HostCheck:
    """Checks the status of the first response."""

    def __init__(self, *, rewritten: bool) -> None:
        """`rewritten`: requests already carry a host that the service accepts, so that nothing is checked."""
        self._decided = rewritten

    def is_refusal(self, status: int) -> bool:
        """Return True at most once: when the very first response looks like a refused host."""
        if self._decided:
            return False
        self._decided = True
        return status in REFUSALS
