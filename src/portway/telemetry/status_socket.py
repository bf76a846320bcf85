"""Status of running processes: a Unix socket that sends one JSON document to each connection."""

import asyncio
import socket
import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from portway.errors import UnavailableError
from portway.telemetry.logs import get_log

REPLY_S_MAX = 2.0
"""Time that client and server wait for each other; both are on this machine."""

DOCUMENT_BYTES_MAX = 8 * 1024 * 1024
"""Largest document that a client reads: a server with 10,000 sessions sends about 3 MB."""

CLIENTS_MAX = 16
"""Bound of the accept queue, and of connections served concurrently: each holds a document. The directory of the socket is
accessible to this user only."""

PAUSE_S = 0.2
"""Pause after accept failed, for example without a free descriptor."""

log = get_log(__name__)


@asynccontextmanager
async def serve_status(path: Path, document: Callable[[], bytes]) -> AsyncIterator[None]:
    """Serve the result of `document` at `path` until the block ends; replaces the socket of a dead process.

    Raises:
        UnavailableError: the socket cannot be created (its path may be too long); callers can continue without it.
    """
    try:
        sock = _listen(path)
    except OSError as exc:
        raise UnavailableError(f"{path}: cannot create the status socket: {exc}") from exc
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
        sock.listen(CLIENTS_MAX)
    except BaseException:
        sock.close()
        raise
    return sock


async def _serve(sock: socket.socket, document: Callable[[], bytes]) -> None:
    """Accept connections and serve each in a task; pause when accept fails, and log that once until it works again."""
    loop = asyncio.get_running_loop()
    free = asyncio.Semaphore(CLIENTS_MAX)
    failed = False
    async with asyncio.TaskGroup() as tasks:
        while True:
            await free.acquire()
            try:
                client, _ = await loop.sock_accept(sock)
            except OSError as exc:
                if not failed:
                    log.warning("status socket accept failed", reason=exc, next_attempt_s=PAUSE_S)
                failed = True
                free.release()
                await asyncio.sleep(PAUSE_S)
                continue
            failed = False
            task = tasks.create_task(_reply(client, document), name="status reply")
            task.add_done_callback(lambda _: free.release())


async def _reply(client: socket.socket, document: Callable[[], bytes]) -> None:
    """Send the document; close the connection of a client that does not read it in time."""
    with client:
        try:
            async with asyncio.timeout(REPLY_S_MAX):
                await asyncio.get_running_loop().sock_sendall(client, document())
        except (OSError, TimeoutError):
            pass
        except Exception as exc:  # noqa: BLE001 - a bug in the document must not stop the process
            log.error("status document failed", exc=exc)  # noqa: TRY400 - this logger adds the traceback


def query_status(path: Path, timeout_s: float = REPLY_S_MAX) -> bytes | None:
    """Return the document served at `path`, or None if its process is gone.

    Raises:
        UnavailableError: the reply did not arrive in time, or is too large.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(timeout_s)
        try:
            client.connect(str(path))
            pieces, size = [], 0
            while piece := client.recv(65536):
                pieces.append(piece)
                size += len(piece)
                if size > DOCUMENT_BYTES_MAX:
                    raise UnavailableError(f"{path}: status too large: expected at most {DOCUMENT_BYTES_MAX} bytes")
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except TimeoutError as exc:
            raise UnavailableError(f"{path}: no reply within {timeout_s:g} s; the process may hang") from exc
        except OSError as exc:
            raise UnavailableError(f"{path}: {exc}") from exc
    return b"".join(pieces)
