"""Tokens that a played server knows, in the shape in which `authenticate` asks for them."""

from collections.abc import Awaitable, Callable

from portway.protocol.scram import ScramVerifier


def any_token(verifier: ScramVerifier) -> Callable[[str], Awaitable[ScramVerifier | None]]:
    """Return a finder that has the same verifier for every token id."""

    async def find(_token_id: str) -> ScramVerifier | None:
        return verifier

    return find
