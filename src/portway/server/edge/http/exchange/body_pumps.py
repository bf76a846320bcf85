"""Bodies on their way: each pump moves one body from where it comes to where it goes, a helping a turn."""

from enum import IntEnum

from portway.engine.channel import HEADROOM_BYTES
from portway.engine.gate import Quota
from portway.engine.pumps import LARGE_READ_BYTES
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.errors import BrokenChannel
from portway.protocol.http1.chunked import ChunkDecoder, encode_chunk, encode_end
from portway.protocol.http1.errors import MessageError
from portway.protocol.http1.framing import CHUNKED, UNTIL_END, Body
from portway.protocol.work import READ_WORK, TURN_WORK
from portway.server.edge.http.buffers import ChannelReader, ChannelWriter

JOIN_BYTES_MAX = 16 * 1024
"""The beginning of a body that goes out together with its head, in one packet instead of two."""
CODED_BYTES = 64 * 1024
"""How much of a coded body is taken apart at a time: copied twice, and kept when the sink takes less."""
CODED_BYTES_LEAST = 1024
"""The least of it, however little room there is: each piece gets a chunk of its own."""


class PumpResult(IntEnum):
    """How a turn of a pump ended."""

    WAITS_FOR_SOURCE = 0
    WAITS_FOR_SINK = 1
    TURN_USED_UP = 2
    """More is there: run again after the others had their turn."""
    FINISHED = 3
    """The whole body is through, and out."""
    SOURCE_TRUNCATED = 4
    """The source ended, properly, before the body did."""
    SOURCE_BROKE = 5
    SINK_BROKE = 6
    QUOTA_EXCEEDED = 7
    """The quota is used up and out, and the body is longer."""


class SizedPump:
    """Moves exactly as many bytes as a Content-Length says, behind a head.

    Bytes that the sink does not take stay in a source that lends; of another source they are kept, at most a helping.
    """

    __slots__ = ("_inlet", "_lead", "_outlet", "_reactor", "events", "left", "moved", "quota")

    def __init__(self, reactor: Reactor, inlet: ChannelReader, outlet: ChannelWriter, length: int, lead: bytes) -> None:
        """`lead` is the head: it goes out with the first run, together with what is there of the body."""
        self._reactor = reactor
        self._inlet = inlet
        self._outlet = outlet
        self._lead = lead
        self.left = length
        self.moved = 0
        """Payload bytes so far: grows at every progress."""
        self.events = 0
        """Reads that brought some."""
        self.quota: Quota | None = None
        """What may still pass, where that is limited."""

    @property
    def holds_head(self) -> bool:
        """True until the head has gone out."""
        return bool(self._lead)

    def run(self) -> PumpResult:
        """Move a helping, or until source or sink has to wait."""
        outlet = self._outlet
        reads, moved = 0, self.moved
        try:
            while outlet.rest is None or outlet.flush():
                if self._lead:
                    self._begin()
                    continue
                if not self.left:
                    return PumpResult.FINISHED
                if self.moved - moved + reads * READ_WORK >= TURN_WORK:
                    self._reactor.work.done += TURN_WORK
                    return PumpResult.TURN_USED_UP
                room = outlet.channel.room()
                if not room:
                    break
                count = min(room, self.left, TURN_BYTES)
                if self.quota is not None and count > self.quota.left:
                    count = self.quota.left
                    if not count:
                        return PumpResult.QUOTA_EXCEEDED
                reads += 1
                flow = self._copy(count) if self._inlet.direct else self._lend(count)
                if flow is not None:
                    return flow
        except BrokenChannel:
            return PumpResult.SINK_BROKE
        return PumpResult.WAITS_FOR_SINK

    def _begin(self) -> None:
        """Send the head, and with it what there is of the body's beginning."""
        inlet, lead = self._inlet, self._lead
        self._lead = b""
        limit = min(self.left, JOIN_BYTES_MAX if self.quota is None else min(JOIN_BYTES_MAX, self.quota.left))
        try:
            view = inlet.view(limit) if limit and (inlet.held or inlet.channel.readable) else None
        except BrokenChannel:
            view = None  # met again as soon as the head is out
        if view is not None:
            count = len(view)
            lead = b"".join((lead, view))
            inlet.used(count)
            self._count(count)
        self._outlet.write(lead)

    def _lend(self, count: int) -> PumpResult | None:
        """Send what the source lends; return None to go on."""
        inlet = self._inlet
        try:
            view = inlet.view(count)
        except BrokenChannel:
            return PumpResult.SOURCE_BROKE
        if view is None:
            return PumpResult.SOURCE_TRUNCATED if inlet.ended else PumpResult.WAITS_FOR_SOURCE
        sent = 0
        try:
            sent = self._outlet.channel.send(view)
        finally:
            inlet.used(sent)
        self._count(sent)
        return None

    def _copy(self, count: int) -> PumpResult | None:
        """Read from the source into the reactor's scratch and send from there, behind its headroom where that saves a
        copy; keep what was not taken. Return None to go on.
        """
        sink, scratch = self._outlet.channel, self._reactor.scratch
        try:
            got = self._inlet.channel.recv_into(self._reactor.scratch_body[:count])
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
            self._outlet.rest = memoryview(bytes(scratch[HEADROOM_BYTES + sent : end]))
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
    """Moves a body that is chunked, or ends with its connection, at one side at least; takes it apart and puts it
    together anew. Keeps at most CODED_BYTES and their framing that the sink has not taken.
    """

    __slots__ = (
        *("_bytes_max", "_chunked", "_decoder", "_finished", "_inlet", "_lead", "_outlet", "_reactor", "_spent"),
        *("events", "moved", "quota"),
    )

    def __init__(self, reactor: Reactor, inlet: ChannelReader, outlet: ChannelWriter, coding: tuple[Body, Body], lead: bytes) -> None:
        """`coding` is how the body comes and how it goes (CHUNKED or UNTIL_END); `lead` is the head before it."""
        self._reactor = reactor
        self._inlet = inlet
        self._outlet = outlet
        self._decoder = ChunkDecoder() if coding[0] == CHUNKED else None
        self._chunked = coding[1] != UNTIL_END
        self._lead = lead
        self._finished = False
        self._spent = False
        self._bytes_max: int | None = None
        self.moved = 0
        """Payload bytes so far: grows at every progress."""
        self.events = 0
        """Reads that brought some."""
        self.quota: Quota | None = None
        """What may still pass, where that is limited."""

    def limit(self, bytes_max: int | None) -> None:
        """Let no more than `bytes_max` of payload through."""
        self._bytes_max = bytes_max

    @property
    def holds_head(self) -> bool:
        """True until the head has gone out."""
        return bool(self._lead)

    def run(self) -> PumpResult:
        """Move a helping, or until source or sink has to wait.

        Raises:
            MessageError: the source's coding is wrong, or the body too large.
        """
        inlet, outlet, work = self._inlet, self._outlet, self._reactor.work
        enough = work.done + TURN_WORK
        try:
            while outlet.rest is None or outlet.flush():
                if self._finished:
                    return PumpResult.QUOTA_EXCEEDED if self._spent else PumpResult.FINISHED
                if work.done >= enough:
                    return PumpResult.TURN_USED_UP
                room = outlet.channel.room()
                if not room:
                    break
                try:
                    view = inlet.view(CODED_BYTES if room >= CODED_BYTES else max(room, CODED_BYTES_LEAST))
                except BrokenChannel:
                    return PumpResult.SOURCE_BROKE
                if view is not None:
                    self._recode(view)
                elif inlet.ended and self._decoder is None:
                    self._finish([])
                elif inlet.ended:
                    return PumpResult.SOURCE_TRUNCATED
                else:
                    self._flush_lead()
                    return PumpResult.WAITS_FOR_SOURCE
        except BrokenChannel:
            return PumpResult.SINK_BROKE
        return PumpResult.WAITS_FOR_SINK

    def _recode(self, view: memoryview) -> None:
        """Take a piece apart and send it on."""
        data = bytes(view)
        work = len(data) + READ_WORK
        payload: list[bytes | memoryview]
        if self._decoder is None:
            payload, rest = [data], b""
        else:
            payload, rest = self._decoder.feed(data)
            work += self._decoder.work
        self._reactor.work.done += work
        self._inlet.used(len(data) - len(rest))
        self._pass_on(payload)

    def _pass_on(self, payload: list[bytes | memoryview]) -> None:
        """Send `payload` in the sink's framing."""
        if self.quota is not None:
            payload = self._within(self.quota, payload)
        count = sum(map(len, payload))
        self.moved += count
        if count:
            self.events += 1
        if self._bytes_max is not None and self.moved > self._bytes_max:
            raise MessageError(f"at most {self._bytes_max} bytes", "body_too_large")
        if self._decoder is not None and self._decoder.done and not self._spent:
            self._finish(payload)
        else:
            lead, self._lead = self._lead, b""
            data = b"".join((lead, encode_chunk(payload))) if self._chunked else b"".join((lead, *payload))
            if data:
                self._outlet.write(data)

    def _within(self, quota: Quota, payload: list[bytes | memoryview]) -> list[bytes | memoryview]:
        """Return what of `payload` may still pass; what is too much of it ends the body here."""
        passing: list[bytes | memoryview] = []
        for piece in payload:
            part = piece[: quota.left]
            if len(part) < len(piece):
                self._spent = self._finished = True
            quota.left -= len(part)
            passing.append(part)
        return passing

    def _finish(self, payload: list[bytes | memoryview]) -> None:
        """Send the last of the payload and the body's end."""
        self._finished = True
        lead, self._lead = self._lead, b""
        if self._chunked:
            end = encode_end() if self._decoder is None else encode_end(self._decoder.trailers)
            self._outlet.write(b"".join((lead, encode_chunk(payload), end)))
        else:
            self._outlet.write(b"".join((lead, *payload)))

    def _flush_lead(self) -> None:
        """Send the head alone: of the body nothing is there yet."""
        lead, self._lead = self._lead, b""
        if lead:
            self._outlet.write(lead)
