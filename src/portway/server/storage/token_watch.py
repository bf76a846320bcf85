"""Knows which tokens may be used, and notices within a second when one was revoked."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from portway.clock import Clock
from portway.errors import ConfigError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import TokenRecord, check_usable
from portway.server.storage.token_reader import TokenReader
from portway.telemetry.logs import get_log

LOOK_EVERY_S = 0.25
"""How often the store is asked for changes: a revoked token ends its sessions within a second."""

log = get_log(__name__)


class TokenWatch:
    """The tokens of a server, as fresh as the last change that was noticed."""

    def __init__(self, reader: TokenReader, clock: Clock) -> None:
        """`clock` tells when tokens expire (`clock.wall`)."""
        self._reader = reader
        self._clock = clock
        self._changes = 0
        """How many were noticed."""
        self._trouble = ""
        """Why tokens cannot be read now; told once."""

    async def verifier(self, token_id: str) -> ScramVerifier | None:
        """Return what checks a proof of a token's secret, also when the token was revoked; raises as `TokenReader.find`."""
        token = await self._reader.find(token_id)
        return None if token is None else token.verifier

    async def live(self, token_id: str) -> TokenRecord:
        """Return a token that may be used now. No `watch` has noticed a change since it was read.

        So whoever stores it at once, without waiting for anything in between, is told of each later change.

        Raises:
            RefusedError: `token_revoked`, `token_expired`, `bad_credentials`.
            UnavailableError, ConfigError: as `TokenReader.find`.
        """
        while True:
            changes = self._changes
            token = await self._reader.find(token_id)
            if changes == self._changes:
                return self.check(token)

    def check(self, token: TokenRecord | None) -> TokenRecord:
        """Return `token` when it may be used now; raises RefusedError as `live`."""
        if token is None:
            # Not `token_revoked`, which is for good: rows are never deleted, so this is a database that somebody will put right.
            raise RefusedError(codes.BAD_CREDENTIALS, "the server does not know the token any more", "Ask the server's operator.")
        check_usable(token, self._clock())
        return token

    async def watch(self, used: Callable[[], Collection[str]], on_change: Callable[[Mapping[str, TokenRecord | None]], None]) -> None:
        """Call `on_change` after each change with the tokens that `used` returns as they are now; None stands for one that is not there.

        Runs for ever. A change is not lost when reading fails: reading is tried again until it succeeds.
        """
        seen: tuple[int, ...] = ()
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                version = await self._reader.version()
                if version != seen:
                    self._changes += 1
                    wanted = used()
                    found = await self._reader.find_all(wanted)
                    on_change({token_id: found.get(token_id) for token_id in wanted})
                    seen = version
            except (UnavailableError, ConfigError) as exc:
                self._note_trouble(str(exc))
            else:
                self._note_trouble("")

    def _note_trouble(self, why: str) -> None:
        if why == self._trouble:
            return
        self._trouble = why
        if why:
            log.error("tokens cannot be read; sessions stay as they are, revocations are not noticed", why=why)
        else:
            log.warning("tokens can be read again")
