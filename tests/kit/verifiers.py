"""Token lookups for `authenticate` in test servers."""

from collections.abc import Awaitable, Callable

from portway.protocol.scram import ScramVerifier


def any_token(verifier: ScramVerifier) -> Callable[[str], Awaitable[ScramVerifier | None]]:
    """Return a lookup with the same verifier for every token id."""

    async def find(_token_id: str) -> ScramVerifier | None:
        return verifier

    return find
