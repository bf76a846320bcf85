"""Lets running programs be asked how they are: a unix socket that answers each connection with one JSON document."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from portway.errors import UnavailableError
from portway.telemetry.logs import get_log

ANSWER_S_MAX = 2.0
"""How long either side waits for the other; both are on this machine."""

DOCUMENT_BYTES_MAX = 8 * 1024 * 1024
"""What an asker takes: a server with 10,000 sessions says about 3 MB."""

ASKERS_MAX = 16
"""Connections that wait to be accepted, and that are answered at a time: each holds a document. Only this user can reach the
folder that the socket is in."""

PAUSE_S = 0.2
"""How long to wait after accept failed, for example without a free descriptor."""

log = get_log(__name__)


@asynccontextmanager
async def serve_status(path: Path, document: Callable[[], bytes]) -> AsyncIterator[None]:
    """Answer at `path` with what `document` returns, until the block ends; a file that nobody serves gives way.

    Raises:
        UnavailableError: the socket cannot be made (its path may be too long). A program can do without.
    """
    try:
        sock = _listen(path)
    except OSError as exc:
        raise UnavailableError(f"no status socket at {path}: {exc}") from exc
    try:
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(_serve(sock, document), name="status socket")
            try:
                yield
            finally:
                serving.cancel()
    finally:
        sock.close()
        path.unlink(missing_ok=True)


def _listen(path: Path) -> socket.socket:
    """Return a listening socket at `path` that only this user can reach."""
    with suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.bind(str(path))
        path.chmod(0o600)
        sock.listen(ASKERS_MAX)
    except BaseException:
        sock.close()
        raise
    return sock


async def _serve(sock: socket.socket, document: Callable[[], bytes]) -> None:
    """Answer one connection after the other; an error of accept is a pause, and logged once until accept works again."""
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(ASKERS_MAX)
    failed = False
    async with asyncio.TaskGroup() as answers:
        while True:
            await free.acquire()
            try:
                asker, _ = await loop.sock_accept(sock)
            except OSError as exc:
                if not failed:
                    log.warning("accept on the status socket failed", why=exc, next_attempt_s=PAUSE_S)
                failed = True
                free.release()
                await asyncio.sleep(PAUSE_S)
                continue
            failed = False
            task = answers.create_task(_answer(asker, document), name="status answer")
            task.add_done_callback(lambda _: free.release())


async def _answer(asker: socket.socket, document: Callable[[], bytes]) -> None:
    """Send the document, and give up on an asker who does not read."""
    with asker:
        try:
            async with asyncio.timeout(ANSWER_S_MAX):
                await asyncio.get_running_loop().sock_sendall(asker, document())
        except (OSError, TimeoutError):
            pass
        except Exception as exc:  # noqa: BLE001 - a bug in a document must not end the program that it describes
            log.error("no status document", exc=exc)  # noqa: TRY400 - our log takes the traceback


def ask_status(path: Path, timeout_s: float = ANSWER_S_MAX) -> bytes | None:
    """Return the document of whoever serves `path`, or None when nobody does any more.

    Raises:
        UnavailableError: somebody is there and does not answer in time, or says too much.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asker:
        asker.settimeout(timeout_s)
        try:
            asker.connect(str(path))
            pieces, size = [], 0
            while piece := asker.recv(65536):
                pieces.append(piece)
                size += len(piece)
                if size > DOCUMENT_BYTES_MAX:
                    raise UnavailableError(f"{path}: says more than {DOCUMENT_BYTES_MAX} bytes")
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except TimeoutError as exc:
            raise UnavailableError(f"{path}: no answer within {timeout_s:g} s; the program may hang") from exc
        except OSError as exc:
            raise UnavailableError(f"{path}: {exc}") from exc
    return b"".join(pieces)
