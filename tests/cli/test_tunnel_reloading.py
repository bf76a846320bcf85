"""A file that changes while its tunnels run."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from portway.agent.events import Notice, TunnelsChanged
from portway.agent.tunnel_set import TunnelSet, claim_for
from portway.cli import tunnel_reloading
from portway.cli.tunnel_file import load_tunnel_file
from portway.cli.tunnel_reloading import TunnelReloading
from portway.session.claims import Claims

ONE = '[tunnels.a]\ntarget = "1"\n'
TWO = ONE + '[tunnels.b]\ntarget = "2"\n'


class Stage:
    """Tunnels of a file, with a watch on it."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.path = folder / "p.toml"
        self.path.write_text(ONE)
        file = load_tunnel_file(self.path)
        self.events: list[object] = []
        claims = Claims([claim_for(request, b"i") for request in file.select(names)])
        self.tunnels = TunnelSet(claims, b"i", self.events.append, lambda _changes: None)
        self.reloading = TunnelReloading(file, names)

    def labels(self) -> list[str]:
        return [request.label for request in self.tunnels.requests]

    def notices(self) -> str:
        return "\n".join(event.text for event in self.events if isinstance(event, Notice))

    async def until(self, condition: Callable[[], bool]) -> None:
        watching = asyncio.create_task(self.reloading.run(self.events.append, self.tunnels))
        try:
            async with asyncio.timeout(10):
                while not condition():  # noqa: ASYNC110 - conditions on plain values
                    await asyncio.sleep(0.005)
        finally:
            watching.cancel()


def test_a_changed_file_is_read_once_it_stays_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tunnel_reloading, "CHECK_S", 0.02)

    async def check() -> None:
        stage = Stage(tmp_path)
        asyncio.get_running_loop().call_later(0.05, stage.path.write_text, TWO)
        await stage.until(lambda: stage.labels() == ["a", "b"])
        assert stage.events == [TunnelsChanged(("b",), (), ())]

    asyncio.run(check())


def test_a_file_that_is_gone_or_broken_changes_nothing(tmp_path: Path) -> None:
    async def check() -> None:
        stage = Stage(tmp_path)
        stage.path.unlink()
        stage.reloading.on_hangup()
        await stage.until(lambda: "the tunnels stay as they were" in stage.notices())
        assert "cannot be read: No such file" in stage.notices()
        assert stage.labels() == ["a"]

    asyncio.run(check())


def test_names_limit_what_a_reload_starts_and_all_may_vanish(tmp_path: Path) -> None:
    async def check() -> None:
        stage = Stage(tmp_path, "a")
        stage.path.write_text('[tunnels.b]\ntarget = "2"\n')
        stage.reloading.on_hangup()
        await stage.until(lambda: "no tunnel is left" in stage.notices())
        assert stage.labels() == []

    asyncio.run(check())


def test_a_change_of_the_session_applies_at_the_next_start(tmp_path: Path) -> None:
    async def check() -> None:
        stage = Stage(tmp_path)
        stage.path.write_text('[agent]\ndrain = "1s"\n' + ONE)
        stage.reloading.on_hangup()
        await stage.until(lambda: "table [agent] apply at the next start" in stage.notices())

    asyncio.run(check())
