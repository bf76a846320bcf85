"""Reads the configuration file of a running agent again when it changes, and on SIGHUP."""

import asyncio
from collections.abc import Sequence

from portway.agent.events import EventSink, Notice
from portway.agent.tunnel_set import TunnelSet
from portway.cli.tunnel_file import TunnelFile, load_tunnel_file
from portway.config.versions import version_of
from portway.errors import ConfigError

CHECK_S = 1.0
"""Interval between checks of the file. A change is applied at the first check without a further one, as editors write in steps."""


class TunnelReloading:
    """Changes the tunnels of a running agent to those of its file."""

    def __init__(self, file: TunnelFile, names: Sequence[str]) -> None:
        """Start from `file`, of which the tunnels with `names` run; all, without names."""
        self._file = file
        self._names = tuple(names)
        self._hangup = asyncio.Event()

    def on_hangup(self) -> None:
        """Read the file again at once."""
        self._hangup.set()

    async def run(self, on_event: EventSink, tunnels: TunnelSet) -> None:
        """Watch the file until cancelled."""
        path = self._file.path
        loaded = seen = await asyncio.to_thread(version_of, path)
        while True:
            asked = await self._asked_within(CHECK_S)
            found = await asyncio.to_thread(version_of, path)
            if asked or (found != loaded and found == seen):
                loaded = found
                await self._reload(on_event, tunnels)
            seen = found

    async def _asked_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._hangup.wait()
        except TimeoutError:
            return False
        self._hangup.clear()
        return True

    async def _reload(self, on_event: EventSink, tunnels: TunnelSet) -> None:
        try:
            file = await asyncio.to_thread(load_tunnel_file, self._file.path)
            known = {*file.tunnels, *file.groups}
            names = [name for name in self._names if name in known]
            selected = file.select(names) if names or not self._names else []
        except ConfigError as exc:
            for line in str(exc).splitlines():
                on_event(Notice(line))
            on_event(Notice("the tunnels stay as they were; correct the file, and it is read again"))
            return
        if file.session != self._file.session:
            on_event(Notice(f"{file.path}: changes in table [agent] apply at the next start"))
        self._file = file
        if not tunnels.replace(selected):
            return
        if not selected:
            on_event(Notice(f"{file.path}: no tunnel is left; the agent stays online"))
