"""Checks that tokens are usable, and detects revocations within a second."""

import asyncio
from collections.abc import Callable, Collection, Mapping

from portway.clock import Clock
from portway.errors import ConfigError, RefusedError, UnavailableError
from portway.protocol.control import codes
from portway.protocol.scram import ScramVerifier
from portway.server.access.tokens import TokenRecord, check_usable
from portway.server.storage.token_reader import TokenReader
from portway.telemetry.logs import get_log

POLL_EVERY_S = 0.25
"""How often the store is polled for changes: a revoked token ends its sessions within a second."""

log = get_log(__name__)


class TokenWatch:
    """The tokens of a server, as of the last change that was detected."""

    def __init__(self, reader: TokenReader, clock: Clock) -> None:
        """`clock` (`clock.wall`) decides when tokens expire."""
        self._reader = reader
        self._clock = clock
        self._changes = 0
        """Changes detected so far."""
        self._read_error = ""
        """Why tokens cannot be read now; logged once."""

    async def verifier(self, token_id: str) -> ScramVerifier | None:
        """Return the verifier of a token, even if it was revoked; raises as `TokenReader.find`."""
        token = await self._reader.find(token_id)
        return None if token is None else token.verifier

    async def live(self, token_id: str) -> TokenRecord:
        """Return a token that is usable now, read after the last change that `watch` detected.

        A caller that stores it at once, without awaiting anything, therefore receives every later change through `watch`.

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
        """Return `token` if it is usable now; raises RefusedError as `live`."""
        if token is None:
            # Not `token_revoked`, which is permanent: rows are never deleted, so this is a wrong database, which can be corrected.
            raise RefusedError(codes.BAD_CREDENTIALS, "the token no longer exists on the server", "Ask the server's operator.")
        check_usable(token, self._clock())
        return token

    async def watch(self, used: Callable[[], Collection[str]], on_change: Callable[[Mapping[str, TokenRecord | None]], None]) -> None:
        """Call `on_change` after each change with the current records of the tokens that `used` returns; None for a missing one.

        Runs until cancelled. A change is not lost when reading fails: reading is retried until it succeeds.
        """
        seen: tuple[int, ...] = ()
        while True:
            await asyncio.sleep(POLL_EVERY_S)
            try:
                version = await self._reader.version()
                if version != seen:
                    self._changes += 1
                    wanted = used()
                    found = await self._reader.find_all(wanted)
                    on_change({token_id: found.get(token_id) for token_id in wanted})
                    seen = version
            except (UnavailableError, ConfigError) as exc:
                self._set_read_error(str(exc))
            else:
                self._set_read_error("")

    def _set_read_error(self, reason: str) -> None:
        if reason == self._read_error:
            return
        self._read_error = reason
        if reason:
            log.error("tokens unreadable; sessions continue, revocations have no effect", reason=reason)
        else:
            log.warning("tokens readable again")
