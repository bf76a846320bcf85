"""A yamux session without I/O: bytes in, calls on streams, bytes out.

Source: hashicorp/yamux spec.md; the actual behaviour of peers is in its session.go and in rust-yamux.
"""

from collections.abc import Callable

from portway.errors import MisuseError, PeerError, UnavailableError
from portway.protocol.work import DATA_FRAME_WORK, JOINED_FRAME_WORK, OTHER_FRAME_WORK, WAKING_FRAME_WORK, Work
from portway.protocol.yamux.frame import (
    ACK,
    DATA,
    FIN,
    GO_AWAY,
    GO_AWAY_NORMAL,
    GO_AWAY_PROTOCOL_ERROR,
    HEADER,
    HEADER_BYTES,
    INITIAL_WINDOW_BYTES,
    PING,
    RST,
    SWITCHED,
    SYN,
    UNTOUCHED,
    WINDOW_UPDATE,
    encode,
)
from portway.protocol.yamux.limits import YamuxLimits
from portway.protocol.yamux.meter import Meter
from portway.protocol.yamux.stream import Stream
from portway.protocol.yamux.window import WINDOW_BYTES_MAX, GrowthBudget

TINY_BYTES = 64
"""Data frames up to this size are joined with the following ones of the same stream, because a system call dominates their cost."""
WORK_MAX = 2**62
"""No limit."""
STREAM_ID_LAST = 2**32 - 3
"""The last id; ids are never reused, so a link that has used it up must be replaced."""
SPARE_IDS = 2**28
"""Number of ids before the last one at which the peer is asked, by GoAway 0, to replace the session: 134 million streams take 45
minutes at the highest accepted rate, enough for several failed dials."""


def ignore(*_news: object) -> None:
    """Do nothing: the callback of a lost session."""


class Session:
    """Both roles of yamux.

    `receive` passes frames to streams as it decodes them; output for the peer is appended to `out`, which the owner
    sends and clears. `on_output` is called before `out` gets its first byte.
    """

    def __init__(  # noqa: PLR0913 - the role, the limits, and four callbacks
        self,
        *,
        client: bool,
        limits: YamuxLimits,
        make_stream: "Callable[[Session, int], Stream]",
        on_accept: Callable[[Stream], None],
        on_pong: Callable[[int], None],
        on_output: Callable[[], None],
        growth: GrowthBudget | None = None,
    ) -> None:
        """Start as yamux client (odd ids) or server (even ids).

        `make_stream` creates streams of the owner's class, `on_accept` gets those that the peer opens (refuse with
        `reset`), `on_pong` the value of each pong.
        """
        self.limits = limits
        self.streams: dict[int, Stream] = {}
        self.out = bytearray()
        self.on_output = on_output
        self.growth = growth or GrowthBudget(limits.growth_bytes_max)
        self.rtt_s: float | None = None
        """Lowest recent round trip, set by the owner; determines window sizes."""
        self.going_away = False
        """True once the peer has sent GoAway, or the session is lost: no stream can be opened."""
        self._make_stream = make_stream
        self._on_accept = on_accept
        self._on_pong = on_pong
        self._parity = 1 if client else 0
        self._next_id = 1 if client else 2
        self._id_mark = STREAM_ID_LAST - SPARE_IDS
        """The id after which GoAway is sent, then the last id."""
        self._peer_id = 0
        self._accepted = 0
        self._unacknowledged: set[int] = set()
        self._go_away_sent = False
        self._opens = Meter("streams opened", limits.opens_per_s_max)
        self._resets = Meter("resets", limits.resets_per_s_max)
        self._pings = Meter("pings", limits.pings_per_s_max)
        self._empties = Meter("frames that do nothing", limits.empties_per_s_max)
        self._strays = Meter("frames of unknown streams", limits.strays_per_s_max)
        self._partial = bytearray()
        self.body_left = 0
        """Bytes of the current frame that have not arrived yet."""
        self._body_stream: Stream | None = None
        self._body_flags = 0
        self._now = 0.0
        self._work = Work()

    @property
    def can_open(self) -> bool:
        """True while `open` would succeed."""
        return (
            not (self.going_away or self._go_away_sent)
            and len(self.streams) < self.limits.streams_max
            and len(self._unacknowledged) < self.limits.unacknowledged_max
            and not self.ids_exhausted
        )

    @property
    def ids_exhausted(self) -> bool:
        """True once no id is left for a new stream."""
        return self._next_id > STREAM_ID_LAST

    @property
    def expiring(self) -> bool:
        """True once few ids are left for either end, or the peer has sent GoAway: the session must be replaced."""
        return self.going_away or max(self._next_id, self._peer_id) > STREAM_ID_LAST - SPARE_IDS

    def receive(self, data: memoryview, now: float, work: Work | None = None, work_max: int = WORK_MAX) -> int:
        """Process bytes from the peer, cut anywhere, and return how many: all, unless `work` reaches `work_max` first.

        The cost of frames is added to `work`, by this session and by its callbacks. `now` is monotonic seconds.

        Raises:
            PeerError: the peer violated the protocol; report it with `protocol_error`, and close the link.
        """
        self._now = now
        if work is None:
            work = self._work
        else:
            self._work = work
        at, end = self._resume(data) if self.body_left or self._partial else 0, len(data)
        unpack, streams = HEADER.unpack_from, self.streams
        tiny: Stream | None = None
        while work.done < work_max:
            if end - at < HEADER_BYTES:
                break
            header = unpack(data, at)
            at += HEADER_BYTES
            version, kind, flags, stream_id, length = header
            stop = at + length
            # Fast path for nearly all bytes: complete plain Data of a known stream. `_frame` handles everything else.
            if not (version or kind or flags) and length and stop <= end and (stream := streams.get(stream_id)) is not None:
                if stream.peer_ended:
                    raise PeerError(f"yamux: data on stream {stream_id} after its end")
                work.done += DATA_FRAME_WORK
                if length <= TINY_BYTES:
                    if stream is tiny:  # the second one in a row: more may follow
                        at = self._join(stream, length, data, at, work_max)
                        continue
                    tiny = stream
                stream.receive_window.arrived(length)
                stream.deliver(data[at:stop])
                at = stop
            else:
                work.done += OTHER_FRAME_WORK
                at = self._frame(header, data, at)
        else:
            return at
        if at < end:
            self._partial += data[at:]
        return end

    def open(self) -> Stream:
        """Return a new stream; SYN is sent with its first frame (`announce` sends one without data).

        Raises:
            UnavailableError: the session is going away or full, or too many opened streams are unacknowledged.
        """
        if self.going_away or self._go_away_sent:
            raise UnavailableError("the link is going away")
        if len(self.streams) >= self.limits.streams_max:
            raise UnavailableError(f"the link already carries {self.limits.streams_max} streams")
        if len(self._unacknowledged) >= self.limits.unacknowledged_max:
            raise UnavailableError(f"{self.limits.unacknowledged_max} opened streams are not acknowledged yet")
        if self._next_id > self._id_mark:
            self._pass_id_mark()
        stream = self._make_stream(self, self._next_id)
        stream.mark_new()
        self.streams[self._next_id] = stream
        self._unacknowledged.add(self._next_id)
        self._next_id += 2
        return stream

    def _pass_id_mark(self) -> None:
        if self.ids_exhausted:
            raise UnavailableError("the link has no stream ids left")
        self._id_mark = STREAM_ID_LAST
        self.drain()

    def ping(self, value: int) -> None:
        """Send a ping with `value` (u32)."""
        self._send(PING, SYN, 0, value)

    def go_away(self, code: int = GO_AWAY_NORMAL) -> None:
        """Send GoAway: further streams from the peer are reset."""
        if not self._go_away_sent:
            self._go_away_sent = True
            self._send(GO_AWAY, 0, 0, code)

    def drain(self) -> None:
        """Send GoAway, but accept the streams that the peer opens before it receives that."""
        if not self._go_away_sent:
            self._send(GO_AWAY, 0, 0, GO_AWAY_NORMAL)

    def protocol_error(self) -> None:
        """Report a protocol error to the peer, before the link is closed."""
        self._go_away_sent = False
        self.go_away(GO_AWAY_PROTOCOL_ERROR)

    def forget(self, stream: Stream) -> None:
        """Remove a stream that has ended; called by the stream itself."""
        if self.streams.pop(stream.stream_id, None) is None:
            raise MisuseError(f"stream {stream.stream_id} is not of this session")
        stream.gone = True
        stream.receive_window.release()
        self._unacknowledged.discard(stream.stream_id)
        if stream.stream_id % 2 != self._parity:
            self._accepted -= 1

    def lose(self) -> None:
        """Reset all streams and drop all callbacks: the link is lost."""
        self.going_away = self._go_away_sent = True
        self._body_stream = None
        self._make_stream, self._on_accept, self._on_pong, self.on_output = Stream, ignore, ignore, ignore
        for stream in list(self.streams.values()):
            if not stream.gone:
                self.forget(stream)
                stream.on_reset()

    def _join(self, stream: Stream, length: int, data: memoryview, at: int, work_max: int) -> int:
        """Deliver a tiny frame, whose `length` bytes begin at `at`, in one piece with the following tiny ones of the same stream;
        return where the next frame starts.
        """
        work, end, unpack = self._work, len(data), HEADER.unpack_from
        pieces = [data[at : at + length]]
        at += length
        while end - at > HEADER_BYTES and work.done < work_max:
            version, kind, flags, stream_id, more = unpack(data, at)
            stop = at + HEADER_BYTES + more
            if version or kind or flags or stream_id != stream.stream_id or not 0 < more <= TINY_BYTES or stop > end:
                break
            pieces.append(data[at + HEADER_BYTES : stop])
            length += more
            at = stop
            work.done += JOINED_FRAME_WORK
        stream.receive_window.arrived(length)
        stream.deliver(pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces)))
        return at

    def _frame(self, header: tuple[int, int, int, int, int], data: memoryview, at: int) -> int:
        """Process one frame whose header ends at `at`; return where the next one starts."""
        version, kind, flags, stream_id, length = header
        if version:
            raise PeerError(f"yamux: version {version}, expected 0")
        if kind == DATA or kind == WINDOW_UPDATE:
            if not stream_id:
                raise PeerError(f"yamux: type {kind} on stream 0, which is reserved for the session")
            stream = self._stream_of(kind, flags, stream_id, length)
            if kind == DATA:
                return self._start_body(stream, flags, length, data, at)
            if stream is not None:
                if not stream.send_window:
                    self._work.done += WAKING_FRAME_WORK
                if flags & SWITCHED:
                    stream.switched = True
                stream.credit(length)
                self._finish_frame(stream, flags)
        elif kind == PING:
            self._take_ping(flags, length)
        elif kind == GO_AWAY:
            self._take_go_away(length)
        else:
            raise PeerError(f"yamux: unknown type {kind}")
        return at

    def _stream_of(self, kind: int, flags: int, stream_id: int, length: int) -> Stream | None:
        if flags & SYN:
            return self._accept(stream_id, length if kind == DATA else 0)
        stream = self.streams.get(stream_id)
        if stream is None:
            # Late frames of a stream that was reset here are allowed, up to a rate.
            self._strays.count(self._now)
        elif flags & ACK:
            self._unacknowledged.discard(stream_id)
        elif not length and not flags & (FIN | RST):
            self._empties.count(self._now)
        return stream

    def _accept(self, stream_id: int, body_bytes: int) -> Stream | None:
        self._opens.count(self._now)
        if stream_id % 2 == self._parity:
            raise PeerError(f"yamux: the peer opened stream {stream_id}, an id of this end")
        if stream_id in self.streams:
            raise PeerError(f"yamux: stream {stream_id} is open already")
        if body_bytes > INITIAL_WINDOW_BYTES:
            raise PeerError(f"yamux: {body_bytes} bytes sent into a window of {INITIAL_WINDOW_BYTES}")
        if self._go_away_sent or self._accepted >= self.limits.accepts_max or len(self.streams) >= self.limits.streams_max:
            self._send(WINDOW_UPDATE, RST, stream_id, 0)
            return None
        stream = self._make_stream(self, stream_id)
        self.streams[stream_id] = stream
        self._accepted += 1
        self._peer_id = stream_id
        # At once, independent of the application: hashicorp/yamux closes the session after 75 s without it.
        stream.announce(opened_here=False)
        self._on_accept(stream)
        return None if stream.gone else stream

    def _start_body(self, stream: Stream | None, flags: int, length: int, data: memoryview, at: int) -> int:
        if stream is None:
            if length > WINDOW_BYTES_MAX:
                raise PeerError(f"yamux: body of {length} bytes for an unknown stream, at most {WINDOW_BYTES_MAX}")
        else:
            if length and stream.peer_ended:
                raise PeerError(f"yamux: data on stream {stream.stream_id} after its end")
            stream.receive_window.arrived(length)
        if length:
            self._body_stream = stream
            self.body_left = length
            self._body_flags = flags
            if stream is not None:
                self._work.done += DATA_FRAME_WORK
            return self._continue_body(data, at)
        if stream is not None:
            self._finish_frame(stream, flags)
        return at

    def _resume(self, data: memoryview) -> int:
        """Continue a frame that was received in part: its body, or its header and body; return where the next one starts."""
        at = self._continue_body(data, 0) if self.body_left else 0
        if not self._partial:
            return at
        taken = min(HEADER_BYTES - len(self._partial), len(data) - at)
        self._partial += data[at : at + taken]
        at += taken
        if len(self._partial) < HEADER_BYTES:
            return at
        header = HEADER.unpack(self._partial)
        self._partial.clear()
        return self._frame(header, data, at)

    def _continue_body(self, data: memoryview, at: int) -> int:
        taken = min(self.body_left, len(data) - at)
        self.body_left -= taken
        stream = self._body_stream
        if stream is not None and taken and not stream.gone:
            stream.deliver(data[at : at + taken])
        if not self.body_left:
            self._body_stream = None
            if stream is not None:
                self._finish_frame(stream, self._body_flags)
        return at + taken

    def _finish_frame(self, stream: Stream, flags: int) -> None:
        if stream.gone or not flags & (FIN | RST):
            return
        self._work.done += WAKING_FRAME_WORK
        if flags & UNTOUCHED:
            stream.untouched = True
        if flags & RST:
            self._resets.count(self._now)
            self.forget(stream)
            stream.on_reset()
            return
        if stream.peer_ended:
            raise PeerError(f"yamux: stream {stream.stream_id} ended twice")
        stream.peer_ended = True
        if stream.local_ended:
            self.forget(stream)
        stream.on_peer_fin()

    def _take_ping(self, flags: int, value: int) -> None:
        self._pings.count(self._now)
        if flags & SYN:
            self._send(PING, ACK, 0, value)
        elif flags & ACK:
            self._on_pong(value)

    def _take_go_away(self, code: int) -> None:
        self.going_away = True
        if code != GO_AWAY_NORMAL:
            reason = "a protocol error" if code == GO_AWAY_PROTOCOL_ERROR else f"an internal error (code {code})"
            raise PeerError(f"yamux: the peer ended the session because of {reason}")

    def _send(self, kind: int, flags: int, stream_id: int, length: int) -> None:
        if not self.out:
            self.on_output()
        self.out += encode(0, kind, flags, stream_id, length)
