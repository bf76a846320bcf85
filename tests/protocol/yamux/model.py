"""A minimal model of yamux: the session under test must agree with it after every frame."""

from dataclasses import dataclass, field

from tests.kit.yamux_wire import ACK, DATA, FIN, GO_AWAY, INITIAL_WINDOW, PING, RST, SYN, Frame, data, go_away, ping, update

PROVEN = 1024 * 1024


class RuleBroken(Exception):
    """The peer broke a rule: the session must raise PeerError here."""


@dataclass
class ModelStream:
    """One stream, seen from this end."""

    may_send: int = INITIAL_WINDOW
    may_receive: int = INITIAL_WINDOW
    size: int = INITIAL_WINDOW
    unread: int = 0
    ungranted: int = 0
    moved: int = 0
    received: bytearray = field(default_factory=bytearray)
    local_ended: bool = False
    peer_ended: bool = False
    said_syn: bool = True


class Model:
    """A session as a table of streams. `out` is the expected output."""

    def __init__(self, *, client: bool, streams_max: int, accepts_max: int, unacknowledged_max: int, growth_max: int) -> None:
        """Start empty, with limits."""
        self.parity = 1 if client else 0
        self.streams_max, self.accepts_max, self.unacknowledged_max = streams_max, accepts_max, unacknowledged_max
        self.growth_left = growth_max
        self.next_id = 1 if client else 2
        self.live: dict[int, ModelStream] = {}
        self.unacknowledged: set[int] = set()
        self.no_opens = self.go_away_sent = False
        self.out: list[Frame] = []

    # The peer's doing.

    def receive(self, frame: Frame) -> None:
        """Take one frame."""
        if frame.version != 0 or frame.type > 3:
            raise RuleBroken
        if frame.type == PING:
            if frame.flags & SYN:
                self.out.append(ping(frame.length, ACK))
        elif frame.type == GO_AWAY:
            self.no_opens = True
            if frame.length:
                raise RuleBroken
        else:
            self._receive_on_stream(frame)

    def _receive_on_stream(self, frame: Frame) -> None:
        if frame.stream_id == 0:
            raise RuleBroken
        stream = self._accept(frame) if frame.flags & SYN else self.live.get(frame.stream_id)
        if stream is None:
            return
        if frame.flags & ACK and not frame.flags & SYN:
            self.unacknowledged.discard(frame.stream_id)
        self._receive_length(stream, frame)
        if frame.flags & RST:
            self._drop(frame.stream_id)
        elif frame.flags & FIN:
            if stream.peer_ended:
                raise RuleBroken
            stream.peer_ended = True
            if stream.local_ended:
                self._drop(frame.stream_id)

    def _receive_length(self, stream: ModelStream, frame: Frame) -> None:
        if frame.type == DATA:
            if frame.length > stream.may_receive or (frame.length and stream.peer_ended):
                raise RuleBroken
            stream.may_receive -= frame.length
            stream.unread += frame.length
            stream.received += frame.body
        else:
            if stream.may_send + frame.length > 2**32 - 1:
                raise RuleBroken
            stream.may_send += frame.length

    def _accept(self, frame: Frame) -> ModelStream | None:
        if frame.stream_id % 2 == self.parity or frame.stream_id in self.live:
            raise RuleBroken
        if frame.type == DATA and frame.length > INITIAL_WINDOW:
            raise RuleBroken
        accepted = sum(1 for stream_id in self.live if stream_id % 2 != self.parity)
        if self.go_away_sent or accepted >= self.accepts_max or len(self.live) >= self.streams_max:
            self.out.append(update(frame.stream_id, 0, RST))
            return None
        self.live[frame.stream_id] = ModelStream()
        self.out.append(update(frame.stream_id, 0, ACK))
        return self.live[frame.stream_id]

    def _drop(self, stream_id: int) -> None:
        stream = self.live.pop(stream_id)
        self.growth_left += stream.size - INITIAL_WINDOW
        self.unacknowledged.discard(stream_id)

    # Our own doing.

    @property
    def may_open(self) -> bool:
        """Whether a stream may be opened now."""
        room = len(self.live) < self.streams_max and len(self.unacknowledged) < self.unacknowledged_max
        return room and not self.no_opens and not self.go_away_sent

    def open(self, first: bytes) -> int:
        """Open a stream, with data in its first frame when there is some."""
        stream_id = self.next_id
        self.next_id += 2
        self.live[stream_id] = ModelStream(may_send=INITIAL_WINDOW - len(first))
        self.unacknowledged.add(stream_id)
        self.out.append(data(stream_id, first, SYN) if first else update(stream_id, 0, SYN))
        return stream_id

    def write(self, stream_id: int, body: bytes) -> None:
        """Send data within the window."""
        self.live[stream_id].may_send -= len(body)
        self.out.append(data(stream_id, body))

    def end(self, stream_id: int) -> None:
        """Send FIN, once."""
        stream = self.live[stream_id]
        if not stream.local_ended:
            stream.local_ended = True
            self.out.append(data(stream_id, b"", FIN))
            if stream.peer_ended:
                self._drop(stream_id)

    def reset(self, stream_id: int) -> None:
        """Send RST."""
        self.out.append(data(stream_id, b"", RST))
        self._drop(stream_id)

    def consume(self, stream_id: int, count: int) -> None:
        """Read, and grant credit from a quarter of the window on; the window grows to 1 MiB once that much was granted again."""
        stream = self.live[stream_id]
        stream.unread -= count
        stream.ungranted += count
        if 4 * stream.ungranted < stream.size or stream.peer_ended:
            return
        credit, stream.ungranted = stream.ungranted, 0
        stream.moved += credit
        if stream.moved >= PROVEN and stream.size < PROVEN:
            growth = min(PROVEN - stream.size, self.growth_left)
            stream.size += growth
            self.growth_left -= growth
            credit += growth
        stream.may_receive += credit
        self.out.append(update(stream_id, credit))

    def go_away(self) -> None:
        """Send GoAway, once."""
        if not self.go_away_sent:
            self.go_away_sent = True
            self.out.append(go_away(0))
