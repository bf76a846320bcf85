"""Reads the files of a running proxy again when they change, and on SIGHUP. No tunnel ends, except those of removed users."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from portway.config.versions import Version
from portway.errors import ConfigError
from portway.forward.config.files import ForwardFiles, LoadedFiles, versions_of
from portway.forward.config.loading import LoadForwardSettings
from portway.forward.events import EventSink, Notice
from portway.forward.policy.list_store import pause_for_reactor
from portway.forward.settings import ForwardSettings

CHECK_S = 0.5
"""Interval between checks of the files. A change is applied at the first check without a further one, as editors write in steps: a removed user's tunnels end within
a second or so."""

AT_START = ("listen", "destination", "open", "tls_cert", "tls_key", "tls_pkcs12", "tls_password_file", "dns_cache_ttl_s", "via")
"""Settings that apply at the next start."""

Apply = Callable[[ForwardSettings, LoadedFiles], None]


class ForwardReloading:
    """Watches the files of one proxy."""

    def __init__(self, load: LoadForwardSettings, config: Path | None) -> None:
        """`load` reads all sources again; `config` is the configuration file, if there is one."""
        self._load = load
        self._config = config
        self._hangup = asyncio.Event()

    def on_hangup(self) -> None:
        """Read the files again at once."""
        self._hangup.set()

    async def run(self, settings: ForwardSettings, files: ForwardFiles, apply: Apply, on_event: EventSink) -> None:
        """Watch the files until cancelled; `apply` is called in the loop with what they contain."""
        loaded = seen = await self._versions(settings)
        while True:
            asked = await self._asked_within(CHECK_S)
            found = await self._versions(settings)
            if asked or (found != loaded and found == seen):
                settings = await self._reload(settings, files, apply, on_event)
                loaded = found = await self._versions(settings)
            seen = found

    async def _versions(self, settings: ForwardSettings) -> Mapping[Path, Version]:
        return await asyncio.to_thread(versions_of, settings, self._config)

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._hangup.wait()
        except TimeoutError:
            return False
        self._hangup.clear()
        return True

    async def _reload(self, before: ForwardSettings, files: ForwardFiles, apply: Apply, on_event: EventSink) -> ForwardSettings:
        """Return the settings that are in effect afterwards."""
        errors: list[ConfigError] = []
        settings = before
        try:
            settings = await asyncio.to_thread(self._load)
            if (settings.users is None) != (before.users is None):
                raise ConfigError("users: adding or removing the file of users requires a restart")
            loaded = await asyncio.to_thread(files.load, settings, pause_for_reactor, errors.append)
        except ConfigError as exc:
            # Users and lists may have changed, too: a broken configuration must not keep a removed user.
            errors.append(exc)
            settings = before
            loaded = await asyncio.to_thread(files.load, before, pause_for_reactor, errors.append)
        for line in (line for error in dict.fromkeys(map(str, errors)) for line in error.splitlines()):
            on_event(Notice(line))
        if errors:
            on_event(Notice("a file with errors stays as it was; correct it, and it is read again"))
        later = [one for one in AT_START if getattr(settings, one) != getattr(before, one)]
        if later:
            on_event(Notice(f"changes apply at the next start: {', '.join(one.removesuffix('_s') for one in later)}"))
        apply(settings, loaded)
        for note in loaded.notes:
            on_event(Notice(note))
        on_event(Notice(describe(settings, loaded)))
        return settings


def describe(settings: ForwardSettings, loaded: LoadedFiles) -> str:
    """Return what was read, in one line."""
    names = sum(found.count for found in {*loaded.rules.common.allow_lists, *loaded.rules.common.block_lists})
    parts = [f"{len(settings.allow) + len(settings.block)} patterns"]
    if names:
        parts.append(f"{names:,} listed names")
    if loaded.users is not None:
        parts.append(f"{len(loaded.users)} users")
    return f"configuration reloaded: {', '.join(parts)}"
