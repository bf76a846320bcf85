"""Body pumps: each moves one message body from source to sink, at most `TURN_BYTES` per turn."""

from enum import IntEnum

from portway.edge.http.buffers import ChannelReader, ChannelWriter
from portway.engine.channel import HEADROOM_BYTES
from portway.engine.gate import Quota
from portway.engine.pumps import LARGE_READ_BYTES
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.errors import BrokenChannel
from portway.protocol.http1.chunked import ChunkDecoder, encode_chunk, encode_end
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import CHUNKED, UNTIL_END, Body
from portway.protocol.work import READ_WORK, TURN_WORK

JOIN_BYTES_MAX = 16 * 1024
"""Part of a body that is sent together with its head, in one packet instead of two."""
REFRAME_BYTES = 64 * 1024
"""How much of a body is decoded and framed anew at a time: copied twice, and buffered if the sink accepts less."""
REFRAME_BYTES_MIN = 1024
"""Minimum of it, however little the sink accepts: each piece becomes a chunk of its own."""


class PumpResult(IntEnum):
    """How a turn of a pump ended."""

    WAITS_FOR_SOURCE = 0
    WAITS_FOR_SINK = 1
    TURN_USED_UP = 2
    """More is available: run again after others had their turn."""
    FINISHED = 3
    """The whole body has been sent."""
    SOURCE_TRUNCATED = 4
    """The source ended properly before the body did."""
    SOURCE_BROKE = 5
    SINK_BROKE = 6
    QUOTA_EXCEEDED = 7
    """The quota has been sent, and the body is longer."""


class SizedPump:
    """Moves exactly as many bytes as Content-Length announces, after a head.

    Bytes that the sink does not accept stay in a source that can peek; otherwise they are buffered, at most one turn's worth.
    """

    __slots__ = ("_lead", "_reactor", "_reader", "_writer", "events", "left", "moved", "quota")

    def __init__(self, reactor: Reactor, reader: ChannelReader, writer: ChannelWriter, length: int, lead: bytes) -> None:
        """`lead` is the head: it is sent by the first run, together with what has arrived of the body."""
        self._reactor = reactor
        self._reader = reader
        self._writer = writer
        self._lead = lead
        self.left = length
        self.moved = 0
        """Payload bytes so far; grows with all progress."""
        self.events = 0
        """Reads that returned bytes."""
        self.quota: Quota | None = None
        """Remaining quota; None: unlimited."""

    @property
    def holds_head(self) -> bool:
        """True until the head has been sent."""
        return bool(self._lead)

    def run(self) -> PumpResult:
        """Move one turn's worth, or until source or sink is blocked."""
        writer = self._writer
        reads, moved = 0, self.moved
        try:
            while writer.pending is None or writer.flush():
                if self._lead:
                    self._begin()
                    continue
                if not self.left:
                    return PumpResult.FINISHED
                if self.moved - moved + reads * READ_WORK >= TURN_WORK:
                    self._reactor.work.done += TURN_WORK
                    return PumpResult.TURN_USED_UP
                room = writer.channel.room()
                if not room:
                    break
                count = min(room, self.left, TURN_BYTES)
                if self.quota is not None and count > self.quota.left:
                    count = self.quota.left
                    if not count:
                        return PumpResult.QUOTA_EXCEEDED
                reads += 1
                result = self._copy(count) if self._reader.reads_direct else self._peek_and_send(count)
                if result is not None:
                    return result
        except BrokenChannel:
            return PumpResult.SINK_BROKE
        return PumpResult.WAITS_FOR_SINK

    def _begin(self) -> None:
        """Send the head together with what has arrived of the body."""
        reader, lead = self._reader, self._lead
        self._lead = b""
        limit = min(self.left, JOIN_BYTES_MAX if self.quota is None else min(JOIN_BYTES_MAX, self.quota.left))
        try:
            view = reader.peek(limit) if limit and (reader.buffered or reader.channel.readable) else None
        except BrokenChannel:
            view = None  # raised again after the head was sent
        if view is not None:
            count = len(view)
            lead = b"".join((lead, view))
            reader.consume(count)
            self._count(count)
        self._writer.write(lead)

    def _peek_and_send(self, count: int) -> PumpResult | None:
        """Send from the source's own buffer; return None to continue."""
        reader = self._reader
        try:
            view = reader.peek(count)
        except BrokenChannel:
            return PumpResult.SOURCE_BROKE
        if view is None:
            return PumpResult.SOURCE_TRUNCATED if reader.ended else PumpResult.WAITS_FOR_SOURCE
        sent = 0
        try:
            sent = self._writer.channel.send(view)
        finally:
            reader.consume(sent)
        self._count(sent)
        return None

    def _copy(self, count: int) -> PumpResult | None:
        """Read into the reactor's scratch buffer and send from there, with its headroom if that saves a copy; buffer what the sink
        does not accept. Return None to continue.
        """
        sink, scratch = self._writer.channel, self._reactor.scratch
        try:
            got = self._reader.channel.recv_into(self._reactor.scratch_body[:count])
        except BrokenChannel:
            return PumpResult.SOURCE_BROKE
        if got <= 0:
            return PumpResult.WAITS_FOR_SOURCE if got else PumpResult.SOURCE_TRUNCATED
        end = HEADROOM_BYTES + got
        if sink.wants_headroom and got >= LARGE_READ_BYTES:
            sent = sink.send_headroom(scratch, got)
        else:
            sent = sink.send(scratch[HEADROOM_BYTES:end])
        if sent < got:
            self._writer.pending = memoryview(bytes(scratch[HEADROOM_BYTES + sent : end]))
        self._count(got)
        return None

    def _count(self, count: int) -> None:
        self.left -= count
        self.moved += count
        if count:
            self.events += 1
        if self.quota is not None:
            self.quota.left -= count


class ReframingPump:
    """Moves a body that is chunked, or ends with its connection, on at least one side: decodes it and frames it anew.
    Buffers at most REFRAME_BYTES and their framing.
    """

    __slots__ = (
        *("_bytes_max", "_chunked", "_decoder", "_finished", "_reader", "_lead", "_writer", "_reactor", "_quota_used"),
        *("events", "moved", "quota"),
    )

    def __init__(self, reactor: Reactor, reader: ChannelReader, writer: ChannelWriter, coding: tuple[Body, Body], lead: bytes) -> None:
        """`coding` is the framing of source and sink (CHUNKED or UNTIL_END); `lead` is the head before the body."""
        self._reactor = reactor
        self._reader = reader
        self._writer = writer
        self._decoder = ChunkDecoder() if coding[0] == CHUNKED else None
        self._chunked = coding[1] != UNTIL_END
        self._lead = lead
        self._finished = False
        self._quota_used = False
        self._bytes_max: int | None = None
        self.moved = 0
        """Payload bytes so far; grows with all progress."""
        self.events = 0
        """Reads that returned payload."""
        self.quota: Quota | None = None
        """Remaining quota; None: unlimited."""

    def limit(self, bytes_max: int | None) -> None:
        """Allow at most `bytes_max` of payload."""
        self._bytes_max = bytes_max

    @property
    def holds_head(self) -> bool:
        """True until the head has been sent."""
        return bool(self._lead)

    def run(self) -> PumpResult:
        """Move one turn's worth, or until source or sink is blocked.

        Raises:
            MessageError: the source's coding is wrong, or the body too large.
        """
        reader, writer, work = self._reader, self._writer, self._reactor.work
        enough = work.done + TURN_WORK
        try:
            while writer.pending is None or writer.flush():
                if self._finished:
                    return PumpResult.QUOTA_EXCEEDED if self._quota_used else PumpResult.FINISHED
                if work.done >= enough:
                    return PumpResult.TURN_USED_UP
                room = writer.channel.room()
                if not room:
                    break
                try:
                    view = reader.peek(REFRAME_BYTES if room >= REFRAME_BYTES else max(room, REFRAME_BYTES_MIN))
                except BrokenChannel:
                    return PumpResult.SOURCE_BROKE
                if view is not None:
                    self._reframe(view)
                elif reader.ended and self._decoder is None:
                    self._finish([])
                elif reader.ended:
                    return PumpResult.SOURCE_TRUNCATED
                else:
                    self._flush_lead()
                    return PumpResult.WAITS_FOR_SOURCE
        except BrokenChannel:
            return PumpResult.SINK_BROKE
        return PumpResult.WAITS_FOR_SINK

    def _reframe(self, view: memoryview) -> None:
        """Decode a piece and send it in the sink's framing."""
        data = bytes(view)
        work = len(data) + READ_WORK
        payload: list[bytes | memoryview]
        if self._decoder is None:
            payload, rest = [data], b""
        else:
            payload, rest = self._decoder.feed(data)
            work += self._decoder.work
        self._reactor.work.done += work
        self._reader.consume(len(data) - len(rest))
        self._send_payload(payload)

    def _send_payload(self, payload: list[bytes | memoryview]) -> None:
        """Send `payload` in the sink's framing."""
        if self.quota is not None:
            payload = self._apply_quota(self.quota, payload)
        count = sum(map(len, payload))
        self.moved += count
        if count:
            self.events += 1
        if self._bytes_max is not None and self.moved > self._bytes_max:
            raise MessageError(f"at most {self._bytes_max} bytes", "body_too_large")
        if self._decoder is not None and self._decoder.done and not self._quota_used:
            self._finish(payload)
        else:
            lead, self._lead = self._lead, b""
            data = b"".join((lead, encode_chunk(payload))) if self._chunked else b"".join((lead, *payload))
            if data:
                self._writer.write(data)

    def _apply_quota(self, quota: Quota, payload: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """Return the part of `payload` within the quota; if that is not all, the body ends here."""
        allowed: list[bytes | memoryview] = []
        for piece in payload:
            part = piece[: quota.left]
            if len(part) < len(piece):
                self._quota_used = self._finished = True
            quota.left -= len(part)
            allowed.append(part)
        return allowed

    def _finish(self, payload: list[bytes | memoryview]) -> None:
        """Send the last of the payload and the body's end."""
        self._finished = True
        lead, self._lead = self._lead, b""
        if self._chunked:
            end = encode_end() if self._decoder is None else encode_end(self._decoder.trailers)
            self._writer.write(b"".join((lead, encode_chunk(payload), end)))
        else:
            self._writer.write(b"".join((lead, *payload)))

    def _flush_lead(self) -> None:
        """Send the head alone, as nothing of the body has arrived."""
        lead, self._lead = self._lead, b""
        if lead:
            self._writer.write(lead)
