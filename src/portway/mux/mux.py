"""A yamux session on a link: decodes in place, coalesces output, and checks that the peer is alive."""

import logging
from collections.abc import Callable
from typing import cast

from portway.clock import Clock, monotonic
from portway.engine.accounts import Account
from portway.engine.channel import Channel
from portway.engine.poller import CallLater
from portway.engine.reactor import Reactor
from portway.errors import BrokenChannel, PeerError, UnavailableError
from portway.mux.buffer_budget import SessionBufferBudget
from portway.mux.link_watchdog import LinkWatchdog
from portway.mux.mux_channel import FAILED, MuxChannel
from portway.mux.settings import (
    EARLY_FLUSH_BYTES,
    FRAME_BYTES_ALONE,
    FRAME_BYTES_SHARED,
    SHARED_FOR_S,
    SMALL_OUT_BYTES_MAX,
    MuxSettings,
)
from portway.mux.waiting import STREAMS_A_TURN, WaitingStreams
from portway.protocol.work import READ_WORK, TURN_WORK
from portway.protocol.yamux.session import Session, ignore
from portway.protocol.yamux.stream import Stream
from portway.protocol.yamux.window import GrowthBudget

OUT_BYTES_MAX = 1024 * 1024
"""Output beyond which the link is not read: every received frame may cause a reply (threats Y1)."""
LARGE_BYTES = 16 * 1024
"""Remainder of a frame that is read separately, so that the next frame is not cut and its sink gets one send instead of two."""
BYTES_IN_MAX = 2**62
"""No limit, for peers that have logged in."""

log = logging.getLogger("portway.mux")


class Mux:
    """Streams over one link, until the link is lost.

    `on_stream` gets each stream that the peer opens; `on_lost` is called once, after all streams broke, with the reason as
    text. All output of a round is sent with one `send` at its end: a flush is registered with the reactor when the first
    byte of output appears.
    """

    def __init__(  # noqa: PLR0913 - a link, its role, callbacks, and what a session's links share
        self,
        reactor: Reactor,
        link: Channel,
        *,
        client: bool,
        settings: MuxSettings | None = None,
        on_stream: Callable[[MuxChannel], None],
        on_lost: Callable[[str], None],
        growth: GrowthBudget | None = None,
        buffers: SessionBufferBudget | None = None,
        account: Account | None = None,
        clock: Clock = monotonic,
    ) -> None:
        """Own `link` from now on. `growth` and `buffers` are shared by the links of a session; `account` is charged for the link's work."""
        settings = settings or MuxSettings()
        self._reactor = reactor
        self._link = link
        self.account = account or link.account or reactor.authenticated.child(tenant=True)
        self._on_stream = on_stream
        self._on_lost = on_lost
        self.precise_now = clock
        self.call_later: CallLater = reactor.call_later
        self.buffers = buffers or SessionBufferBudget(settings.buffered_bytes_max, settings.process_budget)
        self.yamux = Session(
            client=client,
            limits=settings.limits,
            make_stream=self._make_stream,
            on_accept=self._accept,
            on_pong=self._on_pong,
            on_output=self._ask_for_flush,
            growth=growth,
        )
        self.blocked = False
        """True while the link accepts nothing; streams wait, or small frames are queued."""
        self.frame_bytes = FRAME_BYTES_ALONE
        """The current maximum of a bulk frame."""
        self.lost = False
        self.offended = False
        """True once the peer violated the protocol or a limit."""
        self.bytes_in = 0
        """Plaintext bytes received on the link, headers included."""
        self.bytes_out = 0
        """Plaintext bytes sent on the link, headers included."""
        self._bytes_in_max = settings.bytes_before_login or BYTES_IN_MAX
        self._unsent: memoryview | None = None
        self._undecoded: memoryview | None = None
        self._queued = self._reading_paused = False
        self._waiting = WaitingStreams()
        self._bulk_sender: MuxChannel | None = None
        self._shared_until = 0.0
        self._watchdog = LinkWatchdog(reactor, self.yamux, settings.heartbeat, clock, self._fail)
        self._heartbeat = self._watchdog.heartbeat
        link.on_readable = self._read
        link.on_writable = self._unblock
        link.on_broken = self._read
        reactor.call_soon(self._start)

    def __repr__(self) -> str:
        return f"<Mux of {self._link!r} streams={len(self.yamux.streams)}{' lost' if self.lost else ''}>"

    @property
    def streams_open(self) -> int:
        """Number of open streams, opened by either end."""
        return len(self.yamux.streams)

    @property
    def rtt_s(self) -> float | None:
        """The lowest round trip of the last 30 s in seconds, None before the first pong."""
        return self.yamux.rtt_s

    @property
    def received_at(self) -> float:
        """Time of the last byte from the peer, in monotonic seconds."""
        return self._heartbeat.received_at

    @property
    def waiting_bytes(self) -> int:
        """Bytes waiting to be sent on the link, encrypted or not."""
        return len(self.yamux.out) + (0 if self._unsent is None else len(self._unsent)) + self._link.waiting_bytes()

    def open(self, first: bytes = b"") -> MuxChannel:
        """Open a stream; SYN is sent with `first` (at most 16 KiB), at the end of the round.

        Raises:
            UnavailableError: the link is lost, going away or full.
        """
        if self.lost:
            raise UnavailableError("the link is lost")
        stream = cast("MuxChannel", self.yamux.open())  # `_make_stream` makes no others
        if first:
            stream.write(first)
        else:
            stream.announce(opened_here=True)
        return stream

    def ping(self, on_pong: Callable[[float], None]) -> None:
        """Send a ping; `on_pong` gets the round trip in seconds if the peer replies."""
        self._watchdog.ping(on_pong)

    def admit(self, account: Account) -> None:
        """Lift the limit for peers that have not logged in, and charge `account` from now on."""
        self.account = account
        self._bytes_in_max = BYTES_IN_MAX

    def share_budgets(self, first: "Mux") -> None:
        """Use the buffer budget of another link of the session, and its growth budget from the next stream on."""
        own, self.buffers = self.buffers, first.buffers
        own.transfer_to(first.buffers)
        self.yamux.growth = first.yamux.growth

    def go_away(self) -> None:
        """Ask the peer to open no more streams; open ones continue."""
        self.yamux.go_away()

    def close(self, reason: str) -> None:
        """Send GoAway and pending output if the link accepts it, break all streams, and close the link."""
        if not self.lost:
            self.yamux.go_away()
            self._end(reason)

    def abort(self, reason: str = "internal error") -> None:
        """Break the link at once."""
        if not self.lost:
            self._link.abort()
            self._end(reason)

    # Called by streams.

    def has_room_for_small(self) -> bool:
        """Return whether a small frame may be queued while the link is blocked."""
        return len(self.yamux.out) < SMALL_OUT_BYTES_MAX

    def wait(self, stream: MuxChannel) -> None:
        """Queue `stream` for `on_writable`, once the link accepts bytes again."""
        self._waiting.add(stream)

    def small_frame_sent(self, stream: MuxChannel) -> None:
        """Flush if enough small frames are queued, and shorten the bulk frames of other streams, which delay small ones."""
        if len(self.yamux.out) > EARLY_FLUSH_BYTES and not self.blocked:
            try:
                self._send_out()
            except BrokenChannel as exc:
                self._fail_soon(exc)
        if stream is not self._bulk_sender:
            self._shared_until = self._reactor.now + SHARED_FOR_S
            self.frame_bytes = FRAME_BYTES_SHARED

    def bulk_frame_sent(self, stream: MuxChannel) -> None:
        """Make bulk frames long again if no other stream has sent small ones for a while."""
        self._bulk_sender = stream
        if self.frame_bytes == FRAME_BYTES_SHARED and self._reactor.now > self._shared_until:
            self.frame_bytes = FRAME_BYTES_ALONE

    def send_frame(self, frame: memoryview) -> None:
        """Send a large frame at once, after the queued small ones. The link must not be blocked."""
        out = self.yamux.out
        try:
            if out and not self._send_out():
                out += frame
                return
            sent = self._link.send(frame)
        except BrokenChannel as exc:
            self._fail_soon(exc)
            raise
        self.bytes_out += len(frame)
        if sent < len(frame):
            self._unsent = memoryview(bytes(frame[sent:]))
            self.blocked = True
        elif not self._link.room():
            self.blocked = True

    # Events of the link.

    def _start(self) -> None:
        self._watchdog.beat()
        self._read()

    def _read(self) -> None:
        """Decode for one turn, unless one is already queued; queue it while other turns of this tenant wait."""
        if self.lost or self._queued:
            return
        self._reactor.run_or_queue(self.account, self._decode_turn, self._queue_turn)

    def _decode_turn(self) -> None:
        """Read and decode for one turn, or until the link has no more data or must wait for its output."""
        link, yamux, scratch, work = self._link, self.yamux, self._reactor.link_scratch, self._reactor.work
        work_max = work.done + TURN_WORK
        try:
            while work.done < work_max:
                if not link.readable and self._undecoded is None:
                    return
                if self.blocked and len(yamux.out) > OUT_BYTES_MAX:
                    self._reading_paused = True
                    return
                data, self._undecoded = self._undecoded, None
                if data is None:
                    count = link.recv_into(scratch if yamux.body_left < LARGE_BYTES else scratch[: yamux.body_left])
                    if count <= 0:
                        if count == 0:
                            self._fail("the other end closed the link")
                        return
                    work.done += READ_WORK
                    self.bytes_in += count
                    self._heartbeat.received_at = self._reactor.now
                    data = scratch[:count]
                taken = yamux.receive(data, self._reactor.now, work, work_max)
                if self.lost:
                    return
                if self.bytes_in > self._bytes_in_max:
                    raise PeerError(f"{self.bytes_in} bytes before the login, at most {self._bytes_in_max} are accepted")
                work.done += taken
                if taken < len(data):
                    rest = data[taken:]
                    self._undecoded = rest if rest.readonly else memoryview(bytes(rest))
                    break
        except PeerError as exc:
            self.offended = True
            self.yamux.protocol_error()
            self._end(str(exc))
        except BrokenChannel as exc:
            self._fail(f"the link broke: {exc}")
        else:
            self._queue_turn()

    def _queue_turn(self) -> None:
        if not self._queued:
            self._queued = True
            self._reactor.call_soon_charged(self.account, self._take_turn)

    def _take_turn(self) -> None:
        self._queued = False
        if not self.lost:
            self._decode_turn()

    def _unblock(self) -> None:
        if self.lost:
            return
        self.blocked = False
        self._flush()
        if self.blocked or self.lost:
            return
        if self._reading_paused:
            self._reading_paused = False
            self._queue_turn()
        turns = len(self._waiting)
        for _ in range(min(turns, STREAMS_A_TURN)):
            if not self._waiting or self.blocked:
                return
            self._waiting.next().resume_writer()
        if turns > STREAMS_A_TURN:
            self._reactor.call_soon_charged(self.account, self._unblock)

    def _ask_for_flush(self) -> None:
        self._reactor.at_batch_end(self._flush)

    def _flush(self) -> None:
        if self.lost or self.blocked:
            return
        try:
            self._send_out()
        except BrokenChannel as exc:
            self._fail(f"the link broke: {exc}")

    def _send_out(self) -> bool:
        """Send the rest of a frame, then the queued output; return whether all of it was sent."""
        link = self._link
        if self._unsent is not None:
            sent = link.send(self._unsent)
            if sent < len(self._unsent):
                self._unsent = self._unsent[sent:]
                self.blocked = True
                return False
            self._unsent = None
        out = self.yamux.out
        if out:
            sent = link.send(out)
            self.bytes_out += sent
            if sent < len(out):
                del out[:sent]
                self.blocked = True
                return False
            out.clear()
        if not link.room():
            self.blocked = True
        return True

    # Streams and liveness.

    def _on_pong(self, value: int) -> None:
        self._watchdog.on_pong(value)

    def _make_stream(self, _session: Session, stream_id: int) -> Stream:
        return MuxChannel(self, stream_id)

    def _accept(self, stream: Stream) -> None:
        channel = cast("MuxChannel", stream)
        try:
            self._on_stream(channel)
        except Exception:
            log.exception(FAILED, channel)
            channel.fail()

    def _fail_soon(self, why: BrokenChannel) -> None:
        """End the link from within a stream's `send`: callbacks must not run before that has returned."""
        reason = f"the link broke: {why}"  # as text: the exception would keep its frames alive
        self._reactor.call_soon(lambda: self._fail(reason))

    def _fail(self, reason: str) -> None:
        if not self.lost:
            self._link.abort()
            self._end(reason)

    def _end(self, reason: str) -> None:
        if self.lost:  # a callback during decoding ended the link, and the rest of the data was invalid
            return
        self.lost = True
        self._watchdog.stop()
        self._undecoded = None
        self._bulk_sender = None
        self._waiting.clear()
        self.yamux.lose()
        self._send_go_away()
        self._unsent, self.yamux.out = None, bytearray()  # free the memory: this mux may be referenced for some time
        on_lost, self._on_lost, self._on_stream = self._on_lost, ignore, ignore
        on_lost(reason)

    def _send_go_away(self) -> None:
        """Send GoAway and other pending output, as far as the link accepts it at once, then the end."""
        try:
            if not self.blocked:
                self._send_out()
            self._link.shutdown_write()
        except BrokenChannel:
            pass  # closed below anyway
        self._link.close()
