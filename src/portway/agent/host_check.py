"""Recognises a service that refuses requests because of their Host field. Pure."""

REFUSALS = (400, 403)
"""What Django, Jupyter (400, 403) and Vite (403) answer to a host that they do not know."""

HINT = (
    "the service refused the first request. If it checks the Host field (Vite, Django and Jupyter do), start again with "
    "--host-header rewrite, or allow this host in the service's configuration"
)


class HostCheck:
    """Looks at the statuses of one tunnel, from its first request on."""

    def __init__(self, *, rewritten: bool) -> None:
        """`rewritten` says that the service is asked for a host of its own already."""
        self._decided = rewritten

    def is_refusal(self, status: int) -> bool:
        """Return True once: when the first response of all looks like a refused host."""
        if self._decided:
            return False
        self._decided = True
        return status in REFUSALS
