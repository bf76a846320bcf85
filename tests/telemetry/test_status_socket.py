"""A running process serves its status, and no client can block it."""

import asyncio
import select
import socket
import stat
from pathlib import Path

import pytest

from portway.errors import UnavailableError
from portway.telemetry.status_socket import query_status, serve_status


def test_each_client_gets_the_current_document(tmp_path: Path) -> None:
    path = tmp_path / "agent-1.sock"
    documents = [b'{"n":1}', b"x" * 3_000_000]

    async def main() -> list[bytes | None]:
        left = iter(documents)
        async with serve_status(path, lambda: next(left)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            return [await asyncio.to_thread(query_status, path) for _ in documents]

    assert asyncio.run(main()) == documents
    assert not path.exists()


def test_the_socket_of_a_dead_process_has_no_status_and_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "agent-1.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert query_status(path) is None

    async def main() -> bytes | None:
        async with serve_status(path, lambda: b"alive"):
            return await asyncio.to_thread(query_status, path)

    assert asyncio.run(main()) == b"alive"
    assert query_status(path) is None


def test_a_hanging_process_is_an_error_after_the_deadline(tmp_path: Path) -> None:
    path = tmp_path / "agent-1.sock"
    with socket.socket(socket.AF_UNIX) as hung:
        hung.bind(str(path))
        hung.listen()

        with pytest.raises(UnavailableError, match=r"no reply within 0\.05 s"):
            query_status(path, 0.05)


def test_a_path_that_is_too_long_is_an_error(tmp_path: Path) -> None:
    async def main() -> None:
        async with serve_status(tmp_path / ("x" * 120), lambda: b""):
            pass

    with pytest.raises(UnavailableError, match="cannot create the status socket"):
        asyncio.run(main())


def test_a_client_that_does_not_read_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portway.telemetry.status_socket.REPLY_S_MAX", 0.05)
    path = tmp_path / "agent-1.sock"

    def hung_up(lazy: socket.socket) -> bool:
        watch = select.poll()
        watch.register(lazy, 0)  # POLLHUP is always reported
        return bool(watch.poll(10_000))

    async def main() -> bool:
        async with serve_status(path, lambda: b"x" * 8_000_000):
            with socket.socket(socket.AF_UNIX) as lazy:
                lazy.connect(str(path))
                return await asyncio.to_thread(hung_up, lazy)

    assert asyncio.run(main())


def test_a_failing_document_costs_one_reply_and_not_the_process(tmp_path: Path) -> None:
    path = tmp_path / "agent-1.sock"
    documents: list[bytes | Exception] = [RuntimeError("a bug"), b"alive"]

    def document() -> bytes:
        made = documents.pop(0)
        if isinstance(made, Exception):
            raise made
        return made

    async def main() -> list[bytes | None]:
        async with serve_status(path, document):
            return [await asyncio.to_thread(query_status, path) for _ in range(2)]

    assert asyncio.run(main()) == [b"", b"alive"]
