"""Serves the files of a folder: index pages, ranges, ETags, listings on request; no dotfiles, no way out of the folder."""

import os
import stat
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import quote

import anyio.to_thread
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from portway.agent.static_origin.listing import listing_page

INDEX = "index.html"
NOT_FOUND_PAGE = "404.html"

WELL_KNOWN = ".well-known"
"""The only name with a leading dot that is served (RFC 8615)."""


class Folder(StaticFiles):
    """The ASGI application for one folder. A symbolic link is followed only to what is inside the folder."""

    def __init__(self, directory: str, *, listing: bool) -> None:
        """Serve `directory`; folders in it without an index page are listed if `listing`, otherwise 404."""
        super().__init__(directory=directory, check_dir=False)
        self._listing = listing
        self._root = os.path.realpath(directory)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["method"] in ("GET", "HEAD"):
            response = await self._response(scope["path"], scope)
        else:
            response = PlainTextResponse("This folder is read-only.\n", 405, {"Allow": "GET, HEAD"})
        await response(scope, receive, send)

    async def _response(self, path: str, scope: Scope) -> Response:
        parts = PurePosixPath(path.lstrip("/")).parts
        if "\0" in path or ".." in parts or any(part.startswith(".") and part != WELL_KNOWN for part in parts):
            return await self._not_found(scope)
        try:
            full, info = await self._lookup("/".join(parts) or ".")
        except OSError:  # too long a name, or not accessible
            return await self._not_found(scope)
        if info is None or not (stat.S_ISREG(info.st_mode) or stat.S_ISDIR(info.st_mode)):
            return await self._not_found(scope)
        if stat.S_ISREG(info.st_mode):
            return await self._not_found(scope) if path.endswith("/") else self.file_response(full, info, scope)
        if not path.endswith("/"):
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(quote(parts[-1]) + "/" + (f"?{query}" if query else ""), 307)
        index, found = await self._lookup("/".join((*parts, INDEX)))
        if found is not None and stat.S_ISREG(found.st_mode):
            return self.file_response(index, found, scope)
        if not self._listing:
            return await self._not_found(scope)
        return await anyio.to_thread.run_sync(partial(listing_page, full, path, self._root))

    async def _lookup(self, path: str) -> tuple[str, os.stat_result | None]:
        return await anyio.to_thread.run_sync(self.lookup_path, path)

    async def _not_found(self, scope: Scope) -> Response:
        page, found = await self._lookup(NOT_FOUND_PAGE)
        if found is not None and stat.S_ISREG(found.st_mode):
            return self.file_response(page, found, {**scope, "headers": []}, status_code=404)
        return PlainTextResponse("Not found in this folder.\n", 404)
