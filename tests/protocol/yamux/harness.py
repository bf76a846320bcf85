"""A session with recording streams, without I/O."""

from portway.errors import PeerError
from portway.protocol.yamux.limits import YamuxLimits
from portway.protocol.yamux.session import Session
from portway.protocol.yamux.stream import Stream
from tests.kit.yamux_wire import Frame, all_frames


class RecordingStream(Stream):
    """Records all callbacks."""

    __slots__ = ("credits", "ended", "received", "resets", "unread")

    def __init__(self, session: Session, stream_id: int) -> None:
        super().__init__(session, stream_id)
        self.received = bytearray()
        self.unread = 0
        self.credits = 0
        self.ended = 0
        self.resets = 0

    def deliver(self, view: memoryview) -> None:
        assert len(view) > 0
        assert not self.ended
        self.received += view
        self.unread += len(view)

    def on_credit(self) -> None:
        self.credits += 1

    def on_peer_fin(self) -> None:
        self.ended += 1

    def on_reset(self) -> None:
        self.resets += 1

    def consume(self, count: int, now: float) -> None:
        """Read as an application does."""
        self.unread -= count
        if self.receive_window.consumed(count):
            self.grant(now)


class SessionHarness:
    """Runs a session without I/O: `receive` frames, then check `take_output`."""

    def __init__(self, *, client: bool = True, limits: YamuxLimits | None = None) -> None:
        self.accepted: list[RecordingStream] = []
        self.refuse = False
        self.pongs: list[int] = []
        self.output_calls = 0
        self.now = 0.0
        self.session = Session(
            client=client,
            limits=limits or YamuxLimits(),
            make_stream=RecordingStream,
            on_accept=self._accept,
            on_pong=self.pongs.append,
            on_output=self._on_output,
        )

    def _accept(self, stream: Stream) -> None:
        assert isinstance(stream, RecordingStream)
        if self.refuse:
            stream.reset()
        else:
            self.accepted.append(stream)

    def _on_output(self) -> None:
        assert not self.session.out, "called although there is output already"
        self.output_calls += 1

    def receive(self, *frames: Frame) -> None:
        """Receive whole frames in one piece."""
        self.receive_bytes(b"".join(frame.wire for frame in frames))

    def receive_bytes(self, wire: bytes) -> None:
        """Receive bytes."""
        self.session.receive(memoryview(wire), self.now)

    def violation(self, *frames: Frame) -> str | None:
        """Receive frames; return what rule they broke, or None."""
        try:
            self.receive(*frames)
        except PeerError as error:
            return str(error)
        return None

    def take_output(self) -> list[Frame]:
        """Return the pending output frames, and clear the output."""
        frames = all_frames(self.session.out)
        self.session.out.clear()
        return frames

    def open(self) -> RecordingStream:
        """Open a stream and announce it."""
        stream = self.session.open()
        assert isinstance(stream, RecordingStream)
        stream.announce(opened_here=True)
        return stream

    def stream(self, stream_id: int) -> RecordingStream:
        """Return a live stream."""
        stream = self.session.streams[stream_id]
        assert isinstance(stream, RecordingStream)
        return stream
