"""Lets running programs be asked how they are: a unix socket that answers each connection with one JSON document."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from portway.errors import UnavailableError

ANSWER_S_MAX = 2.0
"""How long either side waits for the other; both are on this machine."""

DOCUMENT_BYTES_MAX = 8 * 1024 * 1024
"""What an asker takes: a server with 10,000 sessions says about 3 MB."""

ASKERS_MAX = 16
"""Connections that wait to be accepted. Only this user can reach the folder that the socket is in."""


@asynccontextmanager
async def serve_status(path: Path, document: Callable[[], bytes]) -> AsyncIterator[None]:
    """Answer at `path` with what `document` returns, until the block ends; a file that nobody serves gives way.

    Raises:
        UnavailableError: the socket cannot be made (its path may be too long). A program can do without.
    """
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_unix_server(lambda: _Answer(document), path, backlog=ASKERS_MAX)
        path.chmod(0o600)
    except OSError as exc:
        raise UnavailableError(f"no status socket at {path}: {exc}") from exc
    try:
        yield
    finally:
        server.close()
        path.unlink(missing_ok=True)


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


class _Answer(asyncio.Protocol):
    """One asker. An asyncio protocol is good enough here: no visitor's byte comes by."""

    def __init__(self, document: Callable[[], bytes]) -> None:
        self._document = document

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer at once, and give up on an asker who does not read."""
        asker = cast(asyncio.WriteTransport, transport)
        asker.write(self._document())
        asker.close()
        asyncio.get_running_loop().call_later(ANSWER_S_MAX, asker.abort)
