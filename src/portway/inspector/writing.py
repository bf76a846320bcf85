"""Turns what taps collected into rows without secrets; runs in the recorder's thread."""

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from weakref import WeakKeyDictionary

import msgspec

from portway.clock import cpu
from portway.inspector.content import decode
from portway.inspector.exchange import (
    CapturedBody,
    Connection,
    EventPiece,
    Exchange,
    Item,
    Message,
    Opened,
)
from portway.inspector.messages import EventSplitter, FrameDecoder, StoredMessage
from portway.inspector.originals import Original, Originals
from portway.inspector.redaction import Redaction, TooManyError
from portway.inspector.store import Batch, Store
from portway.protocol.http1.stream_parser import field_value
from portway.telemetry.logs import get_log

MESSAGES_MAX = 10_000
"""Frames or events stored of one exchange; further ones are only counted."""

log = get_log(__name__)


class Writer:
    """Stores batches of items. `on_stored` is called after each batch, from the recorder's thread."""

    def __init__(self, store: Store, redaction: Redaction, body_bytes_max: int, on_stored: Callable[[], None]) -> None:
        """Write to `store`."""
        self.originals = Originals()
        self.lost = 0
        """Exchanges that could not be stored because of the disk."""
        self.breathe: Callable[[float], float] = lambda since: since
        """Lets the reactor run between items (`Recorder.breathe`)."""
        self._store = store
        self._redaction = redaction
        self._body_bytes_max = body_bytes_max
        self._on_stored = on_stored
        self._inserted: list[Exchange] = []
        self._kept: list[tuple[Exchange, Original]] = []
        self._streams: WeakKeyDictionary[Exchange, EventSplitter | FrameDecoder] = WeakKeyDictionary()
        self._counts: WeakKeyDictionary[Exchange, int] = WeakKeyDictionary()

    def write(self, batch: list[Item]) -> None:
        """Store a batch; a failure loses it, and is shown by the store's state."""
        self._inserted, self._kept = [], []
        try:
            with self._store.transaction() as rows:
                since = cpu()
                for item in batch:
                    self._write(rows, item)
                    since = self.breathe(since)
        except sqlite3.Error as exc:
            self.lost += sum(isinstance(item, Exchange | Connection) for item in batch)
            for exchange in self._inserted:
                exchange.row = 0  # another one may get its id
            log.debug("captures not stored", reason=exc)
        else:
            for exchange, original in self._kept:
                self.originals.add(exchange.row, original)
            with suppress(sqlite3.Error):
                self._store.trim()
        self._on_stored()
        for item in batch:
            if isinstance(item, Exchange) and item.on_stored is not None:
                item.on_stored(item)

    def _write(self, rows: Batch, item: Item) -> None:
        match item:
            case Exchange():
                self._exchange(rows, item)
            case Opened():
                if not item.exchange.row:
                    self._open(rows, item.exchange)
            case Message() | EventPiece():
                self._messages(rows, item)
            case Connection():
                self._connection(rows, item)

    def _exchange(self, rows: Batch, exchange: Exchange) -> None:
        self._streams.pop(exchange, None)
        bodies, names = self._bodies(exchange)
        columns, redacted = self._columns(exchange, names, done=True)
        if not exchange.row:
            self._insert(rows, exchange, columns)
        elif not rows.update(exchange.row, columns):
            return  # trimmed or cleared meanwhile
        for side, size, state, coding, data in bodies:
            rows.add_body(exchange.row, side, size, state, coding, data)
        request = exchange.request
        if redacted and request.stored == request.size:
            wire = None if request.wire is None else b"".join(request.wire)
            self._kept.append((exchange, Original(exchange.request_head, b"".join(request.pieces), wire)))

    def _open(self, rows: Batch, exchange: Exchange) -> None:
        self._insert(rows, exchange, self._columns(exchange, [], done=False)[0])

    def _insert(self, rows: Batch, exchange: Exchange, columns: dict[str, object]) -> None:
        exchange.row = rows.insert(columns)
        self._inserted.append(exchange)

    def _columns(self, exchange: Exchange, in_bodies: list[str], *, done: bool) -> tuple[dict[str, object], bool]:
        """Return the columns of an exchange, and whether it has secrets; `in_bodies` are the places of those in its bodies."""
        request_head, names = self._redaction.head(exchange.request_head)
        response_head, more = self._redaction.head(exchange.response_head) if exchange.response_head else (b"", [])
        places = [*(f"request {name}" for name in names), *(f"response {name}" for name in more), *in_bodies]
        lower_request, lower_response = exchange.request_head.lower(), exchange.response_head.lower()
        client = field_value(lower_request, b"x-forwarded-for") or b""
        start_line = request_head[: request_head.find(b"\r\n")].split(b" ")
        tunnel = exchange.tunnel
        columns: dict[str, object] = {
            "tunnel": tunnel.name,
            "url": tunnel.url,
            "origin": tunnel.target,
            "kind": exchange.kind,
            "state": "open" if not done else "broken" if exchange.error else "done",
            "started_at": exchange.started_at,
            "duration_ms": round((exchange.ended - exchange.begun) * 1000, 3) if done else None,
            "timings": msgspec.json.encode(timings_of(exchange)).decode() if done else "{}",
            "method": exchange.method.decode("latin-1"),
            "host": (field_value(lower_request, b"host") or b"").decode("latin-1"),
            "target": start_line[1].decode("latin-1") if len(start_line) > 1 else "",
            "status": exchange.status,
            "content_type": (field_value(lower_response, b"content-type") or b"").split(b";")[0].strip().decode("latin-1"),
            "client": client.split(b",")[0].decode("latin-1"),
            "error": exchange.error,
            "request_bytes": exchange.request.size,
            "response_bytes": exchange.response.size,
            "request_head": request_head,
            "response_head": response_head,
            "redacted": msgspec.json.encode(places).decode(),
            "replay_of": exchange.replay_of,
        }
        return columns, bool(places)

    def _bodies(self, exchange: Exchange) -> tuple[list[tuple[int, int, str, str, bytes]], list[str]]:
        """Return side, size, state, content coding and data of each body, and the places of secrets in them."""
        bodies, names = [], []
        sides = (("request", exchange.request, exchange.request_head), ("response", exchange.response, exchange.response_head))
        for side, (name, body, head) in enumerate(sides):
            if body.size and exchange.kind != "websocket":
                state, coding, data, found = self._body(body, head.lower())
                bodies.append((side, body.size, state, coding, data))
                names += [f"{name} {place}" for place in found]
        return bodies, names

    def _body(self, body: CapturedBody, lower_head: bytes) -> tuple[str, str, bytes, list[str]]:
        """Return state, content coding and data of a body to be stored, and the places of secrets in it.

        An encoded body is decoded to be searched, and stored decoded if it has a secret. One that cannot be decoded is not stored: nobody
        could say what is in it.
        """
        data = b"".join(body.pieces)
        state = "dropped" if body.dropped else "truncated" if body.stored < body.size else "complete"
        coding = field_value(lower_head, b"content-encoding") or b""
        content_type = field_value(lower_head, b"content-type") or b""
        if not self._redaction.enabled or not data:
            return state, coding.decode("latin-1"), data, []
        decoded = decode(data, coding, self._body_bytes_max, whole=state == "complete")
        if decoded.error:
            return f"not stored: {decoded.error}", coding.decode("latin-1"), b"", []
        try:
            clean, names = self._redaction.body(decoded.data, content_type)
        except TooManyError as exc:
            return f"not stored: {exc}", "", b"", []
        if coding in (b"", b"identity"):
            return state, "", clean, names
        if not names and decoded.complete:
            return state, coding.decode("latin-1"), data, []
        return state if decoded.complete else "truncated", "", clean, names

    def _messages(self, rows: Batch, item: Message | EventPiece) -> None:
        exchange = item.exchange
        if not exchange.row:
            self._open(rows, exchange)
        stream = self._streams.get(exchange)
        if stream is None:
            stream = EventSplitter() if isinstance(item, EventPiece) else FrameDecoder(exchange.response_head, self._body_bytes_max)
            self._streams[exchange] = stream
        found: Iterable[StoredMessage] = stream.messages(item)  # type: ignore[arg-type]  # each kind of item has its own
        count = self._counts.get(exchange, 0)
        stored = 0
        for message in found:
            if count + stored >= MESSAGES_MAX:
                exchange.messages_missed += 1
                continue
            data, _ = self._redaction.message(message.data) if message.is_text else (message.data, False)
            rows.add_message(exchange.row, message.side, message.at, message.kind, message.name, message.size, message.state, data)
            stored += 1
        self._counts[exchange] = count + stored
        rows.count_messages(exchange.row, stored, exchange.messages_missed)

    def _connection(self, rows: Batch, item: Connection) -> None:
        tunnel = item.tunnel
        rows.insert(
            {
                "tunnel": tunnel.name,
                "url": tunnel.url,
                "origin": tunnel.target,
                "kind": tunnel.kind,
                "state": "done" if item.reason == "closed" else "broken",
                "started_at": item.started_at,
                "duration_ms": round(item.seconds * 1000, 3),
                "client": item.client,
                "error": "" if item.reason == "closed" else item.reason,
                "request_bytes": item.bytes_in,
                "response_bytes": item.bytes_out,
            }
        )


def timings_of(exchange: Exchange) -> dict[str, float]:
    """Return the phases of an exchange in milliseconds, in their order; those that are unknown are left out."""
    phases: dict[str, float] = {}
    edge_s = _edge_to_agent_s(exchange)
    if exchange.link_s is not None:
        phases["link_ms"] = exchange.link_s * 1000
        if edge_s is not None:
            phases["edge_ms"] = max(0.0, edge_s - exchange.link_s / 2) * 1000
    sent_from = exchange.begun
    if exchange.connect_s is not None:
        phases["connect_ms"] = exchange.connect_s * 1000
        sent_from += exchange.connect_s
    request_end = exchange.request_end or exchange.ended
    phases["send_ms"] = max(0.0, request_end - sent_from) * 1000
    if exchange.first_byte:
        phases["first_byte_ms"] = max(0.0, exchange.first_byte - request_end) * 1000
        phases["transfer_ms"] = max(0.0, exchange.ended - exchange.first_byte) * 1000
    return {name: round(value, 3) for name, value in phases.items()}


CLOCKS_DIFFER_S = 60.0
"""A longer time from the edge to here means that the clocks differ."""


def _edge_to_agent_s(exchange: Exchange) -> float | None:
    """Return the time since the edge received the request, from X-Request-Start; None if it is unknown."""
    value = field_value(exchange.request_head.lower(), b"x-request-start")
    if exchange.replay_of or value is None or not value.startswith(b"t=") or not value[2:].isdigit():
        return None
    seconds = exchange.started_at - int(value[2:18]) / 1e6
    return seconds if 0 <= seconds <= CLOCKS_DIFFER_S else None
