"""Answers the questions of the API from the store; each method blocks, and runs in a worker thread."""

from collections.abc import Iterator
from typing import Any

from portway.errors import RefusedError
from portway.inspector.copying import as_curl, as_fetch, as_httpx
from portway.inspector.documents import Detail, Frame, Page, detail_of, frame_of, split_head, summary_of
from portway.inspector.exchange import REQUEST, TunnelInfo
from portway.inspector.har import har_of
from portway.inspector.interfaces import ReplayRequest
from portway.inspector.originals import Originals
from portway.inspector.query import Condition, all_of, parse_query
from portway.inspector.replay import ReplayEdits, build, origin_text, replayable
from portway.inspector.store import Store

FRAMES_SHOWN = 200
HAR_ENTRIES_MAX = 1_000
"""Exchanges of one export, the newest ones: they are read into memory."""
COPIED_BYTES_MAX = 64 * 1024
"""A larger body is left out of commands: shells limit their arguments, and nobody could read it."""

FILTERS = ("tunnel", "method", "status", "path")
"""Parameters that are also keys of the query language."""


def condition_of(parameters: dict[str, str]) -> Condition:
    """Return the condition of the parameters `q`, and of FILTERS.

    Raises:
        ConfigError: the query is invalid.
    """
    parts = [parse_query(parameters.get("q", ""))]
    for key in FILTERS:
        if value := parameters.get(key, ""):
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            parts.append(parse_query(f'{key}:"{quoted}"'))
    return all_of(parts)


class Lookup:
    """Reads captured exchanges."""

    def __init__(self, store: Store, originals: Originals) -> None:
        """Read from `store`."""
        self.store = store
        self._originals = originals

    def page(self, condition: Condition, limit: int, before: int) -> Page:
        """Return a page of the list."""
        rows = self.store.page(condition, limit=limit + 1, before=before)
        shown = [summary_of(row) for row in rows[:limit]]
        return Page(shown, shown[-1].id if len(rows) > limit else None)

    def detail(self, number: int) -> Detail:
        """Return one exchange.

        Raises:
            RefusedError: there is none with this id (code `not_found`).
        """
        row, bodies = self._row(number), self.store.bodies(number)
        frames = [frame_of(one) for one in self.store.messages(number, limit=FRAMES_SHOWN)] if row["messages"] else []
        return detail_of(
            row,
            bodies,
            frames=frames,
            replays=self.store.replays(number),
            replayable=replayable(row, bodies, self._originals.find(number)),
            copy=_copies(row, bodies),
        )

    def frames(self, number: int, after: int, limit: int) -> list[Frame]:
        """Return frames or events after the one with that id."""
        self._row(number)
        return [frame_of(one) for one in self.store.messages(number, after=after, limit=limit)]

    def body(self, number: int, side: int) -> tuple[bytes, str, str]:
        """Return the stored bytes of a body, its content coding, and its state."""
        self._row(number)
        body = self.store.bodies(number).get(side)
        if body is None:
            raise RefusedError("not_found", f"exchange {number} has no such body")
        return body["data"], body["coding"], body["state"]

    def har(self, number: int) -> dict[str, Any]:
        """Return one exchange as HAR."""
        return har_of([self.detail(number)])

    def har_of_all(self, condition: Condition) -> dict[str, Any]:
        """Return the newest exchanges that match as HAR."""
        return har_of(self._details(condition))

    def replay_request(self, number: int, edits: ReplayEdits) -> ReplayRequest:
        """Return what a replay sends, and where.

        Raises:
            RefusedError: see `replay.build`; or there is no such exchange.
            ConfigError: an edit is invalid.
        """
        row = self._row(number)
        request = build(row, self.store.bodies(number), self._originals.find(number), edits)
        tunnel = TunnelInfo(row["tunnel"], row["url"], row["origin"])
        return ReplayRequest(tunnel, request.head + request.body, number, origin_text(edits.to) if edits.to else "")

    def clear(self) -> None:
        """Remove all exchanges, and their originals in memory."""
        self.store.clear()
        self._originals.clear()

    def _details(self, condition: Condition) -> Iterator[Detail]:
        for row in self.store.page(condition, limit=HAR_ENTRIES_MAX):
            try:
                yield self.detail(row["id"])
            except RefusedError:
                continue  # trimmed meanwhile

    def _row(self, number: int) -> dict[str, Any]:
        row = self.store.find(number)
        if row is None:
            raise RefusedError("not_found", f"no exchange {number}: it was removed, or never captured")
        return row


def _copies(row: dict[str, Any], bodies: dict[int, dict[str, Any]]) -> dict[str, str]:
    if not row["request_head"]:
        return {}
    _, fields = split_head(row["request_head"])
    stored = bodies.get(REQUEST)
    body: bytes = stored["data"] if stored is not None else b""
    body = body if len(body) <= COPIED_BYTES_MAX else b""
    if stored is not None and not stored["coding"]:  # stored decoded
        fields = [(name, value) for name, value in fields if name.lower() != "content-encoding"]
    url = row["url"].rstrip("/") + row["target"]
    method = row["method"]
    return {
        "curl": as_curl(method, url, fields, body),
        "fetch": as_fetch(method, url, fields, body),
        "httpx": as_httpx(method, url, fields, body),
    }
