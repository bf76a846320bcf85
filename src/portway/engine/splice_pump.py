"""The pump between two sockets: copies small reads, and splices long transfers through a pipe, so that their bytes stay in the kernel."""

import os

from portway.engine.channel import BLOCKED, UNSUPPORTED, Channel
from portway.engine.pipe_pool import Pipe
from portway.engine.pumps import CopyPump, PumpOwner, Sink
from portway.engine.reactor import TURN_BYTES, Reactor
from portway.engine.socket_channel import SocketChannel
from portway.engine.tally import ENDED, READ_BROKE, WRITE_BROKE
from portway.errors import BrokenChannel
from portway.protocol.work import READ_WORK

SPLICE_BYTES = 2 * TURN_BYTES
"""Bytes of one turn, because a spliced byte takes half of the CPU time of a copied one: 0.20 s/GiB with eight transfers at a time, 0.43
copied. Pieces of 256 KiB take a fifth more, and 1 MiB takes a tenth less, but others would wait longer (`python -m bench.relays --bulk`)."""
SPLICED_BYTES_PER_WORK = SPLICE_BYTES // TURN_BYTES


class SplicePump(CopyPump):
    """Copies until a read fills the pool's buffer, then splices until the source is dry.

    It has a pipe only while it splices, and after its turn only while bytes are in it. Those count as read, like the bytes that a
    copying pump has in memory, and they are sent before anything else is read: ends and breaks keep their place behind them.
    """

    __slots__ = ("_direct_sink", "_pipe", "_piped", "_pool", "_splice_bytes", "_splicing")

    def __init__(self, reactor: Reactor, source: Channel, sink: Sink, owner: PumpOwner) -> None:
        """Create the pump without a pipe."""
        super().__init__(reactor, source, sink, owner)
        self._pool = reactor.pipes
        # What a gate has room for is exact: more must not even be read.
        self._direct_sink = sink if isinstance(sink, SocketChannel) else None
        self._splice_bytes = TURN_BYTES if self._direct_sink is None else SPLICE_BYTES
        self._pipe: Pipe | None = None
        self._piped = 0
        """Bytes in the pipe."""
        self._splicing = False

    def run(self) -> None:
        """Move at most one turn's bytes, or until source or sink has to wait."""
        if self.queued or self.reason:
            return
        sink = self._direct_sink
        if sink is None or self._splicing or self._unsent is not None or self._pipe is not None:
            self._move(0)
        elif self._source.readable and not sink.blocked:
            self._move_message(sink)
        if self._pipe is not None:
            if self._piped:
                self._pool.hold(self, self._reactor.now)
            else:
                self._return_pipe()

    def stop(self, reason: str) -> None:
        """Move nothing more. Bytes in the pipe have no destination any more, like those that a copying pump has in memory."""
        if not self.reason:  # as in the base
            self.reason = reason
            self.ended_at = self._reactor.now
        if self._pipe is not None:
            self._return_pipe()

    def vacate_pipe(self) -> None:
        """Read the bytes into memory, and return the pipe."""
        if self._pipe is not None and self._piped:
            self._unsent = memoryview(os.read(self._pipe.read_fd, self._piped))
            self._piped = 0
        self._return_pipe()

    def _finish(self) -> None:
        """End this direction; the last of both leaves its end to the relay, which closes the sockets: a system call less."""
        if self.opposite.reason != ENDED:
            super()._finish()
            return
        self.stop(ENDED)
        self._owner.pump_ends(self)
        self._owner.pump_ended()

    def _move_message(self, sink: SocketChannel) -> None:
        """Move one short read, without the calls that only long transfers and limits need: 1 µs of 15 for a request and its response."""
        buffer = self._pool.read_buffer
        doing = READ_BROKE
        try:
            count = self._source.recv_into(buffer)
            if count <= 0:
                if count == 0:
                    self._finish()
                return
            self.bytes += count
            self.events += 1
            self._splicing = count == len(buffer)
            doing = WRITE_BROKE
            sent = sink.send(buffer[:count])
        except BrokenChannel:
            self._break(doing)
            return
        if sent < count:
            self._unsent = memoryview(bytes(buffer[sent:count]))
        if sent < count or self._source.readable:
            self._move(count + READ_WORK)

    def _move(self, moved: int) -> None:
        """Move the rest of a turn, in which `moved` units of work were done."""
        source, sink, reactor = self._source, self._sink, self._reactor
        buffer = self._pool.read_buffer
        full_read_bytes = len(buffer)
        doing = WRITE_BROKE
        try:
            if self._unsent is not None and not self._send_unsent():
                return
            if self._pipe is not None and not (sink.room() and self._send_piped(self._pipe)):
                return
            while source.readable:
                room = sink.room()
                if not room:
                    return
                doing = READ_BROKE
                pipe = self._take_pipe() if self._splicing and room >= full_read_bytes else None
                if pipe is not None:
                    count = self._fill(pipe, room if room < TURN_BYTES else self._splice_bytes)
                    if count <= 0:
                        if count == BLOCKED:
                            return
                        continue  # reading decides whether it is the end
                else:
                    count = source.recv_into(buffer if room >= full_read_bytes else buffer[:room])
                    if count <= 0:
                        if count == 0:
                            self._finish()
                        return
                    self._splicing = count == full_read_bytes
                doing = WRITE_BROKE
                self.bytes += count
                self.events += 1
                if not (self._send_read(buffer, count) if pipe is None else self._send_piped(pipe)):
                    return
                moved += READ_WORK + (count if pipe is None else count // SPLICED_BYTES_PER_WORK)
                if moved >= TURN_BYTES:
                    reactor.work.done += moved
                    self._queue()
                    return
        except BrokenChannel:
            self._break(doing)

    def _take_pipe(self) -> Pipe | None:
        if self._pipe is None:
            self._pipe = self._pool.take(self._reactor.now)
        return self._pipe

    def _fill(self, pipe: Pipe, most: int) -> int:
        """Splice from the source into the pipe, which is empty; the result is that of `splice_into`."""
        count = self._source.splice_into(pipe.write_fd, most)
        if count > 0:
            self._piped = count
        else:
            self._splicing = False
            if count == UNSUPPORTED:
                self._pool.disable()
        return count

    def _send_piped(self, pipe: Pipe) -> bool:
        """Splice all bytes from the pipe to the sink; False if some remain, or if a limit ended the relay."""
        while self._piped:
            sent = self._sink.splice_from(pipe.read_fd, self._piped)
            if self.reason:
                return False
            if sent == UNSUPPORTED:
                self._pool.disable()
                self.vacate_pipe()
                return self._send_unsent()
            self._piped -= sent
            if self._piped and not self._sink.room():
                return False
        return True

    def _send_read(self, buffer: memoryview, count: int) -> bool:
        """Send what was read into the buffer; False if some remain."""
        sent = self._sink.send(buffer[:count])
        if sent < count:
            self._unsent = memoryview(bytes(buffer[sent:count]))
            return self._send_unsent()
        return True

    def _return_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pool.return_pipe(self, pipe, empty=not self._piped)
            self._piped = 0
